"""Settings about the whole study lie in files that name their content."""

import hashlib
import json

import pytest

from ke_steps.settings.telling import SummarizeJob
from ke_steps.study.handed_over import STEPS, settings_file, write_settings
from ke_steps.study.jobs import settings_for, tracked_settings
from ke_steps.study.reading import read_study
from tests.invented.configs import changed


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_run_leaves_the_settings_of_the_study_as_it_is_now(tmp_path):
    before, now = (read_study(changed("seeds", seeds)) for seeds in ([0], [0, 1, 2]))
    write_settings(before)
    write_settings(now)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert files == sorted(tmp_path / settings_file(now, step) for step in STEPS)
    for step in STEPS:
        file = settings_file(now, step)
        assert json.loads(file.read_text()) == settings_for(now, step, {})
        assert file.stem == f"settings-{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    whole = SummarizeJob.model_validate_json(settings_file(now, "summarize").read_text())
    assert len(whole.places["runs"]) == 3 * 7


def test_places_are_handed_over_but_not_tracked():
    before, now = (read_study(changed("seeds", seeds)) for seeds in ([0], [0, 1]))
    assert settings_file(before, "summarize") != settings_file(now, "summarize")
    told = [tracked_settings(study, "summarize", {}) for study in (before, now)]
    whole = settings_for(now, "summarize", {})
    assert whole.pop("places") != settings_for(before, "summarize", {})["places"]
    assert told == [whole, whole]
