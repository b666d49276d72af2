"""Pack documents into token sequences of equal length.

Reads a tokenizer, and documents from the world or from local text files (see ``_text_files``).
Writes a table with one column, input_ids: fixed-size lists of int32 token ids, one sequence a row.
Documents follow each other in the order of their source, each followed by the end-of-text token,
and the stream is cut every ``sequence_length_tokens``; the first ``skip_sequences`` are passed over
and ``num_sequences`` written. Memory does not grow with either number.

    python -m ke_steps.prepare_corpus --tokenizer tokenizer/manifest.json \
      --output sequences.parquet --settings '{"num_sequences": 1000,
        "sequence_length_tokens": 128, "source": {"kind": "text", "paths": ["a.jsonl.gz"]}}'
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from ke_steps import _cli, _provenance, _tables, _text_files, _world
from ke_steps._errors import UserError
from ke_steps._tokenizers import Tokenizer, load_tokenizer
from ke_steps.settings import LocalText, PrepareCorpus

NUM_DOCUMENTS_PER_BATCH = 256
ROW_GROUP_TOKENS = 2**20

Sequence = NDArray[np.int32]


def documents(settings: PrepareCorpus) -> Iterator[str]:
    """Return the source's documents, endless when they come from the world."""
    source = settings.source
    if isinstance(source, LocalText):
        paths = [Path(path) for path in source.paths]
        texts = _text_files.read_documents(paths, source.text_field)
        for path in paths:
            _provenance.note(f"sha256 of {path}", _provenance.hash_file(path))
        return texts
    if settings.world is None:
        raise UserError("world: missing, but the corpus has source.kind 'world'")
    if source.domain == "pretraining":
        return _world.pretraining_documents(settings.world)
    return _world.continual_documents(settings.world)


def tokenise(texts: Iterator[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    """Yield the token ids of each document."""
    while batch := list(itertools.islice(texts, NUM_DOCUMENTS_PER_BATCH)):
        yield from tokenizer.encode_batch(batch)


def pack(
    tokenised: Iterable[list[int]], eos_token_id: int, sequence_length_tokens: int
) -> Iterator[Sequence]:
    """Yield sequences (sequence_length_tokens,) int32; an unfilled last one is dropped."""
    pending: list[int] = []
    for token_ids in tokenised:
        pending += [*token_ids, eos_token_id]
        num_ready = len(pending) - len(pending) % sequence_length_tokens
        for start in range(0, num_ready, sequence_length_tokens):
            yield np.array(pending[start : start + sequence_length_tokens], dtype=np.int32)
        del pending[:num_ready]


def select(sequences: Iterator[Sequence], skip: int, num: int) -> Iterator[Sequence]:
    """Yield ``num`` sequences after the first ``skip``, with progress; draw no more than that.

    Raises:
        UserError: the stream ends too early; by then what it had has been yielded.
    """
    wanted, total = skip + num, 0
    drawn = tqdm(itertools.islice(sequences, wanted), total=wanted, desc="pack", unit=" sequences")
    for total, sequence in enumerate(drawn, start=1):
        if total > skip:
            yield sequence
    if total < wanted:
        raise UserError(
            f"corpora.<name>.num_sequences: the text has {total} sequences, too few for"
            f" skip_sequences {skip} + num_sequences {num}"
        )


def run(*, tokenizer: Path, output: Path, settings: PrepareCorpus) -> None:
    """Write one corpus."""
    loaded = load_tokenizer(tokenizer.parent)
    length = settings.sequence_length_tokens
    skip, num = settings.skip_sequences, settings.num_sequences
    packed = pack(tokenise(documents(settings), loaded), loaded.eos_token_id, length)
    schema = _tables.sequences_schema(length)
    _tables.write_batches(output, _batches(select(packed, skip, num), schema, length), schema)


def _batches(
    sequences: Iterator[Sequence], schema: pa.Schema, length: int
) -> Iterator[pa.RecordBatch]:
    rows = max(1, ROW_GROUP_TOKENS // length)
    while block := list(itertools.islice(sequences, rows)):
        column = pa.FixedSizeListArray.from_arrays(
            pa.array(np.concatenate(block)), type=schema.field("input_ids").type
        )
        yield pa.record_batch([column], schema=schema)


if __name__ == "__main__":
    _cli.main(run)
