"""Saved states that no training of the study takes up are told, with their size."""

import copy
import os

import pytest
import yaml

from ke_steps.planning.idle_states import UNFINISHED, idle_states_line
from ke_steps.study.reading import read_study
from ke_steps.training.resuming import FOLDER
from tests.invented.project import ROOT

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text()) | {"results_dir": "results"}
BRANCH = {"kind": "branch", "model": "tiny", "corpus": "continual", "learning_rate": 1e-3}
BRANCH |= {"num_steps": 2, "batch_size_sequences": 4, "micro_batch_size_sequences": 4}
OWN = (
    "inject_knowledge/tiny/step8/original/baseline/seed0/unfinished",
    "branch_checkpoint/cooled/step8/unfinished",
    "pretrain_nursery/tiny/states",
)
OTHERS = (
    "inject_knowledge/tiny/step8/original/baseline/seed7/unfinished",
    "inject_knowledge/tiny/step8/original/gone/seed0/unfinished",
    "branch_checkpoint/cooled/step3/unfinished",
    "pretrain_nursery/gone/states",
)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = copy.deepcopy(SMOKE)
    config["models"]["cooled"] = {"source": BRANCH, "steps": [8]}
    return read_study(config)


def save(folder, *places):
    for place in places:
        state = folder / "results" / place / "checkpoint-5"
        state.mkdir(parents=True)
        path = state / "optimizer.pt"
        path.touch()
        os.truncate(path, 200_000_000)


def test_the_folder_is_that_of_saved_states():
    assert UNFINISHED == FOLDER


def test_states_that_the_study_would_go_on_from_are_not_told(study, tmp_path):
    save(tmp_path, *OWN)
    assert list(idle_states_line(study)) == []


@pytest.mark.parametrize("other", OTHERS)
def test_others_are_told_with_their_size(study, tmp_path, other):
    save(tmp_path, *OWN, other)
    (line,) = idle_states_line(study)
    assert line.startswith("Disk: 0.2 GB of saved states of trainings that the study no longer has")
    assert f"(1, such as results/{other})" in line


def test_all_of_them_are_summed_up(study, tmp_path):
    save(tmp_path, *OWN, *OTHERS)
    (line,) = idle_states_line(study)
    assert "0.8 GB" in line
    assert f"(4, such as results/{min(OTHERS)})" in line
