"""How broadly a checkpoint uses its memory, and what its memories say."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ke_steps.settings.learning import Scope
from ke_steps.settings.texts import MOST_SEQUENCES
from ke_steps.settings.types import (
    Count,
    Name,
    Natural,
    NonNegative,
    OpenFraction,
    Positive,
    Precision,
    Strict,
)


class ExtractCoefficients(Strict):
    """How memory coefficients are measured."""

    corpus: Name | None = Field(
        None,
        description="null: what a nursery was pretrained on, and for other models the first of"
        " corpora",
    )
    other_corpora: list[Name] = Field(
        default_factory=list, description="measured as well, on the original checkpoints"
    )
    num_sequences: Count | None = Field(
        None,
        description=f"null: what the corpus has, up to {MOST_SEQUENCES}, in groups of equal size",
    )
    batch_size_sequences: Count = 8
    precision: Precision = Field(
        "fp32",
        description="tf32 on GPUs alone; in these two the last checkpoint of each model is compared"
        " with fp32, unless shards share it",
    )
    padding: Literal["exclude", "reference"] = "exclude"
    active_threshold: NonNegative = Field(
        0.1, description="|c| above this counts a memory as active"
    )
    num_groups: Annotated[int, Field(strict=True, ge=2)] = 16
    relu_gate: bool = Field(
        default=False,
        strict=True,
        description="also measure |c| with ReLU in place of the activation; costs one more sum",
    )
    num_attribution_sequences: Natural = Field(
        0, description="for |c · ∂loss/∂c|, a second pass with gradients; 0 for none"
    )
    num_attention_sequences: Natural = Field(0, description="for attention entropy; 0 for none")
    num_next_token_sequences: Natural = Field(0, description="for next-token entropy; 0 for none")
    num_shards: Count = Field(1, description="jobs that share one extraction; changes no number")

    @model_validator(mode="after")
    def _groups_fit(self) -> ExtractCoefficients:
        counts = ("attribution", "attention", "next_token")
        for key in ("num_sequences", *(f"num_{count}_sequences" for count in counts)):
            number = getattr(self, key) or 0
            if number % self.num_groups:
                raise ValueError(f"num_groups {self.num_groups} must divide {key} {number}")
            if self.num_sequences is not None and number > self.num_sequences:
                raise ValueError(f"{key} {number} exceeds num_sequences {self.num_sequences}")
        return self

    @model_validator(mode="after")
    def _shards_fit(self) -> ExtractCoefficients:
        if self.num_groups % self.num_shards:
            raise ValueError(
                f"num_shards {self.num_shards} must divide num_groups {self.num_groups}"
            )
        if self.num_shards == 1:
            return self
        if self.num_sequences is None:
            raise ValueError(f"num_shards {self.num_shards} needs num_sequences to be a number")
        of_shard = self.num_sequences // self.num_shards
        if of_shard % self.batch_size_sequences:
            raise ValueError(
                f"batch_size_sequences {self.batch_size_sequences} must divide the {of_shard}"
                f" sequences of a shard (num_sequences {self.num_sequences} / num_shards"
                f" {self.num_shards})"
            )
        return self


class ExtractCoefficientsJob(ExtractCoefficients):
    """What the job of ``extract_coefficients`` receives: ``corpus`` is its own."""

    corpus: Name
    num_threads: Count
    compare_with_fp32: bool = False

    @property
    def places(self) -> dict[str, list[str]]:
        """The folders of all shards, for the patterns of ``merge_shards``."""
        return {"shards": [f"shard{shard}" for shard in range(self.num_shards)]}


class ExtractShardJob(ExtractCoefficientsJob):
    """What the job of ``extract_shard`` receives."""

    shard: Natural

    @model_validator(mode="after")
    def _is_one_of_them(self) -> ExtractShardJob:
        if self.shard >= self.num_shards:
            raise ValueError(f"shard {self.shard} is not below num_shards {self.num_shards}")
        return self


class AggregateEntropy(Strict):
    """From coefficients to entropies with intervals."""

    num_bootstrap: Annotated[int, Field(strict=True, ge=100)] = 1000
    confidence: OpenFraction = 0.95
    dormant_ratio: OpenFraction = Field(
        0.1, description="a memory is dormant below this multiple of its layer's mean |c|"
    )
    seed: Natural = 0


class DescribeMemories(Scope):
    """The most and the least active memories of a checkpoint, in tokens."""

    num_memories: Count = Field(3, description="of each end, in each layer")
    num_tokens: Count = Field(8, description="tokens that a memory vector promotes most")


class DescribeMemoriesJob(DescribeMemories):
    """What the job of ``describe_memories`` receives."""

    num_threads: Count


class AggregateUpdates(Strict):
    """From the changes of memories to their statistics."""

    num_permutations: Annotated[int, Field(strict=True, ge=100)] = Field(
        1000, description="of the test whether active memories change most"
    )
    seed: Natural = 0


class MeasureRivals(Strict):
    """What else, beside its entropy, could explain how a checkpoint learns and forgets."""

    new_corpus: Name = Field(description="whose gradient is measured: what is learned next")
    held_out_corpus: Name = Field(
        "", description="on which noise raises the loss; the first of corpora when absent"
    )
    num_sequences: Count = Field(
        64, description="of each of these and of the main corpus, its first"
    )
    batch_size_sequences: Count = 8
    noise_scales: Annotated[list[Positive], Field(min_length=1)] = Field(
        [0.05, 0.1, 0.2],
        description="γ: norm of the noise on each tensor, as a part of the tensor's own; runs are"
        " compared by the first",
    )
    num_draws: Annotated[int, Field(strict=True, ge=2)] = Field(
        3, description="of the noise; all checkpoints get the same"
    )
    max_memories: Annotated[int, Field(strict=True, ge=2)] = Field(
        8192,
        description="m² numbers of a layer with up to m memories are held; of one with more, so"
        " many drawn ones give the participation ratio, and no effective rank",
    )
    confidence: OpenFraction = 0.95
    seed: Natural = 0

    @model_validator(mode="after")
    def _scales_differ(self) -> MeasureRivals:
        if len(set(self.noise_scales)) != len(self.noise_scales):
            raise ValueError(f"noise_scales must not repeat, got {self.noise_scales}")
        return self


class MeasureRivalsJob(MeasureRivals):
    """What the job of ``measure_rivals`` receives."""

    num_threads: Count
