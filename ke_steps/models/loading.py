"""Models as they are loaded for measuring and learning, and their logits."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import transformers
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ke_steps.artefacts.interventions import read_intervention
from ke_steps.artefacts.manifests import verify_weights
from ke_steps.checkpoints.families import read_model_config
from ke_steps.job import provenance
from ke_steps.models import ranks
from ke_steps.models.devices import choose_device
from ke_steps.models.intervening import intervene
from ke_steps.models.parts import Shard, read_parts
from ke_steps.models.temperature import set_temperature, temperature_of


def silence_transformers() -> None:
    """Keep transformers' warnings and bars off stderr.

    What it warns about here (default token ids, its own loading bars) concerns generation.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def compute_deterministically() -> None:
    """Have torch give the same bits each time."""
    # cuBLAS reads this once, when the first GPU operation creates its handle
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # which else fills each new tensor before it is written: no operation used here reads it
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def prepare_torch(num_threads: int, seed: int | None = None) -> torch.device:
    """Make torch deterministic, seed it, meet the job's other ranks; note and return the device."""
    silence_transformers()
    compute_deterministically()
    torch.set_num_threads(num_threads)
    if seed is not None:
        transformers.set_seed(seed)
    device = choose_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    ranks.join(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    provenance.note("device", name)
    return device


def load_model(
    checkpoint: Path,
    *,
    intervention: Path | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device,
    shard: Shard | None = None,
) -> PreTrainedModel:
    """Load a checkpoint for measuring: evaluation mode, ``attention_implementation``.

    The temperature of its attention is that of its config, unless the intervention sets another.

    Args:
        checkpoint: the checkpoint's manifest.
        intervention: safetensors file (see ``artefacts.interventions``), applied in fp32
            before the cast to ``dtype``.
        dtype: of all parameters.
        device: where the model goes.
        shard: cuts the model (fp32) into parts, of which each rank then reads its own alone.

    Raises:
        UserError: unknown architecture, damaged checkpoint, or an intervention that does not fit.
    """
    if ranks.is_first():
        verify_weights(checkpoint)
    directory = checkpoint.parent
    config = read_model_config(directory)
    attention = attention_implementation(config)
    if shard is not None:
        model = read_parts(directory, config, attention, shard, device)
    else:
        model = AutoModelForCausalLM.from_pretrained(
            directory,
            config=config,
            dtype=dtype if intervention is None else torch.float32,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    set_temperature(model, temperature_of(model))
    if intervention is not None:
        intervene(model, read_intervention(intervention), where=str(intervention))
        if dtype != torch.float32:
            # parameters only: model.to(dtype) would also round the rotary frequencies
            for parameter in model.parameters():
                parameter.data = parameter.data.to(dtype)
    return model.to(device).eval()


def attention_implementation(config: PreTrainedConfig) -> str:
    """Return the fastest attention of transformers that is right for a model.

    Gemma 2 caps its attention scores, which torch's scaled-dot-product attention cannot.
    """
    return "eager" if config.model_type == "gemma2" else "sdpa"


def unembedding_of(model: PreTrainedModel) -> Tensor:
    """Return the rows (V, d) whose products with a hidden state are the logits."""
    return model.get_output_embeddings().weight


def output_logits(
    model: PreTrainedModel, hidden: Tensor, vocabulary: slice = slice(None)
) -> Tensor:
    """Return the logits (…, V) of a base model's last hidden states (…, d), as its forward does.

    Args:
        model: a causal language model; its final cap on logits (Gemma) is applied.
        hidden: ``last_hidden_state`` of ``model.base_model``.
        vocabulary: the token ids wanted; all when absent.
    """
    head = model.get_output_embeddings()
    bias = None if head.bias is None else head.bias[vocabulary]
    logits = F.linear(hidden, head.weight[vocabulary], bias)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap
