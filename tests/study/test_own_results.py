"""Results of two studies never mix: a folder for each, known by the study's file."""

from pathlib import Path

import pytest

from ke_steps.job.errors import UserError
from ke_steps.study.own_results import MARK, default_folder, sign
from ke_steps.study.reading import read_study, read_study_file
from tests.study.test_reading import TWO_LINES


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def signed(name, **keys):
    """Return a study that has run once."""
    study = read(name, **keys)
    sign(study, Path(name))
    return study


def read(name, **keys):
    return read_study(TWO_LINES | keys, Path(name), need_files=False)


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("config/config.yaml", "results"),
        ("config/mine.yaml", "results/mine"),
        ("elsewhere/config.yaml", "results/config"),
        ("/abs/pythia_1.4b.yaml", "results/pythia_1.4b"),
    ],
)
def test_results_lie_in_a_folder_of_the_files_name(file, folder):
    assert default_folder(Path(file)) == read(file).results_dir == folder
    assert read(file, results_dir="results/own").results_dir == "results/own"


def test_a_name_that_is_no_folders_is_refused_in_words():
    with pytest.raises(UserError, match="results_dir: got 'results/my study'; should be letters"):
        read("config/my study.yaml")


def test_a_folder_is_of_the_study_that_signed_it(tmp_path):
    signed("config/mine.yaml")
    assert read("config/mine.yaml") == read(tmp_path / "config/mine.yaml")
    with pytest.raises(UserError) as refusal:
        read("config/other.yaml", results_dir="results/mine")
    (line,) = str(refusal.value).splitlines()
    assert line.startswith("results_dir: results/mine holds the results of another study")
    assert "config/mine.yaml" in line
    Path("results/mine", MARK).unlink()
    assert read("config/other.yaml", results_dir="results/mine")


def test_the_study_in_a_folder_of_results_is_that_study(tmp_path):
    study = signed("config/mine.yaml", num_threads=3)
    copy = Path("results/mine", MARK)
    before = copy.read_bytes()
    for path in (copy, tmp_path / copy):
        again = read_study_file(path, need_files=False)
        assert again == study
        sign(again, path)
    assert copy.read_bytes() == before
    assert before.startswith(b"# The results of config/mine.yaml\n")
    assert read("config/mine.yaml")
    elsewhere = tmp_path / "downloads.yaml"
    elsewhere.write_bytes(before)
    with pytest.raises(UserError, match="holds the results of another study, config/mine"):
        read_study_file(elsewhere, need_files=False)


def test_results_without_a_mark_go_on(tmp_path):
    Path("results/mine/summarize").mkdir(parents=True)
    assert read("config/mine.yaml").results_dir == "results/mine"


def test_a_study_is_not_called_like_a_folder_of_results():
    for name in ("summarize", "logs"):
        with pytest.raises(UserError, match=f"results/{name} is how results name the folder of a"):
            read(f"config/{name}.yaml")
