r"""Pack documents into token sequences of equal length.

Reads a tokenizer, and documents from the world, local text files (``texts.text_files``), a dataset
of the hub (``texts.hub_datasets``), or a file of token ids (``texts.token_files``). Writes

- the sequences: one column, input_ids: fixed-size lists of int32 token ids, one sequence a row;
- the documents that have a token in them (``text_schemas.DOCUMENTS``).

Documents follow each other in the order of their source, each followed by the end-of-text token,
and begun with the begin-of-text token where ``begin_of_text`` says so. The stream is cut every
``sequence_length_tokens``; the first ``skip_sequences`` are passed over and ``num_sequences``
written, or what there is where ``may_be_fewer``. A token file is taken as it is. Text is streamed:
beyond a batch and one row group, only some hundred bytes a document are held. Rows without text are
passed over; how many were among those read is in the record. Texts of a batch are tokenised in
parallel where ``TOKENIZERS_PARALLELISM`` is not ``false``, on ``RAYON_NUM_THREADS`` threads (all
cores when unset); the result does not depend on either.

    python -m ke_steps.prepare_corpus --tokenizer tokenizer/manifest.json \
      --output-sequences sequences.parquet --output-documents documents.parquet \
      --settings '{"num_sequences": 1000, "sequence_length_tokens": 128,
        "source": {"kind": "text", "paths": ["a.jsonl.zst"]}}'
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ke_steps.artefacts.parquet import write_batches, write_table
from ke_steps.artefacts.text_schemas import DOCUMENTS, sequences_schema
from ke_steps.checkpoints.families import num_positions
from ke_steps.job import provenance
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.texts import (
    PrepareCorpus,
    TokenFileText,
)
from ke_steps.texts.documents import Document, tokenise
from ke_steps.texts.packing import (
    DocumentTable,
    content_sha256,
    pack,
    select,
    sequence_batches,
)
from ke_steps.texts.rows import TextlessRows
from ke_steps.texts.sources import read_texts
from ke_steps.texts.token_files import read_token_documents
from ke_steps.texts.tokenizers import Tokenizer, load_tokenizer


def read_documents(
    settings: PrepareCorpus, tokenizer: Tokenizer, textless: TextlessRows
) -> Iterator[Document]:
    """Return the source's documents, tokenised; rows without text are counted."""
    source = settings.source
    if isinstance(source, TokenFileText):
        num_sequences = settings.skip_sequences + settings.num_sequences
        return read_token_documents(
            source,
            eos_token_id=tokenizer.eos_token_id,
            vocab_size=tokenizer.vocab_size,
            num_tokens=num_sequences * settings.sequence_length_tokens,
            may_be_shorter=settings.may_be_fewer,
        )
    return tokenise(read_texts(source, settings.world, textless), tokenizer)


def refuse_too_long(sequence_length_tokens: int, model_directory: Path) -> None:
    """Refuse sequences of more tokens than the model beside the tokenizer has positions."""
    positions = num_positions(model_directory)
    if positions is not None and sequence_length_tokens > positions:
        raise UserError(
            f"corpora.<name>.sequence_length_tokens: {sequence_length_tokens} exceeds the"
            f" {positions} positions of {model_directory / 'config.json'}; lower it"
        )


def run(
    *, tokenizer: Path, output_sequences: Path, output_documents: Path, settings: PrepareCorpus
) -> None:
    """Write one corpus, and what it is made of."""
    loaded = load_tokenizer(tokenizer.parent, settings.begin_of_text)
    length = settings.sequence_length_tokens
    refuse_too_long(length, tokenizer.parent)
    skip, num = settings.skip_sequences, settings.num_sequences
    table, textless = DocumentTable(skip * length), TextlessRows()
    packed = pack(table.watch(read_documents(settings, loaded, textless)), length)
    selected = select(packed, skip, num, may_be_fewer=settings.may_be_fewer)
    batches = sequence_batches(selected, length)
    write_batches(output_sequences, batches, sequences_schema(length))
    textless.tell()
    documents = table.written(min(num * length, table.num_tokens // length * length))
    provenance.note("num_documents", str(len(documents)))
    provenance.note("content_sha256", content_sha256(documents))
    columns = dict(zip(documents.column_names, documents.columns, strict=True))
    write_table(output_documents, columns, DOCUMENTS)


if __name__ == "__main__":
    main(run)
