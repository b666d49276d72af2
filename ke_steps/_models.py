"""Models and their feed-forward layers, seen as key-value memories.

A feed-forward layer is FFN(x) = Σᵢ cᵢ · vᵢ (+ bias): the *memory vectors* vᵢ are the columns of the
output projection, the *memory coefficients* cᵢ its input (paper, section 2; FACTS: knowledge
entropy). A gated layer has c = act(gate(x)) · up(x), linear in row i of the up projection; an
ungated one has c = act(up(x)).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import safetensors
import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ke_steps import _checkpoints, _provenance
from ke_steps._errors import UserError

# What transformers warns about here (default token ids, its own loading bars) concerns generation.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@dataclass(frozen=True)
class _Family:
    model_type: str
    up: str
    output: str
    is_gated: bool


_FAMILIES = {
    "OlmoForCausalLM": _Family("olmo", "mlp.up_proj", "mlp.down_proj", is_gated=True),
    "LlamaForCausalLM": _Family("llama", "mlp.up_proj", "mlp.down_proj", is_gated=True),
    "GPTNeoXForCausalLM": _Family(
        "gpt_neox", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", is_gated=False
    ),
}


@dataclass(frozen=True)
class FeedForward:
    """The feed-forward layers of a model, l = 0…num_layers-1, each with m memories of width d."""

    up_projections: list[nn.Linear]
    """Row i of layer l's weight (m, d), and of its bias if any, produces coefficient i."""

    output_projections: list[nn.Linear]
    """Modules whose input (…, m) is the memory coefficients of layer l."""

    is_gated: bool
    """Whether coefficient i is linear in row i of the up projection."""

    @property
    def num_layers(self) -> int:
        """Number of feed-forward layers L."""
        return len(self.output_projections)

    @property
    def num_memories(self) -> int:
        """Number of memories m of a layer."""
        return self.output_projections[0].in_features

    def memory_vectors(self, layer: int) -> Tensor:
        """Return the memory vectors (m, d) of a layer."""
        return self.output_projections[layer].weight.T


def feed_forward(model: PreTrainedModel) -> FeedForward:
    """Find the feed-forward layers of a model of a known architecture.

    Raises:
        UserError: the architecture is unknown.
    """
    family = _family(type(model).__name__, where="model")
    layers = list(model.base_model.layers)
    return FeedForward(
        up_projections=[attrgetter(family.up)(layer) for layer in layers],
        output_projections=[attrgetter(family.output)(layer) for layer in layers],
        is_gated=family.is_gated,
    )


def _family(architecture: str, *, where: str) -> _Family:
    if architecture not in _FAMILIES:
        raise UserError(
            f"{where}: architecture {architecture!r} is unknown, known are {', '.join(_FAMILIES)}"
        )
    return _FAMILIES[architecture]


def choose_device() -> torch.device:
    """Return the first GPU, or the CPU when there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prepare_torch(num_threads: int, seed: int | None = None) -> torch.device:
    """Make torch deterministic and seed it, note the device in the provenance, and return it."""
    # cuBLAS reads this once, when the first GPU operation creates its handle
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(num_threads)
    if seed is not None:
        transformers.set_seed(seed)
    device = choose_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    _provenance.note("device", name)
    return device


def read_config(directory: Path) -> PreTrainedConfig:
    """Read a checkpoint's ``config.json``; only known architectures, never remote code.

    Raises:
        UserError: unreadable, or of an unknown architecture.
    """
    path = directory / "config.json"
    try:
        raw = json.loads(path.read_text())
        architecture = (raw.get("architectures") or [None])[0]
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a readable model config ({error})") from error
    family = _family(architecture, where=str(path))
    if raw.get("model_type") != family.model_type:
        raise UserError(
            f"{path}: model_type {raw.get('model_type')!r} does not belong to {architecture},"
            f" expected {family.model_type!r}"
        )
    try:
        return AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except StrictDataclassError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a readable model config ({reason})") from error


def load_model(
    checkpoint: Path,
    *,
    multipliers: Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device,
) -> PreTrainedModel:
    """Load a checkpoint for measuring: evaluation mode, scaled-dot-product attention.

    Args:
        checkpoint: the checkpoint's manifest.
        multipliers: safetensors file with ``multipliers`` (num_layers, m), applied to the rows of
            the up projections in fp32 before the cast to ``dtype``.
        dtype: of all parameters.
        device: where the model goes.

    Raises:
        UserError: unknown architecture, damaged checkpoint, or multipliers that do not fit.
    """
    _checkpoints.read_manifest(checkpoint)
    directory = checkpoint.parent
    model = AutoModelForCausalLM.from_pretrained(
        directory,
        config=read_config(directory),
        dtype=dtype if multipliers is None else torch.float32,
        attn_implementation="sdpa",
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    if multipliers is not None:
        apply_multipliers(model, read_multipliers(multipliers), where=str(multipliers))
        # parameters only: model.to(dtype) would also round the rotary frequencies
        for parameter in model.parameters():
            parameter.data = parameter.data.to(dtype)
    return model.to(device).eval()


def read_multipliers(path: Path) -> Tensor:
    """Read ``multipliers`` (num_layers, m) fp32 from a safetensors file."""
    try:
        return load_file(path)["multipliers"]
    except (safetensors.SafetensorError, OSError, KeyError) as error:
        raise UserError(f"{path}: no readable tensor 'multipliers' ({error})") from error


def apply_multipliers(model: PreTrainedModel, multipliers: Tensor, *, where: str) -> None:
    """Scale row i of layer l's up projection by ``multipliers[l, i]``, in place.

    In a gated layer this scales coefficient i by the same factor, for the same input. An ungated
    layer bends the factor through its activation, so it is refused.
    """
    layers = feed_forward(model)
    if not layers.is_gated:
        raise UserError(
            f"{where}: {type(model).__name__} has ungated feed-forward layers, whose coefficients"
            " are not linear in a row of the up projection: multipliers do not apply"
        )
    expected = (layers.num_layers, layers.num_memories)
    if tuple(multipliers.shape) != expected:
        raise UserError(f"{where}: multipliers are {tuple(multipliers.shape)}, model is {expected}")
    with torch.no_grad():
        for projection, factor in zip(layers.up_projections, multipliers, strict=True):
            projection.weight.mul_(factor[:, None])
            if projection.bias is not None:
                projection.bias.mul_(factor)
