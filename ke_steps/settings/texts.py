"""Texts: the synthetic world, corpora, and new knowledge to be injected."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ke_steps.settings.types import (
    BeginOfText,
    Count,
    Fraction,
    InputPath,
    Name,
    Natural,
    NonNegative,
    Precision,
    Strict,
)

HubRepo = Annotated[
    str, Field(strict=True, pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$", max_length=96)
]
TEXT_ENDINGS = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
"""Endings of compressed text; Parquet has its own compression inside."""


def text_format(path: str) -> tuple[str, str]:
    """Return the ending that tells how a local text is read, and that of its compression, if any.

    Raises:
        ValueError: unknown endings.
    """
    name = path.lower()
    compression = next((each for each in COMPRESSIONS if name.endswith(each)), "")
    plain = name.removesuffix(compression)
    ending = next((each for each in TEXT_ENDINGS if plain.endswith(each)), None)
    if ending is None or (ending == ".parquet" and compression):
        raise ValueError(
            f"unknown kind of text file {path!r}; valid endings are {', '.join(TEXT_ENDINGS)}, all"
            f" but .parquet also with {', '.join(COMPRESSIONS)}"
        )
    return ending, compression


def _refuse_unknown_format(path: str) -> str:
    text_format(path)
    return path


TextPath = Annotated[InputPath, AfterValidator(_refuse_unknown_format)]
PresetName = Literal["dolma_first_batch", "pubmed_abstracts", "c4"]


MOST_SEQUENCES = 512
"""What is taken of a text, and measured of a corpus, where the study names no number."""

MOST_DOCUMENTS = 100
"""What is scored of a corpus where the study names no number."""


class World(Strict):
    """The synthetic world: who lives in it and how its facts are told."""

    seed: Natural = 0
    num_people: Count = Field(
        160, description="people of the pretraining domain, each with 5 attributes"
    )
    num_continual_entities: Count = Field(
        120, description="entities of the continual-learning domain"
    )
    num_questions: Count = Field(200, description="multiple-choice questions on pretrained facts")

    @model_validator(mode="after")
    def _questions_differ(self) -> World:
        if self.num_questions > 5 * self.num_people:
            raise ValueError(
                f"num_questions {self.num_questions} exceeds the {5 * self.num_people} facts"
                f" of num_people {self.num_people}, 5 each"
            )
        return self


WorldDomain = Literal["pretraining", "continual"]


class Frequency(Strict):
    """How often a text of the world tells of whom; facts and questions do not depend on it."""

    zipf_exponent: NonNegative = Field(
        0.0,
        description="the entity of rank r is told of in proportion to r to the power of minus this;"
        " ranks are drawn by the world's seed; 0: all alike",
    )
    tail_fraction: Fraction = Field(
        0.0,
        description="of those told of: newcomers, each invented for it and never told of again",
    )


class WorldText(Frequency):
    """Documents drawn from the world: an endless, seeded stream."""

    kind: Literal["world"]
    domain: WorldDomain


class LocalText(Strict):
    """Local files of ``TEXT_ENDINGS``; ``text_field`` names the text column."""

    kind: Literal["text"]
    paths: Annotated[list[TextPath], Field(min_length=1)]
    text_field: Annotated[str, Field(strict=True, min_length=1)] = "text"


class HubDatasetText(Strict):
    """A dataset of the Hugging Face hub, streamed at a fixed revision."""

    kind: Literal["hub_dataset"]
    repo: HubRepo
    revision: Annotated[str, Field(strict=True, min_length=1)] = Field(
        description="a commit, tag or branch; the commit found is recorded"
    )
    subset: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        None, description="the dataset's configuration, when it has several"
    )
    split: Annotated[str, Field(strict=True, min_length=1)] = "train"
    text_field: Annotated[str, Field(strict=True, min_length=1)] = "text"
    id_field: Annotated[str, Field(strict=True, min_length=1)] | None = Field(
        None, description="column that names a document; its place in the stream when absent"
    )
    seed: Natural | None = Field(
        None, description="shuffles shards and, within a buffer, documents; their order when absent"
    )


class TokenFileText(Strict):
    """Documents already tokenised: a raw file of token ids, local or read by HTTP range."""

    kind: Literal["token_file"]
    location: InputPath = Field(description="a path or an http(s) URL")
    dtype: Literal["uint16", "uint32"]


class PresetText(Strict):
    """A source that the paper used, by name (see ``study.presets``)."""

    kind: Literal["preset"]
    name: PresetName


DocumentSource = WorldText | LocalText | HubDatasetText
"""What has texts as people read them."""

TextSource = DocumentSource | TokenFileText


class Corpus(Strict):
    """Documents packed into sequences of equal length."""

    source: Annotated[TextSource | PresetText, Field(discriminator="kind")]
    num_sequences: Count | None = Field(
        None, description=f"null: as many as the text has, up to {MOST_SEQUENCES}"
    )
    sequence_length_tokens: Annotated[int, Field(strict=True, ge=8)] = 1024
    skip_sequences: Natural = Field(0, description="sequences of the stream to pass over first")

    @property
    def most_sequences(self) -> int:
        """How many there are at most: exactly so many where the study names a number."""
        return self.num_sequences or MOST_SEQUENCES


class PrepareCorpus(Strict):
    """One corpus as its job receives it: presets spelled out, the world where its text is from."""

    source: Annotated[TextSource, Field(discriminator="kind")]
    num_sequences: Count
    may_be_fewer: bool = Field(False, description="a shorter text is taken to its end")
    sequence_length_tokens: Annotated[int, Field(strict=True, ge=8)]
    skip_sequences: Natural = 0
    begin_of_text: BeginOfText = "tokenizer"
    world: World | None = None


class EvaluateNovelty(Strict):
    """How new each corpus is to a model's last checkpoint: perplexity by document."""

    corpora: Annotated[list[Name], Field(min_length=1)] = Field(
        [], description="all corpora when absent"
    )
    num_documents: Count | None = Field(
        None,
        description="documents of each corpus, from its beginning; null: as many as it has, up to"
        f" {MOST_DOCUMENTS}",
    )
    max_document_tokens: Annotated[int, Field(strict=True, ge=2)] = Field(
        1024, description="a document is scored up to this many tokens"
    )
    batch_size_sequences: Count = 8
    precision: Precision = Field("fp32", description="tf32 on GPUs alone")

    @property
    def most_documents(self) -> int:
        """How many are scored of a corpus at most."""
        return self.num_documents or MOST_DOCUMENTS


class EvaluateNoveltyJob(EvaluateNovelty):
    """What the job of ``evaluate_novelty`` receives."""

    num_threads: Count


class WorldKnowledge(Strict):
    """Invented passages of the synthetic world."""

    kind: Literal["world"]


class FictionalKnowledge(Strict):
    """Files in the form of FICTIONAL KNOWLEDGE, Chang et al. 2024 (JSON lists of passages)."""

    kind: Literal["fictional_knowledge"]
    paraphrase_path: InputPath
    once_path: InputPath


class PresetKnowledge(Strict):
    """The passages that the paper used, by name (see ``study.presets``)."""

    kind: Literal["preset"]
    name: Literal["fictional_knowledge"]
    folder: InputPath | None = Field(
        None, description="that has the files, where there is no internet; fetched when absent"
    )


class PublishedFile(Strict):
    """A file of a repository, and what it must hold."""

    name: InputPath
    sha256: Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]
    num_bytes: Count


class PublishedKnowledge(Strict):
    """Files in the form of FICTIONAL KNOWLEDGE from a public GitHub repository, or a copy."""

    kind: Literal["published"]
    repo: HubRepo
    commit: Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{40}$")]
    repo_folder: InputPath
    paraphrase: PublishedFile
    once: PublishedFile
    folder: InputPath | None = None


class Knowledge(Strict):
    """New knowledge: passages seen as paraphrases at every injection, and passages seen once."""

    source: Annotated[
        WorldKnowledge | FictionalKnowledge | PresetKnowledge, Field(discriminator="kind")
    ]
    num_paraphrase_passages: Natural = 70
    num_once_passages: Natural = 60

    @model_validator(mode="after")
    def _has_passages(self) -> Knowledge:
        if self.num_paraphrase_passages + self.num_once_passages == 0:
            raise ValueError(
                "num_paraphrase_passages and num_once_passages are both 0: nothing to learn"
            )
        return self


KnowledgeSource = WorldKnowledge | FictionalKnowledge | PublishedKnowledge


class PrepareKnowledge(Strict):
    """The knowledge as its job receives it: presets spelled out, the world where it is of there."""

    source: Annotated[KnowledgeSource, Field(discriminator="kind")]
    num_paraphrase_passages: Natural
    num_once_passages: Natural
    world: World | None = None
