"""What a study makes, listed once: its checkpoints, states, measurements, runs and their texts.

The rules take their wildcards and the inputs of the summary from here, the plan its jobs, and the
summary the folders that it reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ke_steps.artefacts.places import CHECKPOINT, MEASUREMENT, PREPARATION, RUN, SCHEDULE, STATE
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.study import Run, State, Study

TRAINED = "pretrain_nursery/{model}/training.parquet"
"""A nursery's training table."""
BRANCHED = f"branch_checkpoint/{CHECKPOINT}/manifest.json"
"""A checkpoint that branches off another."""


class Checkpoint(NamedTuple):
    """A model at a step of its pretraining."""

    model: str
    step: int


class Measurement(NamedTuple):
    """A state whose coefficients are measured on a corpus."""

    model: str
    step: int
    variant: str
    corpus: str


class Preparation(NamedTuple):
    """A corpus in the tokens of a model, which may speak for others (``Study.speaker``)."""

    model: str
    corpus: str


class Schedule(NamedTuple):
    """When the runs of a recipe and a seed read what."""

    recipe: str
    seed: int


class Places(NamedTuple):
    """The places of a study's results, by what lies there."""

    nursery_checkpoints: list[Checkpoint]
    fetched_checkpoints: list[Checkpoint]
    branched_checkpoints: list[Checkpoint]
    described_checkpoints: list[Checkpoint]
    rival_checkpoints: list[Checkpoint]
    novelty_checkpoints: list[Checkpoint]
    states: list[State]
    assessed_states: list[State]
    measurements: list[Measurement]
    main_measurements: list[Measurement]
    original_measurements: list[Measurement]
    runs: list[Run]
    assessed_runs: list[Run]
    decaying_runs: list[Run]


Place = Checkpoint | State | Measurement | Run | Preparation | Schedule
PATTERNS = {
    Checkpoint: CHECKPOINT,
    State: STATE,
    Measurement: MEASUREMENT,
    Run: RUN,
    Preparation: PREPARATION,
    Schedule: SCHEDULE,
}


def places(study: Study) -> Places:
    """Return the places of a study's results."""
    nursery: list[Checkpoint] = []
    fetched: list[Checkpoint] = []
    branched: list[Checkpoint] = []
    last: list[Checkpoint] = []
    for name, model in study.models.items():
        checkpoints = [Checkpoint(name, step) for step in model.steps]
        if name in study.branches:
            branched.extend(checkpoints)
        else:
            (nursery if name in study.nurseries else fetched).extend(checkpoints)
        last.append(checkpoints[-1])
    states, runs = study.states(), study.runs()
    measured = [Measurement(*each, study.main_corpus(each.model)) for each in states]
    checkpoints, described = nursery + fetched + branched, study.describe_memories
    return Places(
        nursery_checkpoints=nursery,
        fetched_checkpoints=fetched,
        branched_checkpoints=branched,
        described_checkpoints=[
            each for each in checkpoints if described and described.includes(*each)
        ],
        rival_checkpoints=checkpoints if study.measure_rivals else [],
        novelty_checkpoints=last if study.evaluate_novelty else [],
        states=states,
        assessed_states=states if study.evaluate_retention else [],
        measurements=[
            Measurement(*state, corpus)
            for state in states
            for corpus in study.corpora_measured(state)
        ],
        main_measurements=measured,
        original_measurements=[each for each in measured if each.variant == ORIGINAL],
        runs=runs,
        assessed_runs=runs if study.evaluate_retention else [],
        decaying_runs=[run for run in runs if study.recipes[run.recipe].probe_interval_steps],
    )


def folders(study: Study) -> dict[str, list[str]]:
    """Return the folders in which results lie, below that of their rule, by what they are."""
    return {
        name: [folder_of(place) for place in found]
        for name, found in places(study)._asdict().items()
    }


def folder_of(place: Place) -> str:
    """Return the folder of a place, below that of its rule."""
    return PATTERNS[type(place)].format(**place._asdict())


def models_of(found: Iterable[Checkpoint | Run]) -> list[str]:
    """Return the models of some places, each once."""
    return list(dict.fromkeys(place.model for place in found))


def speakers(study: Study, models: Iterable[str]) -> list[str]:
    """Return the models whose tokenizers some models have, each once."""
    return list(dict.fromkeys(map(study.speaker, models)))


def preparations(study: Study) -> list[Preparation]:
    """Return the corpora that the jobs of each model read, each once."""
    there = places(study)
    read = [(each.model, each.corpus) for each in there.measurements]
    read += [(run.model, study.recipes[run.recipe].corpus) for run in there.runs]
    if retention := study.evaluate_retention:
        read += [(model, retention.held_out_corpus) for model in study.models]
    if rivals := study.measure_rivals:
        read += [(m, c) for m in study.models for c in (rivals.held_out_corpus, rivals.new_corpus)]
    if novelty := study.evaluate_novelty:
        last = there.novelty_checkpoints
        read += [(each.model, corpus) for each in last for corpus in novelty.corpora]
    trained = study.nurseries | study.branches
    read += [(model, source.corpus) for model, source in trained.items()]
    texts = (Preparation(study.speaker(model), corpus) for model, corpus in read)
    return list(dict.fromkeys(texts))


def schedules(study: Study) -> list[Schedule]:
    """Return the schedules that the runs of a study follow."""
    return list(dict.fromkeys(Schedule(run.recipe, run.seed) for run in study.runs()))
