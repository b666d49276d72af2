"""Weights go when what reads them has ended; what a run may still read stays."""

import base64
import copy
import json
import os

import pytest
import yaml

from ke_steps.job.errors import UserError
from ke_steps.running.spent_models import remove_answers, remove_spent
from ke_steps.study.places import folder_of
from ke_steps.study.reading import read_study
from ke_steps.study.trained_models import refuse_missing
from tests.invented.project import ROOT

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
STARTED = 1000.0
MODEL = ("config.json", "model.safetensors", "tokenizer.json")
MANIFEST = json.dumps({"files": dict.fromkeys(MODEL)})


class Trained:
    """The smoke study with its models trained, and none of them evaluated."""

    def __init__(self, folder, **changes):
        self.study = read_study(copy.deepcopy(SMOKE) | {"results_dir": "results"} | changes)
        self.folder = folder / "results"
        for run in self.study.runs():
            for name in MODEL:
                self.write(f"inject_knowledge/{folder_of(run)}/{name}")
            self.write(f"inject_knowledge/{folder_of(run)}/manifest.json", content=MANIFEST)
            self.write(f"inject_knowledge/{folder_of(run)}/training.parquet")

    def write(self, name, at=STARTED, content="of a job"):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        os.utime(path, (at, at))
        return path

    def evaluate(self, runs, at=STARTED + 1, rule="evaluate_retention"):
        for run in runs:
            self.write(f"logs/{rule}/{folder_of(run)}/record.json", at)

    def left(self):
        """The places of the models that are there whole; others have no file but the results."""
        found = set()
        for manifest in self.folder.glob("inject_knowledge/**/manifest.json"):
            names = {path.name for path in manifest.parent.iterdir()}
            assert names - {*MODEL} == {"manifest.json", "training.parquet"}
            assert names & {*MODEL} in (set(), {*MODEL})
            if names & {*MODEL}:
                found.add(str(manifest.parent.relative_to(self.folder / "inject_knowledge")))
        return found


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda **changes: Trained(tmp_path, **changes)


def test_what_was_evaluated_in_this_run_goes_and_manifests_stay(trained):
    models = trained(keep_models="none")
    done, before, *waiting = models.study.runs()
    models.evaluate([done])
    models.evaluate([before], at=STARTED - 1)  # may be evaluated again in this run
    remove_spent(models.study, STARTED)
    assert models.left() == {folder_of(run) for run in (before, *waiting)}
    for run in models.study.runs():
        manifest = models.folder / f"inject_knowledge/{folder_of(run)}/manifest.json"
        assert manifest.read_text() == MANIFEST


def test_what_snakemake_has_not_seen_end_stays(trained):
    models = trained(keep_models="none")
    run, *_ = models.study.runs()
    models.evaluate([run])
    output = f"results/evaluate_retention/{folder_of(run)}/items.parquet"
    mark = (
        models.folder.parent / ".snakemake/incomplete" / base64.b64encode(output.encode()).decode()
    )
    mark.parent.mkdir(parents=True)
    mark.touch()
    remove_spent(models.study, STARTED)
    assert folder_of(run) in models.left()
    mark.unlink()
    remove_spent(models.study, STARTED)
    assert folder_of(run) not in models.left()


@pytest.mark.parametrize(("keep", "steps"), [("all", {0, 8}), ("last", {8}), ("none", set())])
def test_at_the_end_those_that_are_kept_are_left(trained, keep, steps):
    models = trained(keep_models=keep)
    models.evaluate(models.study.runs(), at=STARTED - 1)
    remove_spent(models.study, None)
    assert models.left() == {folder_of(r) for r in models.study.runs() if r.step in steps}


def test_without_evaluation_nobody_reads_them_after_training(trained):
    models = trained(keep_models="none", evaluate_retention=None)
    run, *rest = models.study.runs()
    models.evaluate([run], rule="inject_knowledge")
    remove_spent(models.study, STARTED)
    assert models.left() == {folder_of(run) for run in rest}


def test_models_without_weights_are_refused_with_what_to_do(trained):
    models = trained(keep_models="none")
    first, second, third, *_ = (
        f"results/inject_knowledge/{folder_of(run)}/manifest.json" for run in models.study.runs()
    )
    refuse_missing(models.study, [first, second])
    models.evaluate(models.study.runs()[:2])
    remove_spent(models.study, STARTED)
    refuse_missing(models.study, [third])
    with pytest.raises(UserError) as refusal:
        refuse_missing(models.study, [third, second, first])
    said = str(refusal.value)
    assert f"(2, such as {min(first, second)}; keep_models: none)" in said
    assert "set keep_models: all, delete their manifest.json and run again" in said
    assert "\n" not in said


def test_answers_that_nobody_took_go(trained):
    models = trained()
    run, *_ = models.study.runs()
    kept = models.write(f"evaluate_retention/{folder_of(run)}/items.parquet")
    left = [
        models.write(f"evaluate_retention/{folder_of(run)}/ahead/items.parquet"),
        models.write(f"logs/evaluate_retention/{folder_of(run)}/ahead.json"),
    ]
    remove_answers(models.folder)
    assert kept.is_file()
    assert not any(path.exists() for path in (*left, left[0].parent))
