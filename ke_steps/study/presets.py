"""The paper's corpora and passages by name (FACTS of the paper: sections 1 and 2)."""

from __future__ import annotations

from typing import assert_never

from ke_steps.settings.texts import (
    FictionalKnowledge,
    HubDatasetText,
    KnowledgeSource,
    PresetKnowledge,
    PresetName,
    PresetText,
    PublishedFile,
    PublishedKnowledge,
    TextSource,
    TokenFileText,
    WorldKnowledge,
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

FICTIONAL_KNOWLEDGE = PublishedKnowledge(
    kind="published",
    repo="kaistAI/Knowledge-Entropy",
    commit="85315146a9431548c696ed4b6ebfd630f121aa87",
    repo_folder="fictional_knowledge",
    paraphrase=PublishedFile(
        name="fictional_knowledge_paraphrased_paraphrase70.json",
        sha256="f3e86b06403204f4a2ad1ee3f7596925e53cd662db51cb14d3b6f31386041861",
        num_bytes=1415374,
    ),
    once=PublishedFile(
        name="fictional_knowledge_paraphrased_once60.json",
        sha256="ce002dacf47a4c8dd199fe8d140e59def3950352f09538e45eede4483ae36b38",
        num_bytes=1223322,
    ),
)
"""Chang et al. 2024 (arXiv 2406.11813) as the paper's repository has it (Apache-2.0)."""


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


def expand_knowledge(
    source: WorldKnowledge | FictionalKnowledge | PresetKnowledge,
) -> KnowledgeSource:
    """Return the files that a preset stands for, and any other source as it is."""
    if isinstance(source, PresetKnowledge):
        return FICTIONAL_KNOWLEDGE.model_copy(update={"folder": source.folder})
    return source
