"""The whole study: reading a config, refusing a wrong one line by line, and what is to be run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

from ke_steps._contradictions import contradictions
from ke_steps._errors import UserError
from ke_steps._explain import explain_faults
from ke_steps._missing_files import missing_files
from ke_steps.settings import (
    ORIGINAL,
    AggregateEntropy,
    Cluster,
    Corpus,
    Count,
    DescribeMemories,
    EvaluateKnowledge,
    EvaluateNovelty,
    EvaluateRetention,
    ExtractCoefficients,
    FitDecay,
    Knowledge,
    Model,
    Name,
    Nursery,
    PlotFigures,
    Recipe,
    ResultsPath,
    Seed,
    Strict,
    Summarize,
    TrainTokenizer,
    Variant,
    World,
    WriteReport,
)


class State(NamedTuple):
    """A checkpoint under a variant."""

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


class Study(Strict):
    """What to measure, on what, and how often: one config file."""

    results_dir: ResultsPath = Field("results", description="where everything is written")
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(
        [0], description="repeats of every learning run"
    )
    num_threads: Count = Field(1, description="CPU threads of a model job; they change rounding")
    world: World | None = None
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    train_tokenizer: TrainTokenizer | None = None
    pretrain_nursery: Nursery | None = None
    corpora: Annotated[dict[Name, Corpus], Field(min_length=1)]
    knowledge: Knowledge
    extract_coefficients: ExtractCoefficients
    aggregate_entropy: AggregateEntropy
    describe_memories: DescribeMemories | None = None
    evaluate_novelty: EvaluateNovelty | None = None
    variants: dict[Name, Variant] = Field(default_factory=dict)
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)]
    evaluate_knowledge: EvaluateKnowledge
    fit_decay: FitDecay | None = None
    evaluate_retention: EvaluateRetention
    summarize: Summarize
    plot_figures: PlotFigures = PlotFigures()
    write_report: WriteReport
    cluster: Cluster = Cluster()

    def states(self) -> list[State]:
        """Return every checkpoint as it is, then under each variant whose scope includes it."""
        return [
            State(name, step, variant)
            for name, model in self.models.items()
            for variant in (ORIGINAL, *self.variants)
            for step in model.steps
            if variant == ORIGINAL or self.variants[variant].includes(name, step)
        ]

    def runs_recipe(self, recipe: str, state: State) -> bool:
        """Tell whether a recipe is run on a state."""
        scope = self.recipes[recipe]
        return scope.includes(state.model, state.step) and (
            scope.variants is None or state.variant in scope.variants
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

    def corpora_measured(self, state: State) -> list[str]:
        """Return the corpora on which a state's coefficients are measured, the main one first."""
        extract = self.extract_coefficients
        return [extract.corpus, *(extract.other_corpora if state.variant == ORIGINAL else [])]


def read_study(config: Mapping[str, Any], *, need_files: bool = True) -> Study:
    """Validate a whole config; raise one ``UserError`` with a line per fault.

    Args:
        config: the keys of a config file.
        need_files: whether a file that the study names and is not there is a fault.
    """
    try:
        study = Study.model_validate(dict(config))
    except ValidationError as error:
        lines = explain_faults(error, Study.model_json_schema())
        raise UserError("\n".join(lines)) from error
    faults = [*contradictions(study), *(missing_files(study) if need_files else ())]
    if faults:
        raise UserError("\n".join(f"{key}: {message}" for key, message in faults))
    return study


def main() -> None:
    """Print the schema of every study."""
    print(json.dumps(Study.model_json_schema(), indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
