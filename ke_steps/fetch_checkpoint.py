"""Take a checkpoint from outside: a local Hugging Face directory or a GGUF file.

Reads: ``settings.source.path``, where ``{step}`` stands for the step.
Writes: a checkpoint directory (see ``_checkpoints``): config, tokenizer, weights, manifest.

- ``directory``: the safetensors files are linked, not copied (absolute symbolic links): the source
  must stay where it is. Small JSON files are copied.
- ``gguf``: the dequantised weights are written as fp32 safetensors, in which the products of GGUF's
  scales and integers are exact; four bytes per parameter.

The weights are loaded once, as every later step will load them, and refused when a tensor is
missing, has another shape than the config says, or holds NaN or Inf. Pickled weights are refused.

Example::

    python -m ke_steps.fetch_checkpoint --output step738020/manifest.json \
        --settings '{"source": {"kind": "directory", "path": "/models/olmo_{step}"},
        "step": 738020}'
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from ke_steps import _checkpoints, _cli, _models
from ke_steps._errors import UserError
from ke_steps._tokenizers import load_tokenizer
from ke_steps.settings import FetchCheckpoint

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def run(*, output: Path, settings: FetchCheckpoint) -> None:
    """Take a checkpoint from a local directory or a GGUF file."""
    source = settings.source
    path = Path(source.path.replace("{step}", str(settings.step)))
    if source.kind == "directory":
        model = fetch_directory(path, output)
    else:
        model = fetch_gguf(path, output)
    _checkpoints.write_manifest(
        output,
        step=settings.step,
        source=source.model_dump() | {"path": str(path)},
        num_parameters=model.num_parameters(),
    )


def fetch_directory(source: Path, manifest: Path) -> PreTrainedModel:
    """Check a Hugging Face directory and link its weights; return the model.

    Raises:
        UserError: anything in the directory is missing, damaged or contradictory.
    """
    if not source.is_dir():
        raise UserError(f"source.path: no such directory: {source}")
    config = _models.read_config(source)
    weights = find_weights(source)
    for path in weights:
        _checkpoints.read_header(path)
    check_tokenizer(source, config.vocab_size)
    model = load_checked(source)
    directory = _checkpoints.clear_directory(manifest)
    for name in ("config.json", "generation_config.json", *_checkpoints.TOKENIZER_FILES, INDEX):
        if (source / name).is_file():
            shutil.copyfile(source / name, directory / name)
    for path in weights:
        (directory / path.name).symlink_to(path.resolve())
    return model


def find_weights(directory: Path) -> list[Path]:
    """Return a directory's safetensors files: the single one, or the shards of its index."""
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    if (directory / INDEX).is_file():
        weight_map = read_json(directory / INDEX).get("weight_map", {})
        shards = [directory / name for name in sorted(set(weight_map.values()))]
        for shard in shards:
            if not shard.is_file():
                raise UserError(f"{directory / INDEX}: names {shard.name}, which is missing")
        return shards
    pickles = sorted(path.name for pattern in PICKLES for path in directory.glob(pattern))
    if pickles:
        raise UserError(
            f"{directory}: {pickles[0]} is a pickle, which can run code and is refused; convert"
            f" the weights to {WEIGHTS}"
        )
    raise UserError(f"{directory}: neither {WEIGHTS} nor {INDEX}")


def load_checked(directory: Path) -> PreTrainedModel:
    """Load a Hugging Face directory in its own dtype; refuse what would not load whole."""
    model, report = AutoModelForCausalLM.from_pretrained(
        directory,
        config=_models.read_config(directory),
        dtype="auto",
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    if report["missing_keys"]:
        raise UserError(f"{directory}: tensor {min(report['missing_keys'])} is missing")
    if report["unexpected_keys"]:
        raise UserError(
            f"{directory}: tensor {min(report['unexpected_keys'])} has no place in"
            f" {type(model).__name__}"
        )
    if report["mismatched_keys"]:
        name, stored, expected = min(report["mismatched_keys"])
        raise UserError(
            f"{directory}: tensor {name} is {tuple(stored)}, config.json says {tuple(expected)}"
        )
    check_finite(model, directory)
    return model


def fetch_gguf(source: Path, manifest: Path) -> PreTrainedModel:
    """Dequantise a GGUF file into fp32 safetensors; return the model.

    Raises:
        UserError: not a GGUF file, truncated, of an unknown architecture, or with broken tensors.
    """
    if not source.is_file():
        raise UserError(f"source.path: no such file: {source}")
    keywords = {"gguf_file": source.name, "local_files_only": True, "trust_remote_code": False}
    try:
        model = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **keywords)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, **keywords)
    except (ValueError, OSError, LookupError, struct.error) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{source}: not a readable GGUF file ({reason})") from error
    _models.feed_forward(model)
    check_finite(model, source)
    directory = _checkpoints.clear_directory(manifest)
    # the weights are plain fp32 by now; with these two set transformers refuses to save them
    model.hf_quantizer = None
    del model.config.quantization_config
    _checkpoints.save_weights(model, directory)
    tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    special = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token")}
    (directory / "tokenizer_config.json").write_text(json.dumps(special, indent=1) + "\n")
    check_tokenizer(directory, model.config.vocab_size)
    return model


def check_finite(model: PreTrainedModel, where: Path) -> None:
    """Refuse NaN and Inf in any tensor of a model."""
    for name, tensor in model.state_dict().items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{where}: tensor {name} holds NaN or Inf")


def check_tokenizer(directory: Path, vocab_size: int) -> None:
    """Refuse a tokenizer that is unreadable or has ids beyond the embedding's rows."""
    content, _ = (read_json(directory / name) for name in _checkpoints.TOKENIZER_FILES)
    if "vocab" not in content.get("model", {}):
        raise UserError(f"{directory}/tokenizer.json: not a tokenizer, it has no model.vocab")
    tokenizer = load_tokenizer(directory)
    largest = max(tokenizer.backend.get_vocab(with_added_tokens=True).values())
    if largest >= vocab_size:
        raise UserError(
            f"{directory}: the tokenizer has ids up to {largest}, the embedding only {vocab_size}"
            " rows: they belong to different models"
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file; a missing or malformed one is refused in one line."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable JSON file ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a JSON object")
    return content


if __name__ == "__main__":
    _cli.main(run)
