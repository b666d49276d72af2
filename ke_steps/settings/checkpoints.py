"""Families of checkpoints: where they come from, or how the nursery trains its own."""

from __future__ import annotations

from typing import Annotated, Literal, assert_never

from pydantic import Field, model_validator

from ke_steps.settings.schedules import Scheduled
from ke_steps.settings.steps import Steps
from ke_steps.settings.texts import DocumentSource, HubRepo, World
from ke_steps.settings.types import (
    BeginOfText,
    Count,
    Name,
    Natural,
    NonNegative,
    Positive,
    Seed,
    StepPlace,
    Strict,
    step_formats,
)


class Nursery(Scheduled):
    """Pretraining of a small OLMo from scratch."""

    corpus: Name = Field("", description="the first of corpora when absent")
    hidden_size: Count = 96
    intermediate_size: Count = 384
    num_hidden_layers: Count = 4
    num_attention_heads: Count = 4
    tie_word_embeddings: bool = Field(
        True,
        strict=True,
        description="whether the head is the embedding, on which no weight decay acts; a head of"
        " its own decays as all matrices of linear layers do",
    )
    num_steps: Count = 400
    num_epochs: Count = Field(
        1, description="times that num_steps go over their sequences, each in the same order"
    )
    batch_size_sequences: Count = 32
    learning_rate: Positive = 3e-3
    weight_decay: NonNegative = 0.1
    seed: Seed = Field(
        0,
        description="0: the corpus in its order; another draws the order of its sequences, as it"
        " draws initial weights",
    )
    compile: bool = Field(
        False,
        strict=True,
        description="have torch compile layers and loss, which takes minutes and then is faster;"
        " numbers differ in rounding from those without, and are the same in each run",
    )
    num_threads: Count = Field(2, description="CPU threads; they change rounding, hence a setting")

    @model_validator(mode="after")
    def _epochs_divide(self) -> Nursery:
        if self.num_steps % self.num_epochs:
            raise ValueError(f"num_epochs {self.num_epochs} must divide num_steps {self.num_steps}")
        return self

    @model_validator(mode="after")
    def _heads_divide(self) -> Nursery:
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of twice"
                f" num_attention_heads {self.num_attention_heads}"
            )
        return self


class NurserySource(Nursery):
    """A small model that is trained here: what differs from the section ``pretrain_nursery``.

    A study that is read has its whole settings here (``settings.study``).
    """

    kind: Literal["nursery"]


class Branch(Scheduled):
    """Training from a checkpoint on: a cooldown where the rate falls, a re-warming where it rises.

    The last rate is learning_rate times min_learning_rate_ratio, or learning_rate itself with a
    constant schedule.
    """

    corpus: Name
    num_steps: Natural = Field(description="0: the checkpoint as it is, byte for byte")
    batch_size_sequences: Count
    micro_batch_size_sequences: Count = Field(description="sequences per forward pass")
    learning_rate: Positive
    weight_decay: NonNegative = 0.1
    max_gradient_norm: Positive = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = Field(
        False,
        strict=True,
        description="have torch compile layers and loss, which takes minutes and then is faster;"
        " numbers differ in rounding from those without, and are the same in each run",
    )

    @model_validator(mode="after")
    def _batch_divides(self) -> Branch:
        if self.batch_size_sequences % self.micro_batch_size_sequences:
            raise ValueError(
                f"micro_batch_size_sequences {self.micro_batch_size_sequences} must divide"
                f" batch_size_sequences {self.batch_size_sequences}"
            )
        return self


class BranchSource(Branch):
    """Branches off the checkpoints of another model, one of each of the steps."""

    kind: Literal["branch"]
    model: Name = Field(description="a key of models, itself no branch")


class DirectorySource(Strict):
    """Local Hugging Face directories; ``{step}`` in the path stands for the step."""

    kind: Literal["directory"]
    path: StepPlace


class GgufSource(Strict):
    """A GGUF file, or the first part of a split one; ``{step}`` in the path stands for the step."""

    kind: Literal["gguf"]
    path: StepPlace
    tied_head: bool = Field(
        default=False,
        strict=True,
        description="a file without output.weight is of a model whose head is its embedding"
        " (tie_word_embeddings in its config.json); the file itself cannot say so",
    )


class HubSource(Strict):
    """Branches or tags of a repository on the Hugging Face hub."""

    kind: Literal["hub"]
    repo: HubRepo
    revision: StepPlace = Field(
        description="a branch or tag ('heads/…' or 'tags/…' where one name is both); '{step}'"
        " stands for the step ('{step:03d}' with leading zeros), '*' for any text that cannot be"
        " predicted; a commit of 40 hex digits serves a model of one step"
    )


FetchedSource = Annotated[DirectorySource | GgufSource | HubSource, Field(discriminator="kind")]
CheckpointSource = Annotated[
    NurserySource | BranchSource | DirectorySource | GgufSource | HubSource,
    Field(discriminator="kind"),
]


EndOfText = Annotated[
    Annotated[str, Field(strict=True, min_length=1)] | None,
    Field(
        description="the token that ends a text, where the checkpoint's own files name none or"
        " another"
    ),
]


class Model(Strict):
    """A family of checkpoints of one pretraining run."""

    source: CheckpointSource
    family: Name | None = Field(
        None, description="what it has in common with models of other seeds of one pretraining"
    )
    steps: Steps = Field(
        [0],
        description="of pretraining, ascending, or {log_spaced: [first, last, count]}; absent for a"
        " model that is one checkpoint",
    )
    end_of_text: EndOfText = None
    begin_of_text: BeginOfText = Field(
        "tokenizer",
        description="whether its texts begin with the begin-of-text token: as its tokenizer does"
        " by itself, always, or never",
    )

    @model_validator(mode="after")
    def _nursery_has_its_own_tokenizer(self) -> Model:
        if self.end_of_text is not None and isinstance(self.source, NurserySource | BranchSource):
            raise ValueError("end_of_text is for checkpoints from outside; remove it")
        return self

    @model_validator(mode="after")
    def _steps_ascend(self) -> Model:
        if sorted(set(self.steps)) != self.steps:
            raise ValueError(f"steps must ascend without repeats, got {self.steps}")
        if "steps" not in self.model_fields_set and self.names_steps:
            raise ValueError("steps: missing; the source needs them")
        for key in ("path", "revision"):
            place = getattr(self.source, key, None)
            if len(self.steps) > 1 and place is not None and not step_formats(place):
                raise ValueError(
                    f"source.{key} {place!r} needs '{{step}}' to tell {len(self.steps)} steps apart"
                )
        return self

    @property
    def has_untrained(self) -> bool:
        """Whether its step 0 is there, and is what pretraining began with.

        The step of a source that tells no steps apart is but a label; a branch of some steps has
        been trained.
        """
        if isinstance(self.source, BranchSource) and self.source.num_steps:
            return False
        return self.names_steps and 0 in self.steps

    @property
    def names_steps(self) -> bool:
        """Whether its source tells steps of pretraining apart, so that they say what they are."""
        match self.source:
            case NurserySource() | BranchSource():
                return True
            case HubSource(revision=place) | DirectorySource(path=place) | GgufSource(path=place):
                return bool(step_formats(place))
        assert_never(self.source)


class FetchCheckpoint(Strict):
    """One checkpoint from outside."""

    source: FetchedSource
    step: Natural
    end_of_text: EndOfText = None


class TrainTokenizer(Strict):
    """A nursery's byte-level BPE, learnt from the corpus that it is trained on."""

    vocab_size_tokens: Annotated[int, Field(strict=True, ge=300, le=65536)] = 1024
    num_documents: Count = Field(
        4000, description="documents to learn from, the first of the corpus"
    )


class TrainTokenizerJob(TrainTokenizer):
    """What the job of ``train_tokenizer`` receives: where its documents are from."""

    source: Annotated[DocumentSource, Field(discriminator="kind")]
    world: World | None = None


class PretrainNursery(Nursery):
    """What the job of ``pretrain_nursery`` receives: also the steps whose checkpoints it keeps."""

    steps: list[Natural]


class BranchCheckpoint(Branch):
    """What the job of ``branch_checkpoint`` receives."""

    num_threads: Count


class KeepCheckpoint(Strict):
    """One checkpoint of a nursery."""

    step: Natural
