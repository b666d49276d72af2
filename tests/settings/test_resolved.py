"""A study in full, written as a file, is read as the same study."""

from __future__ import annotations

from pathlib import Path

import pytest

from ke_steps.settings.cluster import Cluster
from ke_steps.settings.resolved import resolved, study_file
from ke_steps.settings.study import Study
from ke_steps.study.reading import read_study, read_study_file
from tests.invented.configs import WHOLE
from tests.invented.project import ROOT
from tests.study.test_reading import TWO_LINES

STUDIES = sorted((ROOT / "config").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _where_there_are_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(study: Study) -> Study:
    file = Path("written.yaml")
    file.write_text(study_file(resolved(study)))
    return read_study_file(file, need_files=False)


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.stem)
def test_it_is_read_as_the_study_with_all_in_its_order(file: Path) -> None:
    study = read_study_file(file, need_files=False)
    again = written(study)
    whole = study.model_copy(update={"cluster": Cluster(), "keep_models": "none"})
    assert again == whole
    assert again.model_dump_json() == whole.model_dump_json()


def test_names_keep_their_order_and_texts_their_letters() -> None:
    source = TWO_LINES["models"]["mine"]
    title = 'Ü: "a" # 1\n- b'
    said = {"models": dict.fromkeys(("z", "a", "m"), source), "write_report": {"title": title}}
    again = written(read_study(TWO_LINES | said, need_files=False))
    assert list(again.models) == ["z", "a", "m"]
    assert again.write_report.title == title


def test_what_jobs_ask_of_a_machine_is_left_out() -> None:
    text = study_file(resolved(read_study(WHOLE | {"cluster": {"account": "secret"}})))
    assert "secret" not in text
    assert "cluster, is not part of it" in text.partition("results_dir")[0]
