"""From measurements to statistics, figures and the report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, Json, model_validator

from ke_steps.settings.interventions import Variant
from ke_steps.settings.learning import Score
from ke_steps.settings.types import (
    Fraction,
    Name,
    Natural,
    NonNegative,
    OpenFraction,
    Positive,
    Strict,
)

FigureName = Literal[
    "entropy_by_stage",
    "entropy_by_layer",
    "entropy_by_measure",
    "entropy_by_corpus",
    "entropy_by_phase",
    "attention_and_next_token_entropy",
    "rivals_by_stage",
    "acquisition_and_forgetting",
    "performance_by_stage",
    "probe_curves",
    "knowledge_by_injection",
    "variants",
    "resuscitation_by_boost",
    "resuscitation_by_quantile",
    "resuscitation_by_stage",
    "attention_temperature",
    "learning_by_recipe",
    "learning_by_model",
    "learning_frontiers",
    "gauge_and_function",
    "retention_over_time",
    "entropy_and_learning",
    "entropy_and_learning_between_runs",
    "coefficient_distributions",
    "novelty_by_corpus",
    "update_map",
    "ranking_changes",
]


MIN_RUNS_OF_PRETRAINING = 8
"""With fewer, nothing is decided between them: chance alone orders them as well too often."""


MIN_LEARNING_RATES = 4
"""With fewer, what new knowledge costs in old is no frontier."""


PredictionClaim = Literal[
    "entropy_falls_after_saturation",
    "entropy_falls_more_after_saturation",
    "entropy_rises_before_saturation",
    "knowledge_after_falls_after_saturation",
    "forgetting_rises_after_saturation",
]
CONTRAST: PredictionClaim = "entropy_falls_more_after_saturation"
"""The claim that compares families: the others say the same of each."""


class Prediction(Strict):
    """What a study says will come out, written before it runs; its unit is a pretraining run."""

    name: Name = Field(description="what the report calls it, such as P1")
    claim: PredictionClaim
    families: Annotated[list[Name], Field(min_length=1)] = Field(
        description="families of models that it speaks of, and of every one of them"
    )
    setting: Annotated[str, Field(strict=True)] | None = Field(
        None,
        description=f"for {CONTRAST}: the number among a nursery's settings with which the fall"
        " grows; compared are runs alike in all others, and the seed",
    )

    @model_validator(mode="after")
    def _contrast_has_setting(self) -> Prediction:
        if self.claim == CONTRAST and self.setting is None:
            raise ValueError(f"setting: missing, but needed by {CONTRAST}")
        if self.claim != CONTRAST and self.setting is not None:
            raise ValueError(f"setting is for {CONTRAST}; remove it")
        if len(set(self.families)) != len(self.families):
            raise ValueError(f"families must not repeat, got {self.families}")
        return self


class Summarize(Strict):
    """Statistics over the whole study."""

    confidence: OpenFraction = 0.95
    num_bootstrap: Annotated[int, Field(strict=True, ge=100)] = 2000
    min_points: Annotated[int, Field(strict=True, ge=3)] = Field(
        4, description="with fewer stages a claim about their course is not tested"
    )
    smallest_entropy_change_nats: NonNegative = Field(
        0.01,
        description="per layer; a smaller change of an entropy is of no interest: 0.01 nats are 1 %"
        " of the effective number of memories",
    )
    non_inferiority_margin: Fraction = Field(
        0.01,
        description="what an improvement may cost at most: of P, and of A*, as fractions",
    )
    turnover_fraction: OpenFraction = Field(
        0.1, description="size of the most and the least active set whose turnover is told"
    )
    predictions: list[Prediction] = Field(
        default_factory=list,
        description="judged between runs of pretraining, and corrected for their number alone",
    )
    seed: Natural = 0


def _ascending(groups: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Put the recipes of every group in the order of their values: JSON has them by name."""
    return {
        first: {recipe: values[recipe] for recipe in sorted(values, key=values.__getitem__)}
        for first, values in groups.items()
    }


class Order(Strict):
    """Names in the order of the study, in which the first of them is the main one."""

    recipes: list[Name] = Field(default_factory=list)
    variants: list[Name] = Field(default_factory=list)

    def of_recipes(self, found: Iterable[str]) -> list[str]:
        """Return some recipes in this order."""
        return _ordered(self.recipes, found)

    def of_variants(self, found: Iterable[str]) -> list[str]:
        """Return some variants in this order."""
        return _ordered(self.variants, found)


def _ordered(order: list[str], found: Iterable[str]) -> list[str]:
    """Sort by a list; what it lacks keeps its own order, behind."""
    places = {name: place for place, name in enumerate(order)}
    return sorted(found, key=lambda name: places.get(name, len(places)))


class SummarizeJob(Summarize):
    """What the job of ``summarize`` receives: how to read the names in its results."""

    order: Order = Order()
    main_corpora: dict[Name, Name] = Field(
        description="by model, the corpus of the entropies that go without its name"
    )
    score: Score = Field(description="which log probability K is the mean of")
    variants: dict[Name, Variant] = Field(
        description="what is done to checkpoints, every draw under its own name"
    )
    families: dict[Name, Name] = Field(
        default_factory=dict, description="of the models that have one"
    )
    nurseries: dict[Name, dict[str, Any]] = Field(
        default_factory=dict, description="how the models of nurseries were pretrained"
    )
    frontiers: Annotated[dict[Name, dict[Name, Positive]], AfterValidator(_ascending)] = Field(
        default_factory=dict,
        description="recipes that differ in learning rate alone, by the first of them: the rate of"
        " each, ascending",
    )
    branches: dict[Name, Name] = Field(
        default_factory=dict, description="of models that branch off another: that one"
    )
    doses: Annotated[dict[Name, dict[Name, float]], AfterValidator(_ascending)] = Field(
        default_factory=dict,
        description="recipes that differ in contribution_entropy_weight alone, by the first of"
        " them: the weight of each, ascending",
    )
    compensated: list[Name] = Field(
        default_factory=list, description="recipes with compensate_gauge"
    )
    untrained: list[Name] = Field(
        default_factory=list, description="models whose step 0 is what pretraining began with"
    )
    places: dict[str, list[str]] = Field(
        default_factory=dict, description="what the patterns of the command line stand for"
    )


class PlotFigures(Strict):
    """Which figures to draw."""

    figures: Annotated[list[FigureName], Field(min_length=1)] | None = Field(
        None, description="all that the study has data for when absent"
    )


class PlotFiguresJob(PlotFigures):
    """What the job of ``plot_figures`` receives: the figures chosen, and what their axes mean."""

    figures: list[FigureName]
    confidence: OpenFraction = Field(description="of the intervals in the tables")
    main_corpora: dict[Name, Name] = Field(
        description="by model, the corpus of the entropies whose group names none"
    )
    variants: dict[Name, Variant] = Field(
        description="in the order of the config, every draw under its own name"
    )
    recipes: list[Name] = Field(description="in the order of the config: the first is the main one")


class WriteReport(Strict):
    """The report's own words."""

    title: Annotated[str, Field(strict=True, min_length=1)] = "Knowledge entropy"
    description: Annotated[str, Field(strict=True)] = ""


class WriteReportJob(WriteReport):
    """What the job of ``write_report`` receives: the whole study, to be shown."""

    study: Json[dict[str, Any]] = Field(
        description="as text, in which models and recipes keep their order: the first is the main"
        " one"
    )
