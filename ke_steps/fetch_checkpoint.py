"""Take a checkpoint from outside: the Hugging Face hub, a local directory or a GGUF file.

Reads: ``settings.source``, where ``{step}`` in ``path`` or ``revision`` stands for the step.
Writes: a checkpoint directory (see ``checkpoints.checkpoint_files``): config, tokenizer, weights,
manifest.

- ``hub``: the commit of the branch or tag that matches ``revision`` is fetched into the cache of
  the hub's client (see ``hub.snapshots``) and taken from there as a directory. The manifest names
  both.
- ``directory``: the safetensors files are linked, not copied (absolute symbolic links): the source
  must stay where it is. Small JSON files are copied. Weights in OLMo's own naming are converted
  (see ``checkpoints.native_olmo``) and written anew. So are those that are there only as
  ``pytorch_model*.bin``: tensors are read of these pickles, and nothing else (see
  ``checkpoints.pickled_weights``).
- ``gguf``: the dequantised weights are written as fp32 safetensors, in which the products of GGUF's
  scales and integers are exact; four bytes per parameter (see ``checkpoints.gguf``).

Refused is a checkpoint that later jobs could not load whole, whose weights hold NaN or Inf, or
whose tokenizer is of another model (see ``checkpoints.outside_checks``).

Example::

    python -m ke_steps.fetch_checkpoint --output step738020/manifest.json \
        --settings '{"source": {"kind": "hub", "repo": "allenai/OLMo-1B-hf",
        "revision": "step{step}-*"}, "step": 738020}'
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from ke_steps.checkpoints.checkpoint_files import replacing, write_manifest
from ke_steps.checkpoints.families import is_native_olmo, read_model_config
from ke_steps.checkpoints.gguf import convert_gguf, convert_tokenizer
from ke_steps.checkpoints.gguf_config import read_gguf_config
from ke_steps.checkpoints.gguf_files import open_gguf
from ke_steps.checkpoints.native_olmo import convert, read_native_config
from ke_steps.checkpoints.outside_checks import (
    check_tokenizer,
    find_weights,
    load_shapes,
    refuse_broken_values,
)
from ke_steps.checkpoints.pickled_weights import rewrite
from ke_steps.checkpoints.weight_files import WEIGHTS, are_pickled, choose_weights
from ke_steps.checkpoints.weight_index import write_index
from ke_steps.hub.snapshots import fetch_snapshot
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import write_json
from ke_steps.models.feed_forward import describe_model
from ke_steps.models.loading import silence_transformers
from ke_steps.settings.checkpoints import FetchCheckpoint
from ke_steps.texts.special_tokens import describe_special_tokens, find_special_tokens


def run(*, output: Path, settings: FetchCheckpoint) -> None:
    """Take a checkpoint from the hub, a local directory or a GGUF file."""
    silence_transformers()
    source = settings.source
    if source.kind == "hub":
        snapshot = fetch_snapshot(
            source.repo, source.revision, settings.step, choose=choose_weights
        )
        path = snapshot.directory
        place = {"revision": snapshot.ref.name, "commit": snapshot.ref.commit}
    else:
        path = Path(source.path.format(step=settings.step))
        place = {"path": str(path)}
    with replacing(output) as directory:
        if source.kind == "gguf":
            model = fetch_gguf(path, directory, settings.end_of_text, tied_head=source.tied_head)
        else:
            model = fetch_directory(path, directory, settings.end_of_text)
        write_manifest(
            output,
            model,
            step=settings.step,
            source=source.model_dump() | place,
            sizes=describe_model(model),
        )


def fetch_directory(source: Path, directory: Path, end_of_text: str | None) -> PreTrainedModel:
    """Check a directory, link its safetensors or write them anew; return the model's shapes.

    Args:
        source: of transformers, or native OLMo.
        directory: where the checkpoint is to be.
        end_of_text: the token that the study names.

    Raises:
        UserError: anything in the directory is missing, damaged or contradictory.
    """
    if not source.is_dir():
        raise UserError(f"source.path: no such directory: {source}")
    weights = find_weights(source)
    if is_native_olmo(source):
        return convert_directory(source, weights, directory, end_of_text)
    copy_tokenizer(source, directory, read_model_config(source).vocab_size, end_of_text)
    if are_pickled(weights):
        return rewrite_directory(source, weights, directory)
    copy_files(source, directory, ("config.json", "generation_config.json"))
    if [path.name for path in weights] != [WEIGHTS]:
        write_index(source, weights, directory)
    for path in weights:
        (directory / path.name).symlink_to(path.resolve())
    model = load_shapes(directory, where=source)
    refuse_broken_values(weights, model)
    return model


def rewrite_directory(source: Path, pickles: Sequence[Path], directory: Path) -> PreTrainedModel:
    """Write pickled weights as safetensors, in their own dtype; return the model's shapes."""
    rewrite(pickles, directory)
    copy_files(source, directory, ("config.json", "generation_config.json"))
    model = load_shapes(directory, where=source)
    refuse_broken_values(find_weights(directory), model)
    return model


def convert_directory(
    source: Path, weights: Sequence[Path], directory: Path, end_of_text: str | None
) -> PreTrainedModel:
    """Convert a checkpoint in OLMo's own naming, in the weights' own dtype; return its shapes."""
    config = read_native_config(source)
    copy_tokenizer(source, directory, config.vocab_size, end_of_text, config.eos_token_id)
    if are_pickled(weights):
        with TemporaryDirectory(prefix=".", suffix=".partial", dir=directory) as beside:
            convert(rewrite(weights, Path(beside)), config, directory)
    else:
        convert(weights, config, directory)
    model = load_shapes(directory, where=source)
    refuse_broken_values(find_weights(directory), model)
    return model


def copy_files(source: Path, directory: Path, names: Sequence[str]) -> None:
    """Copy those of ``names`` that there are."""
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, directory / name)


def copy_tokenizer(
    source: Path,
    directory: Path,
    vocab_size: int,
    end_of_text: str | None,
    end_id: int | None = None,
) -> None:
    """Check a tokenizer and write its two files; the config names the tokens that were found.

    Args:
        source: where it is; may be ``directory`` itself.
        directory: where the checkpoint is to be.
        vocab_size: rows of the model's embedding.
        end_of_text: the token that the study names.
        end_id: the id that a config in another form names.
    """
    backend = check_tokenizer(source, vocab_size)
    tokens = find_special_tokens(
        source, backend, vocab_size=vocab_size, end_of_text=end_of_text, end_id=end_id
    )
    config = describe_special_tokens(source, tokens)
    if source != directory:
        shutil.copyfile(source / "tokenizer.json", directory / "tokenizer.json")
    write_json(directory / "tokenizer_config.json", config)


def fetch_gguf(
    source: Path, directory: Path, end_of_text: str | None, *, tied_head: bool
) -> PreTrainedModel:
    """Dequantise a GGUF file, or all parts of one, into fp32 safetensors; return its shapes.

    Raises:
        UserError: anything in the file is missing, damaged, contradictory, or has no place.
    """
    file = open_gguf(source)
    config = read_gguf_config(file, tied_head=tied_head)
    convert_tokenizer(source, directory)
    copy_tokenizer(directory, directory, config["vocab_size"], end_of_text)
    convert_gguf(file, config, directory)
    return load_shapes(directory, where=source)


if __name__ == "__main__":
    main(run)
