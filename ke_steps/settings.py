"""Every setting of a study, as pydantic models: the only reader of the config.

Nouns (``Corpus``, ``Recipe``, …) are the entries of a config file. Verbs (``PrepareCorpus``,
``InjectKnowledge``, …) are what one job of that step receives as ``--settings``: the entry plus
the few values of its wildcards. ``study.Study`` joins them into the whole config. Classes here hold
data and refuse what is wrong; they compute nothing, so that a result can depend on them only
through the values that a rule passes on. This module imports neither torch nor transformers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

ORIGINAL = "original"
"""The variant that every checkpoint has: its weights as they are."""

FigureName = Literal[
    "entropy_by_stage",
    "entropy_by_layer",
    "acquisition_and_forgetting",
    "performance_by_stage",
    "probe_curves",
    "variants",
    "entropy_and_learning",
    "coefficient_distributions",
]
Task = Literal["world_recall", "sciq", "winogrande", "piqa", "openbook_qa", "hellaswag", "arc_easy"]


def _parse_scientific(value: Any) -> Any:
    """YAML 1.1 reads ``4e-4`` as text: accept it as the number it means."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _refuse_traversal(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("must not contain '..'")
    return path


Count = Annotated[int, Field(strict=True, ge=1)]
Natural = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[float, BeforeValidator(_parse_scientific), Field(strict=True, gt=0)]
NonNegative = Annotated[float, BeforeValidator(_parse_scientific), Field(strict=True, ge=0)]
Fraction = Annotated[float, BeforeValidator(_parse_scientific), Field(strict=True, ge=0, le=1)]
OpenFraction = Annotated[float, BeforeValidator(_parse_scientific), Field(strict=True, gt=0, lt=1)]
Name = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
ResultsPath = Annotated[
    str, Field(strict=True, pattern=r"^[A-Za-z0-9_./-]+$"), AfterValidator(_refuse_traversal)
]
InputPath = Annotated[str, Field(strict=True, min_length=1)]


class Strict(BaseModel):
    """Unknown keys, infinities and silent conversions are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# --- The synthetic world and text -------------------------------------------------------------


class World(Strict):
    """The synthetic world: who lives in it and how its facts are told."""

    seed: Natural
    num_people: Count = Field(
        description="people of the pretraining domain, each with 5 attributes"
    )
    num_continual_entities: Count = Field(description="entities of the continual-learning domain")
    num_questions: Count = Field(description="multiple-choice questions on pretrained facts")

    @model_validator(mode="after")
    def _questions_differ(self) -> World:
        if self.num_questions > 5 * self.num_people:
            raise ValueError(
                f"num_questions {self.num_questions} exceeds the {5 * self.num_people} facts"
                f" of num_people {self.num_people}, 5 each"
            )
        return self


class WorldText(Strict):
    """Documents drawn from the world: an endless, seeded stream."""

    kind: Literal["world"]
    domain: Literal["pretraining", "continual"]


class LocalText(Strict):
    """Local files (.txt, .jsonl, .jsonl.gz, .parquet); ``text_field`` names the text column."""

    kind: Literal["text"]
    paths: Annotated[list[InputPath], Field(min_length=1)]
    text_field: Annotated[str, Field(strict=True, min_length=1)] = "text"


class Corpus(Strict):
    """Documents packed into sequences of equal length."""

    source: Annotated[WorldText | LocalText, Field(discriminator="kind")]
    num_sequences: Count
    sequence_length_tokens: Annotated[int, Field(strict=True, ge=8)]
    skip_sequences: Natural = Field(0, description="sequences of the stream to pass over first")


class PrepareCorpus(Corpus):
    """One corpus, with the world when its text comes from there."""

    world: World | None = None


class WorldKnowledge(Strict):
    """Invented passages of the synthetic world."""

    kind: Literal["world"]


class FictionalKnowledge(Strict):
    """The FICTIONAL KNOWLEDGE files of Chang et al. 2024 (JSON lists of passages)."""

    kind: Literal["fictional_knowledge"]
    paraphrase_path: InputPath
    once_path: InputPath


class Knowledge(Strict):
    """New knowledge: passages seen as paraphrases at every injection, and passages seen once."""

    source: Annotated[WorldKnowledge | FictionalKnowledge, Field(discriminator="kind")]
    num_paraphrase_passages: Natural
    num_once_passages: Natural

    @model_validator(mode="after")
    def _has_passages(self) -> Knowledge:
        if self.num_paraphrase_passages + self.num_once_passages == 0:
            raise ValueError(
                "num_paraphrase_passages and num_once_passages are both 0: nothing to learn"
            )
        return self


class PrepareKnowledge(Knowledge):
    """The passages and probes, with the world when they come from there."""

    world: World | None = None


# --- Checkpoints ------------------------------------------------------------------------------


class NurserySource(Strict):
    """Checkpoints of the small model that ``pretrain_nursery`` trains."""

    kind: Literal["nursery"]


class DirectorySource(Strict):
    """Local Hugging Face directories; ``{step}`` in the path stands for the step."""

    kind: Literal["directory"]
    path: InputPath


class GgufSource(Strict):
    """A GGUF file; ``{step}`` in the path stands for the step."""

    kind: Literal["gguf"]
    path: InputPath


FetchedSource = Annotated[DirectorySource | GgufSource, Field(discriminator="kind")]
CheckpointSource = Annotated[
    NurserySource | DirectorySource | GgufSource, Field(discriminator="kind")
]


class Model(Strict):
    """A family of checkpoints of one pretraining run."""

    source: CheckpointSource
    steps: Annotated[list[Natural], Field(min_length=1)]

    @model_validator(mode="after")
    def _steps_ascend(self) -> Model:
        if sorted(set(self.steps)) != self.steps:
            raise ValueError(f"steps must ascend without repeats, got {self.steps}")
        path = getattr(self.source, "path", None)
        if len(self.steps) > 1 and path is not None and "{step}" not in path:
            raise ValueError(
                f"source.path {path!r} needs '{{step}}' to tell {len(self.steps)} steps apart"
            )
        return self


class FetchCheckpoint(Strict):
    """One checkpoint from outside."""

    source: FetchedSource
    step: Natural


class TrainTokenizer(Strict):
    """The nursery's byte-level BPE."""

    vocab_size_tokens: Annotated[int, Field(strict=True, ge=300, le=65536)]
    num_documents: Count = Field(description="documents of the pretraining domain to learn from")


class TrainWorldTokenizer(TrainTokenizer):
    """What the job of ``train_tokenizer`` receives."""

    world: World


class Nursery(Strict):
    """Pretraining of a small OLMo from scratch."""

    corpus: Name
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_steps: Count
    batch_size_sequences: Count
    learning_rate: Positive
    warmup_fraction: Fraction
    min_learning_rate_ratio: Fraction
    weight_decay: NonNegative
    seed: Natural
    num_threads: Count = Field(description="CPU threads; they change rounding, hence a setting")

    @model_validator(mode="after")
    def _heads_divide(self) -> Nursery:
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size {self.hidden_size} must be a multiple of twice"
                f" num_attention_heads {self.num_attention_heads}"
            )
        return self


class PretrainNursery(Nursery):
    """One pretraining run: the steps at which it keeps a checkpoint."""

    steps: list[Natural]


# --- Measuring --------------------------------------------------------------------------------


class ExtractCoefficients(Strict):
    """How memory coefficients are measured."""

    corpus: Name
    num_sequences: Count
    batch_size_sequences: Count
    precision: Literal["fp32", "bf16"]
    padding: Literal["exclude", "reference"] = "exclude"
    active_threshold: NonNegative = Field(description="|c| above this counts a memory as active")
    num_groups: Annotated[int, Field(strict=True, ge=2)]

    @model_validator(mode="after")
    def _groups_fit(self) -> ExtractCoefficients:
        if self.num_sequences % self.num_groups:
            raise ValueError(
                f"num_groups {self.num_groups} must divide num_sequences {self.num_sequences}"
            )
        return self


class ExtractCoefficientsJob(ExtractCoefficients):
    """What the job of ``extract_coefficients`` receives."""

    num_threads: Count


class AggregateEntropy(Strict):
    """From coefficients to entropies with intervals."""

    num_bootstrap: Annotated[int, Field(strict=True, ge=100)]
    confidence: OpenFraction
    dormant_ratio: OpenFraction = Field(
        description="a memory is dormant below this multiple of its layer's mean |c|"
    )
    seed: Natural


# --- Learning ---------------------------------------------------------------------------------


class Variant(Strict):
    """Resuscitation, Algorithm 1 of the paper: wake the dormant memories of a checkpoint."""

    kind: Literal["resuscitate"]
    quantile: OpenFraction = Field(description="p: memories at or below this quantile are woken")
    boost: Positive = Field(description="q: target activity as a multiple of the layer's mean")
    max_multiplier: Positive | None = Field(None, description="cap on a row's multiplier")
    steps: list[Natural] | None = Field(None, description="checkpoint steps; all when absent")


class Resuscitate(Strict):
    """One variant of one checkpoint."""

    quantile: OpenFraction
    boost: Positive
    max_multiplier: Positive | None


class Recipe(Strict):
    """Continual pretraining with scheduled injections of new knowledge."""

    corpus: Name
    num_steps: Count
    batch_size_sequences: Count
    micro_batch_size_sequences: Count = Field(description="sequences per forward pass")
    learning_rate: Positive
    warmup_fraction: Fraction = 0.05
    min_learning_rate_ratio: Fraction = 0.1
    weight_decay: NonNegative = 0.1
    max_gradient_norm: Positive = 1.0
    num_injections: Count = 10
    injection_interval_steps: Count
    precision: Literal["fp32", "bf16"]

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        last = self.num_injections * self.injection_interval_steps
        if last > self.num_steps:
            raise ValueError(
                f"injection {self.num_injections} falls on step {last},"
                f" beyond num_steps {self.num_steps}"
            )
        if self.batch_size_sequences % self.micro_batch_size_sequences:
            raise ValueError(
                f"micro_batch_size_sequences {self.micro_batch_size_sequences} must divide"
                f" batch_size_sequences {self.batch_size_sequences}"
            )
        return self


class ScheduleInjections(Strict):
    """Which text enters which sequence of which training step."""

    num_injections: Count
    injection_interval_steps: Count
    batch_size_sequences: Count
    seed: Natural


class InjectKnowledge(Recipe):
    """One training run."""

    seed: Natural
    num_threads: Count


class EvaluateKnowledge(Strict):
    """Probe performance K and acquisition A of one run."""

    score: Literal["per_token", "reference_padded"] = Field(
        "per_token", description="which log probability K is the mean of"
    )
    num_bootstrap: Annotated[int, Field(strict=True, ge=100)]
    confidence: OpenFraction
    seed: Natural


class EvaluateRetention(Strict):
    """Old knowledge: accuracy over tasks and bits per token on held-out text."""

    tasks: Annotated[list[Task], Field(min_length=1)]
    num_items_per_task: Count | None = Field(None, description="first items of a task; all if null")
    held_out_corpus: Name
    batch_size_sequences: Count
    num_bootstrap: Annotated[int, Field(strict=True, ge=100)]
    confidence: OpenFraction
    seed: Natural

    @model_validator(mode="after")
    def _tasks_differ(self) -> EvaluateRetention:
        if len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks must not repeat, got {self.tasks}")
        return self


class EvaluateRetentionJob(EvaluateRetention):
    """What the job of ``evaluate_retention`` receives."""

    num_threads: Count
    world: World | None = None


# --- Telling ----------------------------------------------------------------------------------


class Summarize(Strict):
    """Statistics over the whole study."""

    confidence: OpenFraction
    num_bootstrap: Annotated[int, Field(strict=True, ge=100)]
    min_points: Annotated[int, Field(strict=True, ge=3)] = Field(
        4, description="fewer points than this make a claim about a trend inconclusive"
    )
    seed: Natural


class PlotFigures(Strict):
    """Which figures to draw."""

    figures: Annotated[list[FigureName], Field(min_length=1)]


class WriteReport(Strict):
    """The report's own words."""

    title: Annotated[str, Field(strict=True, min_length=1)]
    description: Annotated[str, Field(strict=True)] = ""


class WriteReportJob(WriteReport):
    """What the job of ``write_report`` receives: the whole study, to be shown."""

    study: dict[str, Any]
