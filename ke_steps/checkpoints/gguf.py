"""A GGUF file, rewritten as a transformers directory: its weights in fp32 and its tokenizer.

The products of GGUF's scales and integers are exact in fp32. Names are those of the format's table,
layouts those of transformers' own reader. That one loads what it finds and fills the rest with
random numbers; here every tensor has a place, and every place its tensor.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, ReaderTensor, dequantize, get_tensor_name_map
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer
from transformers.modeling_gguf_pytorch_utils import (
    TENSOR_PROCESSORS,
    TensorProcessor,
)
from transformers.pytorch_utils import Conv1D

from ke_steps.checkpoints.gguf_files import GgufFile
from ke_steps.checkpoints.gguf_rope import ROPE_TENSORS
from ke_steps.checkpoints.outside_checks import refuse_broken
from ke_steps.checkpoints.weight_files import WEIGHTS, writing
from ke_steps.job.errors import UserError


def convert_gguf(file: GgufFile, config: Mapping[str, Any], directory: Path) -> None:
    """Write ``config.json`` and ``model.safetensors``.

    Args:
        file: whole.
        config: of ``gguf_config.read_gguf_config``.
        directory: where to write.

    Raises:
        UserError: no model can be built from the config; a tensor is missing, has no place, another
            shape than the config says, NaN or Inf, or is quantised in an unknown way.
    """
    model = _build_shapes(file, config)
    processor = TENSOR_PROCESSORS.get(file.architecture, TensorProcessor)(config=dict(config))
    places = _find_places(file, model)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    tensors: dict[str, Tensor] = {}
    for name, place in places.items():
        tensor = file.tensors[name]
        _check_shape(tensor, _stored_shape(model, place, shapes[place]), file.path)
        processed = processor.process(
            weights=_dequantise(tensor, file.path),
            name=name,
            tensor_key_mapping=places,
            parsed_parameters={"tensors": tensors},
        )
        if processed.name is not None:  # else the processor has put it into its place
            tensors[place] = torch.from_numpy(np.array(processed.weights, np.float32, order="C"))
        refuse_broken(tensors[place], place, file.path)
    model.config.save_pretrained(directory)
    with writing(directory / WEIGHTS) as beside:
        save_file(tensors, beside, metadata={"format": "pt"})


def _build_shapes(file: GgufFile, config: Mapping[str, Any]) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    except Exception as error:  # a config of other people, in code of other people
        reason = " ".join(str(error).split())
        raise UserError(
            f"{file.path}: transformers cannot build this model from the file's keys"
            f" ({type(error).__name__}: {reason})"
        ) from error


def _find_places(file: GgufFile, model: PreTrainedModel) -> dict[str, str]:
    """Return {GGUF's name: transformers' name}: one tensor for each weight of the model."""
    architecture = next(key for key, name in MODEL_ARCH_NAMES.items() if name == file.architecture)
    table = get_tensor_name_map(architecture, model.config.num_hidden_layers)
    endings = (".weight", ".bias")
    places = {table.get_name(name, endings) or name: name for name in model.state_dict()}
    if model.config.tie_word_embeddings:
        places = {name: place for name, place in places.items() if place != "lm_head.weight"}
    found = file.tensors.keys() - ROPE_TENSORS
    if excess := sorted(found - places.keys()):
        raise UserError(
            f"{file.path}: tensor {excess[0]} has no place in {type(model).__name__}: the file is"
            " of another model, or its tensors are renamed"
        )
    if missing := sorted(places.keys() - found):
        raise UserError(f"{file.path}: tensor {missing[0]} is missing; get the whole file")
    return places


def _stored_shape(model: PreTrainedModel, place: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that a weight has in the file: GPT-2's layers are transposed there."""
    module = model.get_submodule(place.rpartition(".")[0])
    return shape[::-1] if isinstance(module, Conv1D) else shape


def _check_shape(tensor: ReaderTensor, expected: tuple[int, ...], path: Path) -> None:
    stored = tuple(reversed(tensor.shape.tolist()))
    if stored != expected:
        raise UserError(
            f"{path}: tensor {tensor.name} is {stored}, the file's keys say {expected}: they belong"
            " to different models"
        )


def _dequantise(tensor: ReaderTensor, path: Path) -> np.ndarray[Any, Any]:
    try:
        return np.asarray(dequantize(tensor.data, tensor.tensor_type))
    except (NotImplementedError, ValueError) as error:
        raise UserError(
            f"{path}: tensor {tensor.name} is of {tensor.tensor_type.name}, which is not read; take"
            " the file in another quantisation"
        ) from error


def convert_tokenizer(path: Path, directory: Path) -> None:
    """Write a GGUF file's tokenizer as ``tokenizer.json`` and ``tokenizer_config.json``.

    Raises:
        UserError: the file has none that transformers can read.
    """
    try:
        architecture, vocabulary, special = get_gguf_tokenizer(str(path))
        backend, _ = convert_gguf_tokenizer(architecture, vocabulary)
        # unlike AutoTokenizer's, of this file alone, whatever tokenizer lies beside it
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    except Exception as error:  # whatever foreign keys lead to in the library's own code
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: no readable tokenizer in this GGUF file ({reason})") from error
    tokenizer.backend_tokenizer.save(str(directory / "tokenizer.json"))
    named = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "pad_token")}
    (directory / "tokenizer_config.json").write_text(json.dumps(named, indent=1) + "\n")
