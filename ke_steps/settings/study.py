"""A whole study: every section of its config, and the states and runs that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from ke_steps.settings.checkpoints import (
    BranchSource,
    Model,
    Nursery,
    NurserySource,
    TrainTokenizer,
)
from ke_steps.settings.cluster import Cluster
from ke_steps.settings.interventions import GAUGES, Control, Noise, Permuted, Variant
from ke_steps.settings.learning import (
    ORIGINAL,
    EvaluateKnowledge,
    EvaluateRetention,
    FitDecay,
    Recipe,
    Scope,
)
from ke_steps.settings.measures import (
    AggregateEntropy,
    AggregateUpdates,
    DescribeMemories,
    ExtractCoefficients,
    MeasureRivals,
)
from ke_steps.settings.telling import PlotFigures, Summarize, WriteReport
from ke_steps.settings.texts import Corpus, EvaluateNovelty, Knowledge, World
from ke_steps.settings.types import Count, Name, ResultsPath, Seed, Strict


class State(NamedTuple):
    """A checkpoint under a variant, one of its draws where it has several."""

    model: str
    step: int
    variant: str


class Run(NamedTuple):
    """One learning run of a state."""

    model: str
    step: int
    variant: str
    recipe: str
    seed: int


class Arm(NamedTuple):
    """What is done to checkpoints: a variant of the study, and which of its draws."""

    variant: str
    settings: Variant
    draw: int


class Study(Strict):
    """What to measure, on what, and how often: one config file."""

    results_dir: ResultsPath = Field(
        "results",
        description="where everything is written; when absent, results/ and the name of the study's"
        " file, and results itself for config/config.yaml",
    )
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(
        [0], description="repeats of every learning run"
    )
    num_threads: Count = Field(1, description="CPU threads of a model job; they change rounding")
    keep_models: Literal["all", "last", "none"] = Field(
        "none",
        description="trained models whose weights stay when they have been evaluated: all, those of"
        " each model's last stage, or none",
    )
    world: World | None = None
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    train_tokenizer: TrainTokenizer | None = None
    pretrain_nursery: Nursery | None = None
    corpora: Annotated[dict[Name, Corpus], Field(min_length=1)]
    knowledge: Knowledge | None = Field(None, description="null: nothing new is learned")
    extract_coefficients: ExtractCoefficients = ExtractCoefficients()
    aggregate_entropy: AggregateEntropy = AggregateEntropy()
    describe_memories: DescribeMemories | None = DescribeMemories()
    measure_rivals: MeasureRivals | None = Field(None, description="null: not done")
    evaluate_novelty: EvaluateNovelty | None = Field(None, description="null: not asked")
    variants: dict[Name, Variant] = Field(default_factory=dict)
    recipes: dict[Name, Recipe] = Field(default_factory=dict)
    evaluate_knowledge: EvaluateKnowledge = EvaluateKnowledge()
    aggregate_updates: AggregateUpdates = AggregateUpdates()
    fit_decay: FitDecay = FitDecay()
    evaluate_retention: EvaluateRetention | None = Field(
        None, description="null: what was known before is not asked"
    )
    summarize: Summarize = Summarize()
    plot_figures: PlotFigures = PlotFigures()
    write_report: WriteReport = WriteReport()
    cluster: Cluster = Cluster()

    @model_validator(mode="before")
    @classmethod
    def _say_defaults(cls, study: Any) -> Any:
        """Name the corpora of sections that name none, then say each nursery's whole settings."""
        match study:
            case {"corpora": {**corpora}} if corpora:
                study = {**study, **dict(_with_corpora(study, list(map(str, corpora))))}
        match study:
            case {"pretrain_nursery": {**section}, "models": {**models}} if _is_right(section):
                whole = {name: _with_section(model, section) for name, model in models.items()}
                return {**study, "models": whole}
        return study

    @property
    def nurseries(self) -> dict[str, NurserySource]:
        """The settings of every model that is trained here."""
        sources = {name: model.source for name, model in self.models.items()}
        return {name: each for name, each in sources.items() if isinstance(each, NurserySource)}

    @property
    def branches(self) -> dict[str, BranchSource]:
        """The settings of every model that branches off another."""
        sources = {name: model.source for name, model in self.models.items()}
        return {name: each for name, each in sources.items() if isinstance(each, BranchSource)}

    def trunk(self, model: str) -> str:
        """Return the model whose checkpoints a model branches off; itself if it is no branch."""
        source = self.branches.get(model)
        return source.model if source else model

    def speaker(self, model: str) -> str:
        """Return the model whose tokenizer a model has, and with it all texts as token ids.

        The first of the nurseries of one corpus, whose tokenizers would be the same; a model from
        outside has its own, a branch what it branches off.
        """
        model, nurseries = self.trunk(model), self.nurseries
        if model not in nurseries:
            return model
        return next(
            name for name, each in nurseries.items() if each.corpus == nurseries[model].corpus
        )

    @cached_property
    def arms(self) -> dict[str, Arm]:
        """What is done to checkpoints, by the name that results have for it.

        Every draw of a variant that draws is one, ``<name>_draw0`` and so on. Whatever comes after
        ``intervene`` knows these names alone.
        """
        return dict(self.named_arms())

    def named_arms(self) -> Iterator[tuple[str, Arm]]:
        """Yield these names and arms; in a study that is refused two may have one name."""
        for name, variant in self.variants.items():
            if isinstance(variant, Permuted | Noise):
                for draw in range(variant.num_draws):
                    yield f"{name}_draw{draw}", Arm(name, variant, draw)
            else:
                yield name, Arm(name, variant, 0)

    def is_gauge(self, variant: str) -> bool:
        """Tell whether a variant of a state, named as results have it, leaves its function."""
        arm = self.arms.get(variant)
        if arm is None or isinstance(arm.settings, Noise):
            return False
        settings = arm.settings
        kind = settings.of if isinstance(settings, Control) else settings.kind
        return kind in GAUGES

    def states(self) -> list[State]:
        """Return every checkpoint as it is, then under each arm whose scope includes it."""
        arms = self.arms
        return [
            State(name, step, variant)
            for name, model in self.models.items()
            for variant in (ORIGINAL, *arms)
            for step in model.steps
            if variant == ORIGINAL or arms[variant].settings.includes(name, step)
        ]

    def keeps_model(self, run: Run) -> bool:
        """Tell whether the weights that a run has trained stay when they have been evaluated."""
        is_last = run.step == self.models[run.model].steps[-1]
        return self.keep_models == "all" or (self.keep_models == "last" and is_last)

    def runs_recipe(self, recipe: str, state: State) -> bool:
        """Tell whether a recipe is run on a state."""
        scope = self.recipes[recipe]
        arm = self.arms.get(state.variant)
        return scope.includes(state.model, state.step) and (
            scope.variants is None or (arm.variant if arm else ORIGINAL) in scope.variants
        )

    def runs(self) -> list[Run]:
        """Return every learning run."""
        return [
            Run(*state, recipe, seed)
            for state in self.states()
            for recipe in self.recipes
            if self.runs_recipe(recipe, state)
            for seed in self.seeds
        ]

    def recipes_by(self, setting: str) -> dict[str, dict[str, float]]:
        """Return the recipes that differ in one setting alone, by the first of them.

        Each with its value, ascending; what they are limited to may differ. One value is no group,
        and of several recipes with the same one the first counts.
        """
        apart = {setting, "variants", *Scope.model_fields}
        groups: dict[str, dict[float, str]] = {}
        for name, recipe in self.recipes.items():
            training = recipe.model_dump_json(exclude=apart)
            groups.setdefault(training, {}).setdefault(getattr(recipe, setting), name)
        return {
            next(iter(values.values())): {values[value]: value for value in sorted(values)}
            for values in groups.values()
            if len(values) > 1
        }

    def main_corpus(self, model: str) -> str:
        """Return the corpus that a model's H, its interventions and its updates rest on."""
        if corpus := self.extract_coefficients.corpus:
            return corpus
        if nursery := self.nurseries.get(self.trunk(model)):
            return nursery.corpus
        return next(iter(self.corpora))

    def main_corpora(self) -> dict[str, str]:
        """Return the main corpus of each model."""
        return {model: self.main_corpus(model) for model in self.models}

    def corpora_measured(self, state: State) -> list[str]:
        """Return the corpora on which a state's coefficients are measured, the main one first."""
        main = self.main_corpus(state.model)
        if state.variant != ORIGINAL:
            return [main]
        return list(dict.fromkeys([main, *self.extract_coefficients.other_corpora]))


def _is_right(section: Mapping[Any, Any]) -> bool:
    """Tell whether a section can be given to models: its own faults are told once, where it is."""
    try:
        Nursery.model_validate(section)
    except ValidationError:
        return False
    return True


def _with_section(model: Any, section: Mapping[Any, Any]) -> Any:
    match model:
        case {"source": {"kind": "nursery", **said}}:
            return {**model, "source": {**section, **said, "kind": "nursery"}}
    return model


CORPUS_KEYS = {
    "pretrain_nursery": "corpus",
    "measure_rivals": "held_out_corpus",
    "evaluate_retention": "held_out_corpus",
}
"""Sections with the key that names their corpus: the first one where it is absent."""


def _with_corpora(
    study: Mapping[str, Any], corpora: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the sections that read corpora with their keys said; what is no section stays."""
    defaults = {section: {key: corpora[0]} for section, key in CORPUS_KEYS.items()}
    for section, default in (*defaults.items(), ("evaluate_novelty", {"corpora": list(corpora)})):
        if isinstance(study.get(section), dict):
            yield section, default | study[section]
