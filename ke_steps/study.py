"""The whole study: reading a config, refusing a wrong one line by line, and each job's settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from ke_steps._contradictions import contradictions
from ke_steps._errors import UserError
from ke_steps._explain import explain
from ke_steps.settings import (
    ORIGINAL,
    AggregateEntropy,
    Corpus,
    Count,
    EvaluateKnowledge,
    EvaluateRetention,
    ExtractCoefficients,
    Knowledge,
    Model,
    Name,
    Natural,
    Nursery,
    PlotFigures,
    Recipe,
    ResultsPath,
    ScheduleInjections,
    Strict,
    Summarize,
    TrainTokenizer,
    Variant,
    World,
    WorldKnowledge,
    WorldText,
    WriteReport,
)


class Study(Strict):
    """What to measure, on what, and how often: one config file."""

    results_dir: ResultsPath = Field("results", description="where everything is written")
    seeds: Annotated[list[Natural], Field(min_length=1)]
    num_threads: Count = Field(1, description="CPU threads of a model job; they change rounding")
    world: World | None = None
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    train_tokenizer: TrainTokenizer | None = None
    pretrain_nursery: Nursery | None = None
    corpora: Annotated[dict[Name, Corpus], Field(min_length=1)]
    knowledge: Knowledge
    extract_coefficients: ExtractCoefficients
    aggregate_entropy: AggregateEntropy
    variants: dict[Name, Variant] = Field(default_factory=dict)
    recipes: Annotated[dict[Name, Recipe], Field(min_length=1)]
    evaluate_knowledge: EvaluateKnowledge
    evaluate_retention: EvaluateRetention
    summarize: Summarize
    plot_figures: PlotFigures
    write_report: WriteReport

    def steps_of(self, variant: str, model: str) -> list[int]:
        """Return the checkpoint steps of a model at which a variant is studied."""
        steps = self.models[model].steps
        only = None if variant == ORIGINAL else self.variants[variant].steps
        return [step for step in steps if only is None or step in only]

    def settings_for(self, step: str, wildcards: Mapping[str, str]) -> dict[str, Any]:
        """Return what one job of a step depends on: its section and its wildcards' entries."""
        entry, extra = self._entry(step, wildcards)
        return {**entry.model_dump(mode="json", exclude={"steps", "kind"}), **extra}

    def _entry(self, step: str, wildcards: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
        world = self.world.model_dump(mode="json") if self.world else None
        threads = {"num_threads": self.num_threads}
        seed = {"seed": int(wildcards["seed"])} if "seed" in wildcards else {}
        entry: Any = getattr(self, step, None)
        extra: dict[str, Any] = {}
        match step:
            case "fetch_checkpoint":
                entry, extra = self.models[wildcards["model"]], {"step": int(wildcards["step"])}
            case "train_tokenizer":
                extra = {"world": world}
            case "pretrain_nursery":
                extra = {"steps": self.models[wildcards["model"]].steps}
            case "prepare_corpus":
                entry = self.corpora[wildcards["corpus"]]
                extra = {"world": world if isinstance(entry.source, WorldText) else None}
            case "prepare_knowledge":
                entry = self.knowledge
                extra = {"world": world if isinstance(entry.source, WorldKnowledge) else None}
            case "schedule_injections":
                recipe = self.recipes[wildcards["recipe"]].model_dump(mode="json")
                entry = ScheduleInjections.model_validate(
                    {key: recipe[key] for key in ScheduleInjections.model_fields.keys() & recipe}
                    | seed
                )
            case "resuscitate":
                entry = self.variants[wildcards["variant"]]
            case "inject_knowledge":
                entry, extra = self.recipes[wildcards["recipe"]], threads | seed
            case "extract_coefficients":
                extra = threads
            case "evaluate_retention":
                asks_world = "world_recall" in self.evaluate_retention.tasks
                extra = threads | {"world": world if asks_world else None}
            case "write_report":
                extra = {"study": self.model_dump(mode="json")}
        return entry, extra


def read_study(config: Mapping[str, Any]) -> Study:
    """Validate a whole config; raise one ``UserError`` with a line per fault."""
    try:
        study = Study.model_validate(dict(config))
    except ValidationError as error:
        lines = explain(error, Study.model_json_schema())
        raise UserError("\n".join(lines)) from error
    lines = [f"{key}: {message}" for key, message in contradictions(study)]
    if lines:
        raise UserError("\n".join(lines))
    return study


def main(arguments: list[str]) -> None:
    """Say where a study's report is, or print the schema of every study."""
    if arguments == ["--schema"]:
        print(json.dumps(Study.model_json_schema(), indent=1, sort_keys=True))
        return
    study = read_study(yaml.safe_load(Path(arguments[0]).read_text()))
    print(f"Report: {Path(study.results_dir).resolve() / 'report.html'}")


if __name__ == "__main__":
    main(sys.argv[1:])
