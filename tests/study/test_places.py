"""Places are read as they are written, and those of a study are listed once for all."""

from pathlib import Path

import pytest
import yaml

from ke_steps.artefacts.places import (
    PREPARATION,
    RUN,
    SHARD,
    Identity,
    corpus_of,
    identify,
    shard_of,
)
from ke_steps.settings.study import Run, State
from ke_steps.study.places import (
    PATTERNS,
    Checkpoint,
    Measurement,
    Preparation,
    folders,
    places,
    preparations,
    schedules,
)
from ke_steps.study.reading import read_study
from tests.invented.project import ROOT

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())

BEFORE_LEARNING = {"variant": "original", "recipe": None, "seed": None}


def written(pattern, **wildcards):
    return Path("results/step3/rule", pattern.format(**wildcards), "table.parquet")


@pytest.mark.parametrize(
    "place",
    [
        Checkpoint("m", 7),
        State("m", 7, "boost"),
        Measurement("m", 7, "boost", "c4"),
        Run("m", 7, "boost", "baseline", 3),
    ],
)
def test_a_place_is_read_as_it_is_written(place):
    wildcards = place._asdict()
    path = written(PATTERNS[type(place)], **wildcards)
    corpus = wildcards.pop("corpus", None)
    assert identify(path) == Identity(**(BEFORE_LEARNING | wildcards))
    assert shard_of(path) is None
    if corpus:
        assert corpus_of(path) == corpus


def test_a_shard_is_of_its_measurement():
    path = written(SHARD, model="m", step=7, variant="boost", corpus="c4", shard=12)
    assert identify(path) == Identity("m", 7, "boost", None, None)
    assert (corpus_of(path), shard_of(path)) == ("c4", 12)


def test_the_places_of_the_smoke_study():
    study = read_study(SMOKE)
    found = folders(study)
    assert found["nursery_checkpoints"] == ["tiny/step0", "tiny/step8"]
    assert found["fetched_checkpoints"] == []
    originals = ["tiny/step0/original", "tiny/step8/original"]
    variants = [f"tiny/step8/{name}" for name in ("boost", "warm", "rescaled", "shuffled_draw0")]
    assert found["states"] == [*originals, *variants]
    assert set(found["decaying_runs"]) < set(found["runs"])
    assert found["runs"] == [RUN.format(**run._asdict()) for run in places(study).runs]
    assert {PREPARATION.format(**each._asdict()) for each in preparations(study)} == {
        f"tiny/{corpus}" for corpus in SMOKE["corpora"]
    }
    assert len(schedules(study)) == len({(run.recipe, run.seed) for run in study.runs()})


def test_memories_are_described_where_the_section_says():
    def described(**scope):
        section = SMOKE["describe_memories"] | scope
        return folders(read_study(SMOKE | {"describe_memories": section}))["described_checkpoints"]

    assert described() == ["tiny/step0", "tiny/step8"]
    assert described(steps=[8]) == ["tiny/step8"]
    assert described(models=["tiny"], steps=[0]) == ["tiny/step0"]


def test_only_what_a_model_reads_is_prepared_for_it():
    config = SMOKE | {"corpora": SMOKE["corpora"] | {"unread": SMOKE["corpora"]["pretraining"]}}
    assert Preparation("tiny", "unread") not in preparations(read_study(config))


def test_the_activities_that_the_summary_reads_are_of_originals_on_their_main_corpus():
    there = places(read_study(SMOKE))
    assert there.original_measurements == [
        Measurement("tiny", step, "original", "pretraining") for step in (0, 8)
    ]
    assert set(there.original_measurements) < set(there.main_measurements)
