"""A model that is in memory, measured where it is and left as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ke_steps.fetch_checkpoint import copy_tokenizer
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.files import write_json
from ke_steps.measuring.extraction import DTYPES, measure_loaded
from ke_steps.measuring.measures import write_measures
from ke_steps.models.feed_forward import feed_forward
from ke_steps.models.loading import compute_deterministically
from ke_steps.public.sampling import Sample
from ke_steps.settings.checkpoints import EndOfText
from ke_steps.texts.tokenizers import load_tokenizer


def describe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    end_of_text: EndOfText,
    folder: Path,
) -> Path:
    """Write a model's config and its tokenizer, checked as ``fetch_checkpoint`` does.

    Args:
        model: of a known architecture.
        tokenizer: of the model, a fast one.
        end_of_text: the token that ends a text, where the tokenizer names none or another.
        folder: where they go.

    Returns:
        The tokenizer's file.

    Raises:
        UserError: the model is not of a known architecture, its parameters are in none of
            ``DTYPES``, or the tokenizer is of another model.
    """
    feed_forward(model)
    precision_of(model)
    if not isinstance(tokenizer, PreTrainedTokenizerBase) or not tokenizer.is_fast:
        raise UserError("tokenizer: a model that is loaded needs its own, a fast one")
    folder.mkdir()
    config = json.loads(model.config.to_json_string())
    write_json(folder / "config.json", config | {"architectures": [type(model).__name__]})
    tokenizer.save_pretrained(folder)
    copy_tokenizer(folder, folder, model.config.vocab_size, end_of_text)
    return folder / "tokenizer.json"


def name_of(model: PreTrainedModel) -> str:
    """Return what a model is called in what is printed."""
    return str(model.name_or_path or type(model).__name__)


def extract(model: PreTrainedModel, sample: Sample) -> None:
    """Measure a model as ``extract_coefficients`` does, in the precision that it has.

    All ranks of a distributed run call this; they share the sequences, and each writes the tables.
    To be called within ``torch_as_it_was``.

    Raises:
        UserError: as ``precision_of``, or a measure is not finite.
    """
    settings = sample.extraction(precision_of(model), torch.get_num_threads())
    inputs = {"sequences": sample.table("sequences")}
    with provenance.recording("extract_coefficients", settings.model_dump(mode="json"), inputs):
        compute_deterministically()
        with evaluating(model):
            provenance.note("device", str(model.device))
            tokenizer = load_tokenizer(sample.tokenizer.parent)
            measures = measure_loaded(model, tokenizer, sample.table("sequences"), settings)
        write_measures(
            sample.table("coefficients"),
            sample.table("token_entropies"),
            measures,
            settings.num_groups,
        )


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Have a model in evaluation mode for a while, then each of its modules in the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def torch_as_it_was() -> Iterator[None]:
    """Leave what a step sets in torch and transformers, for all of a process, as it was before."""
    is_deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    num_threads = torch.get_num_threads()
    verbosity = transformers.logging.get_verbosity()
    shows_bars = transformers.logging.is_progress_bar_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(is_deterministic, warn_only=warns_only)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        torch.set_num_threads(num_threads)
        transformers.logging.set_verbosity(verbosity)
        if shows_bars:
            transformers.logging.enable_progress_bar()


def precision_of(model: PreTrainedModel) -> str:
    """Return which of ``DTYPES`` a model's parameters are in.

    Raises:
        UserError: in none, or in several.
    """
    dtypes = {parameter.dtype for parameter in model.parameters()}
    found = [name for name, dtype in DTYPES.items() if dtypes == {dtype}]
    if not found:
        raise UserError(
            f"model: its parameters are {', '.join(sorted(map(str, dtypes)))}; wanted is one of"
            f" {', '.join(map(str, DTYPES.values()))}"
        )
    return found[0]
