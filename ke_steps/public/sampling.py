"""The text that a model is measured on: where it is from, and how much of it is taken."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from ke_steps.artefacts.parquet import read_table
from ke_steps.checkpoints.families import num_positions
from ke_steps.job.errors import UserError
from ke_steps.prepare_corpus import read_documents
from ke_steps.prepare_corpus import run as prepare_corpus
from ke_steps.public.steps import checked, run_step
from ke_steps.settings.measures import ExtractCoefficientsJob
from ke_steps.settings.texts import LocalText, PrepareCorpus, PresetText, TextSource
from ke_steps.settings.types import BeginOfText, Count, Strict
from ke_steps.study.presets import expand
from ke_steps.texts.packing import TooShortTextError
from ke_steps.texts.rows import TextlessRows
from ke_steps.texts.tokenizers import load_tokenizer

Texts = str | Path | Sequence[str | Path] | Mapping[str, Any]
"""A path of a file, ``Path`` of several, texts (a list of ``str``), or a corpus's ``source``."""

MOST_SEQUENCES = 64
LONGEST_SEQUENCE_TOKENS = 2048
BATCH_TOKENS = 8192
FEWEST_GROUPS, MOST_GROUPS = 16, 32
ACTIVE_THRESHOLD = 0.1
"""As in ``config/config.yaml``; no entropy depends on it."""

Source = Annotated[TextSource | PresetText, Field(discriminator="kind")]


class Sampling(Strict):
    """How much text is taken, and how it is cut into sequences."""

    num_sequences: Count = MOST_SEQUENCES
    sequence_length_tokens: Annotated[int, Field(strict=True, ge=8)] | None = None
    batch_size_sequences: Count | None = None
    begin_of_text: BeginOfText = "tokenizer"


class Sample(NamedTuple):
    """Packed text in a folder where the tables made of it go, too."""

    folder: Path
    tokenizer: Path
    """A file beside it."""

    num_sequences: int
    """How many of the packed ones are measured."""

    batch_size_sequences: int

    def table(self, name: str) -> Path:
        """Return where a table lies that a step writes under this name."""
        return self.folder / f"{name}.parquet"

    def extraction(self, precision: str, num_threads: int) -> ExtractCoefficientsJob:
        """Return the settings of its extraction."""
        settings: ExtractCoefficientsJob = checked(
            ExtractCoefficientsJob,
            {
                "corpus": "text",
                "num_sequences": self.num_sequences,
                "batch_size_sequences": self.batch_size_sequences,
                "precision": precision,
                "active_threshold": ACTIVE_THRESHOLD,
                "num_groups": choose_num_groups(self.num_sequences),
                "num_threads": num_threads,
            },
        )
        return settings


def take_sample(tokenizer: Path, texts: Texts, sampling: Sampling, folder: Path) -> Sample:
    """Pack text as ``prepare_corpus`` does: all of it, up to ``sampling.num_sequences``.

    Args:
        tokenizer: a file beside it; where a model's ``config.json`` is there, too, sequences are as
            long as its context, up to ``LONGEST_SEQUENCE_TOKENS``.
        texts: what to pack.
        sampling: how much of it.
        folder: where the tables go.

    Raises:
        UserError: no text, or too little of it.
    """
    positions = num_positions(tokenizer.parent) or LONGEST_SEQUENCE_TOKENS
    length = sampling.sequence_length_tokens or min(positions, LONGEST_SEQUENCE_TOKENS)
    wanted = PrepareCorpus(
        source=source_of(texts, folder),
        num_sequences=sampling.num_sequences,
        may_be_fewer=True,
        sequence_length_tokens=length,
        begin_of_text=sampling.begin_of_text,
    )
    batch = sampling.batch_size_sequences or max(1, BATCH_TOKENS // length)
    sample = Sample(folder, tokenizer, 0, batch)
    try:
        run_step(
            prepare_corpus,
            wanted,
            tokenizer=tokenizer,
            output_sequences=sample.table("sequences"),
            output_documents=sample.table("documents"),
        )
    except TooShortTextError:
        raise _too_little(tokenizer, wanted, texts) from None
    available = len(read_table(sample.table("sequences")))
    if available < 2:
        raise _too_little(tokenizer, wanted, texts)
    return sample._replace(num_sequences=available - available % choose_num_groups(available))


def choose_num_groups(num_sequences: int) -> int:
    """Return into how many groups of equal size the bootstrap divides sequences, 2 or more.

    Of ``FEWEST_GROUPS`` to ``MOST_GROUPS`` the number that leaves out the fewest sequences, the
    highest of those; fewer sequences are a group each.
    """
    groups = range(min(FEWEST_GROUPS, num_sequences), min(MOST_GROUPS, num_sequences) + 1)
    return min(groups, key=lambda number: (num_sequences % number, -number))


def source_of(texts: Texts, folder: Path) -> TextSource:
    """Return where text is read from; texts in memory are written to ``folder`` first.

    Raises:
        UserError: not what ``Texts`` may be, or a source that a study would refuse.
    """
    if isinstance(texts, Mapping):
        return expand(checked(Source, dict(texts), where="texts"))
    paths = [texts] if isinstance(texts, str | Path) else list(texts)
    if paths and _are_in_memory(texts):
        paths = [_write_texts(paths, folder / "texts.jsonl")]
    if not all(isinstance(each, str | os.PathLike) for each in paths):
        raise UserError(
            "texts: expected the path of a file, a list of texts (str) or of files (pathlib.Path),"
            " or the source of a corpus"
        )
    values = {"kind": "text", "paths": [os.fspath(each) for each in paths]}
    source: LocalText = checked(LocalText, values, where="texts")
    return source


def _write_texts(texts: Sequence[Any], path: Path) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def _are_in_memory(texts: Texts) -> bool:
    """Return whether texts are a list of ``str``, taken as the texts themselves."""
    return not isinstance(texts, str | Path | Mapping) and all(isinstance(t, str) for t in texts)


def _too_little(tokenizer: Path, wanted: PrepareCorpus, texts: Texts) -> UserError:
    """Return the refusal of a text with fewer than two sequences, which says what would do."""
    loaded = load_tokenizer(tokenizer.parent, wanted.begin_of_text)
    documents = read_documents(wanted, loaded, TextlessRows())
    num_tokens = sum(len(document.token_ids) for document in documents)
    fitting = num_tokens // FEWEST_GROUPS
    remedy = f"give more text, or sequence_length_tokens {fitting}" if fitting >= 8 else "give more"
    hint = " (a list of str is taken as the texts themselves, files are pathlib.Path)"
    return UserError(
        f"texts: {num_tokens} tokens, fewer than two sequences of"
        f" {wanted.sequence_length_tokens}: {remedy}{hint if _are_in_memory(texts) else ''}"
    )
