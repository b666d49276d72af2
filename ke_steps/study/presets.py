"""The paper's corpora by name (FACTS of the paper: sections 1 and 2)."""

from __future__ import annotations

from typing import assert_never

from ke_steps.settings.texts import (
    HubDatasetText,
    PresetName,
    PresetText,
    TextSource,
    TokenFileText,
)

DOLMA_FIRST_BATCH = TokenFileText(
    kind="token_file",
    location=(
        "https://olmo-data.org/preprocessed/olmo-mix/v1_5/gpt-neox-20b-pii-special/"
        "part-000-00000.npy"
    ),
    dtype="uint16",
)
"""The first file of OLMo-1B's data (``configs/official/OLMo-1B.yaml`` of allenai/OLMo).

Unshuffled (``data_shuffling: false``), the first batch is the instances 0…2047 of 2,048 tokens
each: ``num_sequences: 2048``, ``sequence_length_tokens: 2048``. The reference takes the instances
that the pretraining run's ``global_indices.npy`` names, whose host is gone. A copy of the file
elsewhere is read with ``kind: token_file`` and its own ``location``.
"""

PUBMED_ABSTRACTS = HubDatasetText(
    kind="hub_dataset",
    repo="MedRAG/pubmed",
    revision="33da3593d5756bc04c8909f170003c0b14197957",
    text_field="content",
    id_field="id",
)
"""Abstracts of PubMed's 2023 baseline. The paper does not publish its own extract."""

C4 = HubDatasetText(
    kind="hub_dataset",
    repo="allenai/c4",
    revision="1588ec454efa1a09f29cd18ddd04fe05fc8653a2",
    subset="en",
    id_field="url",
)


def expand(source: TextSource | PresetText) -> TextSource:
    """Return the source that a preset stands for, and any other source as it is."""
    return _preset(source.name) if isinstance(source, PresetText) else source


def _preset(name: PresetName) -> TextSource:
    match name:
        case "dolma_first_batch":
            return DOLMA_FIRST_BATCH
        case "pubmed_abstracts":
            return PUBMED_ABSTRACTS
        case "c4":
            return C4
    assert_never(name)
