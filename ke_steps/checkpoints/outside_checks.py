"""What is checked of a checkpoint from outside, before a job on a GPU relies on it.

Every tensor has its place and its shape in the model that ``config.json`` describes, no value that
it loads is NaN or Inf, and the tokenizer's ids have rows in the embedding. The model is never in
memory: its shapes are compared on torch's meta device, its values one tensor at a time.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, product
from pathlib import Path
from typing import Any, Never

import safetensors
import tokenizers
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ke_steps.checkpoints.families import read_model_config
from ke_steps.checkpoints.loaded_names import is_computed, loaded_names
from ke_steps.checkpoints.tensors import Stored, find_tensors, read_header
from ke_steps.checkpoints.weight_files import are_pickled, choose_weights
from ke_steps.job.errors import UserError
from ke_steps.job.files import read_object
from ke_steps.texts.tokenizers import read_backend

EXPERT = re.compile(r"(.*\.experts\.)(\d+)(\..*)")
PLAIN = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})


def find_weights(directory: Path) -> list[Path]:
    """Return a directory's files of weights: the single one, or the shards of its index.

    Raises:
        UserError: no weights, or only pickles that are not read; an index that names what is not
            there or not beside it; a file that is truncated or no safetensors file; a tensor that
            is in two.
    """
    names = choose_weights((path.name for path in directory.iterdir()), where=str(directory))
    if names[0].endswith(".json"):
        names = _shards(directory / names[0])
    weights = [directory / name for name in names]
    if not are_pickled(weights):
        _check_safetensors(weights)
    return weights


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except safetensors.SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error}); get it again") from error


def _check_safetensors(weights: Sequence[Path]) -> None:
    found: dict[str, Path] = {}
    for path in weights:
        for name in read_header(path)[0]:
            if name in found:
                raise UserError(
                    f"{path}: tensor {name} is in {found[name].name}, too; get the files again"
                )
            found[name] = path
        with _open(path):
            pass


def _shards(index: Path) -> list[str]:
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UserError(f"{index}: has no weight_map of tensors to files; get it again")
    names = sorted(set(map(str, weight_map.values())))
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{index}: names {name!r}, which is not a file beside it; get it again")
        if not index.with_name(name).is_file():
            raise UserError(f"{index}: names {name}, which is missing: get that file")
    return names


def load_shapes(directory: Path, *, where: Path) -> PreTrainedModel:
    """Return a directory's model on the meta device; refuse what would not load whole.

    Args:
        directory: the checkpoint as later jobs load it.
        where: what it is made of, for the error.

    Raises:
        UserError: no model can be built from the config, or tensors that are missing, in excess, of
            another shape than the config says, or two that it makes one.
    """
    config = read_model_config(directory)
    files = find_tensors(find_weights(directory))
    _refuse_partial_experts(files, config, where)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            directory,
            config=config,
            dtype="auto",
            device_map="meta",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a config of other people, in code of other people
        reason = " ".join(str(error).split())
        raise UserError(
            f"{where}: transformers cannot build this model from its config.json"
            f" ({type(error).__name__}: {reason})"
        ) from error
    _refuse_mismatches(report, model, where)
    _refuse_tied_pairs(model, files, where)
    model.tie_weights()
    return model


def _refuse_partial_experts(names: Iterable[str], config: PreTrainedConfig, where: Path) -> None:
    """Refuse mixtures that lack a tensor of an expert: transformers joins those, and names none."""
    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    for name in names:
        if match := EXPERT.fullmatch(name):
            found[match[1], match[3]].add(int(match[2]))
    counts = (getattr(config, name, None) for name in ("num_local_experts", "num_experts"))
    count = int(next(filter(None, counts), 0))
    starts, ends = ({key[side] for key in found} for side in (0, 1))
    for start, end in sorted(product(starts, ends)):
        for expert in sorted(found[start, end] ^ set(range(count))):
            name = f"{start}{expert}{end}"
            problem = "is missing; get all its files" if expert < count else "has no place"
            raise UserError(f"{where}: tensor {name} {problem}: config.json says {count} experts")


def _refuse_tied_pairs(model: PreTrainedModel, files: Mapping[str, Stored], where: Path) -> None:
    """Refuse two tensors that differ where the config makes them one: either would be dropped."""
    for pair in model.all_tied_weights_keys.items():
        if not all(name in files for name in pair):
            continue
        values = []
        for name in pair:
            with _open(files[name].path) as file:
                values.append(file.get_tensor(name).float())
        if not torch.equal(*values):
            raise UserError(
                f"{where}: tensor {pair[0]} is not {pair[1]}, but tie_word_embeddings in"
                " config.json says they are one: set it to false, or take whole files of one model"
            )


def _refuse_mismatches(report: dict[str, Any], model: PreTrainedModel, where: Path) -> None:
    # of a tied pair that is missing as a whole, the first one is the file's
    missing = report["missing_keys"] - model.all_tied_weights_keys.keys() or report["missing_keys"]
    if missing:
        raise UserError(f"{where}: tensor {min(missing)} is missing; get all its files")
    unexpected = [name for name in report["unexpected_keys"] if not is_computed(name)]
    if unexpected:
        refuse_unplaced(min(unexpected), type(model).__name__, where)
    if report["mismatched_keys"]:
        name, stored, expected = min(report["mismatched_keys"])
        raise UserError(
            f"{where}: tensor {name} is {tuple(stored)}, config.json says {tuple(expected)}:"
            " they belong to different models"
        )


def refuse_broken_values(weights: Iterable[Path], model: PreTrainedModel) -> None:
    """Refuse tensors that the model has no place for, and NaN and Inf in those that it loads.

    Args:
        weights: safetensors files, whole.
        model: that they are of; may be on the meta device.
    """
    places = find_tensors(weights)
    loaded = set(chain.from_iterable(loaded_names(model, places).values()))
    for name, place in places.items():
        if name in loaded:
            with _open(place.path) as file:
                refuse_broken(file.get_tensor(name), name, place.path)
        elif not is_computed(name):
            refuse_unplaced(name, type(model).__name__, place.path)


def refuse_unplaced(name: str, architecture: str, where: Path) -> Never:
    """Refuse a tensor that a model has no place for."""
    raise UserError(
        f"{where}: tensor {name} has no place in {architecture}:"
        " weights and config.json belong to different models"
    )


def refuse_broken(tensor: Tensor, name: str, where: Path) -> None:
    """Refuse NaN and Inf in a weight as fp32, and what is no plain number but a code for one."""
    if tensor.dtype not in PLAIN:
        raise UserError(
            f"{where}: tensor {name} is of {tensor.dtype}: quantised weights are not read; take the"
            " model in fp32, fp16 or bf16"
        )
    values = tensor.float() if tensor.dtype == torch.float64 else tensor
    if not bool(torch.isfinite(values).all()):
        raise UserError(
            f"{where}: tensor {name} holds NaN or Inf: get the file again, or another checkpoint"
        )


def check_tokenizer(directory: Path, vocab_size: int) -> tokenizers.Tokenizer:
    """Return a directory's tokenizer; refuse one that is unreadable or of another model.

    Added tokens may have ids beyond the embedding: models are published with such, that no text
    ever has. ``Tokenizer.encode`` refuses the text that does.
    """
    path = directory / "tokenizer.json"
    content = read_object(path)
    if not isinstance(content.get("model"), dict) or "vocab" not in content["model"]:
        raise UserError(f"{path}: not a tokenizer, it has no model.vocab; get it again")
    backend = read_backend(path)
    largest = max(backend.get_vocab(with_added_tokens=False).values(), default=0)
    if largest >= vocab_size:
        raise UserError(
            f"{directory}: the tokenizer has ids up to {largest}, the embedding only {vocab_size}"
            " rows: they belong to different models"
        )
    return backend
