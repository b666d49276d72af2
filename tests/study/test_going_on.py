"""Nurseries that are trained before all else: told from files alone."""

import json
from pathlib import Path

import pytest
import yaml
from snakemake.persistence.file import FilePersistence

from ke_steps.job.files import write_json
from ke_steps.study.going_on import going_on, training_table
from ke_steps.study.reading import read_study
from tests.invented.project import ROOT

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of two nurseries: the results of the first are there, of the second nothing."""
    monkeypatch.chdir(tmp_path)
    write("pretrain_nursery/tiny/step0/manifest.json", {})
    write("pretrain_nursery/tiny/training.parquet", {})
    write("logs/pretrain_nursery/tiny/record.json", {"settings": {"steps": [0, 8]}})
    return json.loads(json.dumps(SMOKE)) | {"models": {"tiny": model(0, 8), "new": model(0, 8)}}


def model(*steps):
    return {"source": {"kind": "nursery"}, "steps": list(steps)}


def write(path, content):
    place = Path(SMOKE["results_dir"], path)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, content)


def asked(study):
    return going_on(read_study(study))


def test_what_is_there_or_was_never_begun_is_not_trained_first(study):
    assert asked(study) == []
    study["seeds"] = [0]
    assert asked(study) == []


@pytest.mark.parametrize("steps", [(0, 4, 8), (8,)])
def test_another_set_of_steps_is(study, steps):
    study["models"]["tiny"] = model(*steps)
    assert asked(study) == ["tiny"]


def test_a_training_that_was_cut_off_is(study):
    Path(training_table(read_study(study), "tiny")).unlink()
    assert asked(study) == ["tiny"]


@pytest.mark.parametrize("name", ["smoke", "a" * 250])
def test_a_training_whose_end_nobody_saw_is(study, name):
    study["results_dir"] = f"results/{name}"
    Path(SMOKE["results_dir"]).rename(study["results_dir"])
    persistence = FilePersistence(nolock=True)
    assert asked(study) == []
    persistence._mark_incomplete(f"results/{name}/evaluate_novelty/x", None)
    assert asked(study) == []
    persistence._mark_incomplete(training_table(read_study(study), "tiny"), None)
    assert asked(study) == ["tiny"]


def test_without_checkpoints_nothing_is_spared(study):
    Path(SMOKE["results_dir"], "pretrain_nursery/tiny/step0/manifest.json").unlink()
    study["models"]["tiny"] = model(0, 4, 8)
    assert asked(study) == []


@pytest.mark.parametrize("record", [{}, None])
def test_where_nothing_tells_it_is_trained_first(study, record):
    path = Path(SMOKE["results_dir"], "logs/pretrain_nursery/tiny/record.json")
    path.unlink() if record is None else path.write_text("")
    assert asked(study) == ["tiny"]
