"""What a checkpoint, or a variant of it, learns and forgets."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from ke_steps.settings.schedules import Scheduled
from ke_steps.settings.texts import World
from ke_steps.settings.types import (
    BeginOfText,
    Count,
    Name,
    Natural,
    NonNegative,
    Number,
    OpenFraction,
    Positive,
    Precision,
    Seed,
    Strict,
)

ORIGINAL = "original"
"""The variant that every checkpoint has: its weights as they are."""

Task = Literal["world_recall", "sciq", "winogrande", "piqa", "openbook_qa", "hellaswag", "arc_easy"]
PAPER_TASKS: tuple[Task, ...] = get_args(Task)[1:]


class Scope(Strict):
    """The checkpoints that a section, a variant or a recipe is limited to; all without a key."""

    models: list[Name] | None = Field(None, description="keys of models; all when absent")
    steps: list[Natural] | None = Field(None, description="checkpoint steps; all when absent")

    def includes(self, model: str, step: int) -> bool:
        """Tell whether a checkpoint is within the scope."""
        return (self.models is None or model in self.models) and (
            self.steps is None or step in self.steps
        )


class Training(Scheduled):
    """Continual pretraining with scheduled injections of new knowledge."""

    corpus: Name
    num_steps: Count
    batch_size_sequences: Count
    micro_batch_size_sequences: Count = Field(description="sequences per forward pass")
    learning_rate: Positive
    weight_decay: NonNegative = 0.1
    max_gradient_norm: Positive = 1.0
    num_epochs: Count = Field(
        1, description="times that num_steps go over their sequences and the injections' texts"
    )
    num_injections: Count = Field(10, description="in each epoch")
    injection_interval_steps: Count
    probe_interval_steps: Count | None = Field(
        None, description="probes are also taken every so many steps after the last injection"
    )
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = Field(
        False,
        strict=True,
        description="have torch compile layers and loss, which takes minutes and then is faster;"
        " numbers differ in rounding from those without, and are the same in each run",
    )
    contribution_entropy_weight: Number = Field(
        0.0,
        description="β: learning also raises the entropy of contributions |c|·‖v‖, as the loss gets"
        " −β · Σ H / (L ln m); 0 leaves it alone, below 0 lowers it",
    )
    compensate_gauge: bool = Field(
        False,
        strict=True,
        description="variants that are gauges learn at the rates of the original: factors on"
        " learning rates, ε and clipping undo what the gauge changes of these",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Training:
        if self.num_steps % self.num_epochs:
            raise ValueError(f"num_epochs {self.num_epochs} must divide num_steps {self.num_steps}")
        if self.compile and self.contribution_entropy_weight:
            raise ValueError("compile: not together with contribution_entropy_weight; set it false")
        last = self.num_injections * self.injection_interval_steps
        if last > self.num_steps // self.num_epochs:
            raise ValueError(
                f"injection {self.num_injections} falls on step {last},"
                f" beyond num_steps {self.num_steps // self.num_epochs}"
                + (" of an epoch" if self.num_epochs > 1 else "")
            )
        if self.batch_size_sequences % self.micro_batch_size_sequences:
            raise ValueError(
                f"micro_batch_size_sequences {self.micro_batch_size_sequences} must divide"
                f" batch_size_sequences {self.batch_size_sequences}"
            )
        return self


class Recipe(Training, Scope):
    """A training, and what it is limited to."""

    variants: list[Name] | None = Field(
        None, description="keys of variants, or original; all when absent"
    )


class EncodeProbes(Strict):
    """Probes as token ids."""

    begin_of_text: BeginOfText = "tokenizer"


class ScheduleInjections(Strict):
    """Which text enters which sequence of which training step."""

    num_steps: Count
    num_epochs: Count
    num_injections: Count
    injection_interval_steps: Count
    batch_size_sequences: Count
    seed: Natural


class InjectKnowledge(Training):
    """One training run."""

    seed: Seed
    num_threads: Count
    begin_of_text: BeginOfText = "tokenizer"


class FitDecay(Strict):
    """How probes fade after the last injection, for recipes with ``probe_interval_steps``."""

    num_bootstrap: Annotated[int, Field(strict=True, ge=100)] = 1000
    confidence: OpenFraction = 0.95
    seed: Natural = 0


Score = Literal["per_token", "reference_padded"]


class EvaluateKnowledge(Strict):
    """Probe performance K and acquisition A of one run."""

    score: Score = Field("per_token", description="which log probability K is the mean of")
    num_bootstrap: Annotated[int, Field(strict=True, ge=100)] = 1000
    confidence: OpenFraction = 0.95
    seed: Natural = 0


class EvaluateRetention(Strict):
    """Old knowledge: accuracy over tasks and bits per token on held-out text."""

    tasks: Annotated[list[Task], Field(min_length=1)] = Field(
        list(PAPER_TASKS), description="the paper's six when absent"
    )
    num_items_per_task: Count | None = Field(None, description="first items of a task; all if null")
    held_out_corpus: Name = Field("", description="the first of corpora when absent")
    batch_size_sequences: Count = 64
    precision: Precision = Field(
        "fp32",
        description="tf32 on GPUs alone; in these two the last checkpoint of each model is compared"
        " with fp32",
    )
    num_bootstrap: Annotated[int, Field(strict=True, ge=100)] = 1000
    confidence: OpenFraction = 0.95
    seed: Natural = 0

    @model_validator(mode="after")
    def _tasks_differ(self) -> EvaluateRetention:
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks must not repeat, got {self.tasks}")
        return self


class EvaluateRetentionJob(EvaluateRetention):
    """What the job of ``evaluate_retention`` receives."""

    num_threads: Count
    compare_with_fp32: bool = False
    begin_of_text: BeginOfText = "tokenizer"
    world: World | None = None
