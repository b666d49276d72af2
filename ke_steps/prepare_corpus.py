r"""Pack documents into token sequences of equal length.

Reads a tokenizer, and documents from the world, local text files (``_text_files``), a dataset of
the hub (``_hub_datasets``), or a file of token ids (``_token_files``). Writes

- the sequences: one column, input_ids: fixed-size lists of int32 token ids, one sequence a row;
- the documents that have a token in them (``_schemas.DOCUMENTS``).

Documents follow each other in the order of their source, each followed by the end-of-text token,
and the stream is cut every ``sequence_length_tokens``; the first ``skip_sequences`` are passed over
and ``num_sequences`` written. A token file is taken as it is. Text is streamed: beyond a batch and
one row group, only some hundred bytes a document are held. Texts of a batch are tokenised in
parallel where ``TOKENIZERS_PARALLELISM`` is not ``false``, on ``RAYON_NUM_THREADS`` threads (all
cores when unset); the result does not depend on either.

    python -m ke_steps.prepare_corpus --tokenizer tokenizer/manifest.json \
      --output-sequences sequences.parquet --output-documents documents.parquet \
      --settings '{"num_sequences": 1000, "sequence_length_tokens": 128,
        "source": {"kind": "text", "paths": ["a.jsonl.gz"]}}'
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from ke_steps import (
    _cli,
    _families,
    _packing,
    _provenance,
    _schemas,
    _tables,
    _text_files,
    _token_files,
    _world,
)
from ke_steps._documents import Document, TextDocument, tokenise
from ke_steps._errors import UserError
from ke_steps._job_files import hash_file
from ke_steps._tokenizers import Tokenizer, load_tokenizer
from ke_steps.settings import (
    HubDatasetText,
    LocalText,
    PrepareCorpus,
    TokenFileText,
    World,
    WorldText,
)


def read_documents(settings: PrepareCorpus, tokenizer: Tokenizer) -> Iterator[Document]:
    """Return the source's documents, tokenised."""
    source = settings.source
    if isinstance(source, TokenFileText):
        num_sequences = settings.skip_sequences + settings.num_sequences
        return _token_files.read_token_documents(
            source,
            eos_token_id=tokenizer.eos_token_id,
            vocab_size=tokenizer.vocab_size,
            num_tokens=num_sequences * settings.sequence_length_tokens,
        )
    return tokenise(_read_texts(source, settings.world), tokenizer)


def _read_texts(
    source: WorldText | LocalText | HubDatasetText, world: World | None
) -> Iterator[TextDocument]:
    match source:
        case WorldText():
            return _world_documents(source, world)
        case LocalText():
            return _local_documents(source)
        case HubDatasetText():
            from ke_steps import _hub_datasets

            return _hub_datasets.read_hub_documents(source)
    assert_never(source)


def _world_documents(source: WorldText, world: World | None) -> Iterator[TextDocument]:
    if world is None:
        raise UserError("world: missing, but the corpus has source.kind 'world'")
    if source.domain == "pretraining":
        texts = _world.pretraining_documents(world)
    else:
        texts = _world.continual_documents(world)
    return (TextDocument(str(place), text) for place, text in enumerate(texts))


def _local_documents(source: LocalText) -> Iterator[TextDocument]:
    paths = [Path(path) for path in source.paths]
    texts = _text_files.read_text_documents(paths, source.text_field)
    for path in paths:
        _provenance.note(f"sha256 of {path}", hash_file(path))
    return texts


def refuse_too_long(sequence_length_tokens: int, model_directory: Path) -> None:
    """Refuse sequences of more tokens than the model beside the tokenizer has positions."""
    positions = _families.num_positions(model_directory)
    if positions is not None and sequence_length_tokens > positions:
        raise UserError(
            f"corpora.<name>.sequence_length_tokens: {sequence_length_tokens} exceeds the"
            f" {positions} positions of {model_directory / 'config.json'}; lower it"
        )


def run(
    *, tokenizer: Path, output_sequences: Path, output_documents: Path, settings: PrepareCorpus
) -> None:
    """Write one corpus, and what it is made of."""
    loaded = load_tokenizer(tokenizer.parent)
    length = settings.sequence_length_tokens
    refuse_too_long(length, tokenizer.parent)
    skip, num = settings.skip_sequences, settings.num_sequences
    table = _packing.DocumentTable(skip * length, num * length)
    packed = _packing.pack(table.watch(read_documents(settings, loaded)), length)
    batches = _packing.sequence_batches(_packing.select(packed, skip, num), length)
    _tables.write_batches(output_sequences, batches, _schemas.sequences_schema(length))
    _provenance.note("num_documents", str(table.num_documents))
    _provenance.note("content_sha256", table.content_sha256())
    _tables.write_table(output_documents, table.columns(), _schemas.DOCUMENTS)


if __name__ == "__main__":
    _cli.main(run)
