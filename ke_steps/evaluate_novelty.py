r"""How new each corpus is to a model: the next-token loss of its documents.

Stands for the paper's figure 10, which compares the corpora by the perplexity of their entities
under a proprietary model; here it is that of whole documents under the study's own checkpoint.

Reads a checkpoint and, for each corpus, its packed sequences and its table of documents
(``prepare_corpus``), in the order of ``settings.corpora``. Writes ``text_schemas.NOVELTY``: a row
for each of the corpus' first ``num_documents`` documents whose beginning was written: num_tokens,
how many tokens were scored (all but the first, which nothing precedes: the begin-of-text token
where the corpus was packed with it), and loss_nats, their mean loss in nats; perplexity is
its exponential. A document is scored alone, up to ``max_document_tokens``, the model's context, and
what was written of it; documents of fewer than 2 tokens are passed over.

    python -m ke_steps.evaluate_novelty --checkpoint …/manifest.json \
        --sequences pubmed/sequences.parquet c4/sequences.parquet \
        --documents pubmed/documents.parquet c4/documents.parquet \
        --output novelty.parquet --settings '{"corpora": ["pubmed", "c4"], …}'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedModel

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.sequences import read_sequences
from ke_steps.artefacts.text_schemas import DOCUMENTS, NOVELTY
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model, prepare_torch
from ke_steps.scoring.spans import Span, score_spans
from ke_steps.settings.texts import EvaluateNoveltyJob
from ke_steps.settings.types import Precision


class Beginning(NamedTuple):
    """A document's id and its first tokens (n,) int32, at least 2."""

    document_id: str
    token_ids: NDArray[np.int32]


def beginnings(
    sequences: NDArray[np.int32], documents: pd.DataFrame, *, num_documents: int, max_tokens: int
) -> list[Beginning]:
    """Cut documents out of their packed sequences again.

    Args:
        sequences: (num_sequences, T), as packed.
        documents: ``text_schemas.DOCUMENTS`` of the same corpus.
        num_documents: at most so many: the first that begin in the sequences with 2 tokens there.
        max_tokens: of a document.
    """
    stream = sequences.reshape(-1)
    begun = documents[documents["first_token"] >= 0]
    num_written = np.minimum(begun["num_tokens"], len(stream) - begun["first_token"])
    chosen = begun[num_written >= 2].iloc[:num_documents]
    ends = chosen["first_token"] + np.minimum(chosen["num_tokens"], max_tokens)
    return [
        Beginning(name, stream[first:end])
        for name, first, end in zip(chosen["document_id"], chosen["first_token"], ends, strict=True)
    ]


def novelty_rows(
    model: PreTrainedModel,
    corpus: str,
    documents: list[Beginning],
    batch_size_sequences: int,
    precision: Precision,
) -> list[dict[str, Any]]:
    """Return the rows of one corpus."""
    scores = score_spans(
        model,
        [Span(document.token_ids, 1) for document in documents],
        batch_size_sequences=batch_size_sequences,
        precision=precision,
        description=corpus,
    )
    return [
        {
            "corpus": corpus,
            "document_id": document.document_id,
            "num_tokens": len(score.log_probabilities),
            "loss_nats": -float(score.log_probabilities.mean(dtype=np.float64)),
        }
        for document, score in zip(documents, scores, strict=True)
    ]


def run(
    *,
    checkpoint: Path,
    sequences: list[Path],
    documents: list[Path],
    output: Path,
    settings: EvaluateNoveltyJob,
) -> None:
    """Score the documents of every corpus."""
    if not len(sequences) == len(documents) == len(settings.corpora):
        raise UserError(
            f"{len(sequences)} tables of sequences and {len(documents)} of documents for"
            f" {len(settings.corpora)} corpora; give one of each in the order of settings.corpora"
        )
    device = prepare_torch(settings.num_threads)
    model = load_model(checkpoint, device=device)
    max_tokens = min(settings.max_document_tokens, model.config.max_position_embeddings)
    rows = []
    for corpus, packed, table in zip(settings.corpora, sequences, documents, strict=True):
        chosen = beginnings(
            read_sequences(packed, vocab_size=model.config.vocab_size),
            read_frame(table, DOCUMENTS),
            num_documents=settings.most_documents,
            max_tokens=max_tokens,
        )
        needed = settings.num_documents or 1
        if len(chosen) < needed:
            raise UserError(
                f"{table}: {len(chosen)} documents of at least 2 tokens begin in its corpus,"
                f" fewer than evaluate_novelty.num_documents {needed}"
            )
        rows += novelty_rows(
            model, corpus, chosen, settings.batch_size_sequences, settings.precision
        )
    write_table(output, rows, NOVELTY)


if __name__ == "__main__":
    main(run)
