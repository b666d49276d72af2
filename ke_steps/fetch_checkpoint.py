"""Take a checkpoint from outside: the Hugging Face hub, a local directory or a GGUF file.

Reads: ``settings.source``, where ``{step}`` in ``path`` or ``revision`` stands for the step.
Writes: a checkpoint directory (see ``_checkpoints``): config, tokenizer, weights, manifest.

- ``hub``: the commit of the branch or tag that matches ``revision`` is fetched into the cache of
  the hub's client (see ``_hub``) and taken from there as a directory. The manifest names both.
- ``directory``: the safetensors files are linked, not copied (absolute symbolic links): the source
  must stay where it is. Small JSON files are copied. Weights in OLMo's own naming are converted
  (see ``_native_olmo``) and written anew.
- ``gguf``: the dequantised weights are written as fp32 safetensors, in which the products of GGUF's
  scales and integers are exact; four bytes per parameter.

The weights are loaded once, as every later step will load them, and refused when a tensor is
missing, has another shape than the config says, or holds NaN or Inf. Pickled weights are refused.

Example::

    python -m ke_steps.fetch_checkpoint --output step738020/manifest.json \
        --settings '{"source": {"kind": "hub", "repo": "allenai/OLMo-1B-hf",
        "revision": "step{step}-*"}, "step": 738020}'
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from ke_steps import _checkpoints, _cli, _hub, _models, _native_olmo
from ke_steps._errors import UserError
from ke_steps._feed_forward import describe, feed_forward
from ke_steps._tokenizers import load_tokenizer
from ke_steps._weight_files import INDEX, WEIGHTS, choose_weights
from ke_steps.settings import FetchCheckpoint


def run(*, output: Path, settings: FetchCheckpoint) -> None:
    """Take a checkpoint from the hub, a local directory or a GGUF file."""
    source = settings.source
    if source.kind == "hub":
        snapshot = _hub.fetch_snapshot(source.repo, source.revision, settings.step)
        model = fetch_directory(snapshot.directory, output)
        place = {"revision": snapshot.ref.name, "commit": snapshot.ref.commit}
    else:
        path = Path(source.path.replace("{step}", str(settings.step)))
        fetch = fetch_directory if source.kind == "directory" else fetch_gguf
        model = fetch(path, output)
        place = {"path": str(path)}
    _checkpoints.write_manifest(
        output,
        step=settings.step,
        source=source.model_dump() | place,
        sizes=describe(model),
    )


def fetch_directory(source: Path, manifest: Path) -> PreTrainedModel:
    """Check a directory of safetensors, link or convert its weights; return the model.

    Raises:
        UserError: anything in the directory is missing, damaged or contradictory.
    """
    if not source.is_dir():
        raise UserError(f"source.path: no such directory: {source}")
    weights = find_weights(source)
    for path in weights:
        _checkpoints.read_header(path)
    if _native_olmo.is_native(source):
        return convert_directory(source, weights, manifest)
    check_tokenizer(source, _models.read_config(source).vocab_size)
    model = load_checked(source)
    directory = _checkpoints.clear_directory(manifest)
    copy_files(source, directory, ("config.json", "generation_config.json", INDEX))
    for path in weights:
        (directory / path.name).symlink_to(path.resolve())
    return model


def convert_directory(source: Path, weights: Sequence[Path], manifest: Path) -> PreTrainedModel:
    """Convert a checkpoint in OLMo's own naming; return the model, in the weights' own dtype."""
    config = _native_olmo.read_config(source)
    check_tokenizer(source, config.vocab_size)
    directory = _checkpoints.clear_directory(manifest)
    _native_olmo.convert(weights, config, directory)
    copy_files(source, directory, ())
    return load_checked(directory)


def copy_files(source: Path, directory: Path, names: Iterable[str]) -> None:
    """Copy the tokenizer's files, and those of ``names`` that there are."""
    for name in (*names, *_checkpoints.TOKENIZER_FILES):
        if (source / name).is_file():
            shutil.copyfile(source / name, directory / name)


def find_weights(directory: Path) -> list[Path]:
    """Return a directory's safetensors files: the single one, or the shards of its index."""
    names = choose_weights((path.name for path in directory.iterdir()), where=str(directory))
    if names == [WEIGHTS]:
        return [directory / WEIGHTS]
    weight_map = read_json(directory / INDEX).get("weight_map", {})
    shards = [directory / name for name in sorted(set(weight_map.values()))]
    for shard in shards:
        if not shard.is_file():
            raise UserError(f"{directory / INDEX}: names {shard.name}, which is missing")
    return shards


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
    feed_forward(model)
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
