"""What one job did ahead another one takes, if it is what that would do; and nothing is lost."""

import json
import shlex
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ke_steps import intervene
from ke_steps.job import command_line
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.interventions import Multipliers

SETTINGS = json.dumps({"quantile": 0.5, "boost": 2.0})
CALLS = []


def run_first(*, source: Path, output: Path, settings: Multipliers) -> None:
    """Stand for the step that has the model in hand."""
    CALLS.append("first")
    output.write_text(f"first of {source.read_text()}")


def run_second(*, model: Path, output: Path, output_more: Path, settings: Multipliers) -> None:
    """Stand for the step that reads the first one's output."""
    CALLS.append("second")
    text = model.read_text()
    if text == "first of stopped":
        signal.raise_signal(signal.SIGTERM)
    if text == "first of bug":
        raise AssertionError("a bug")
    if text == "first of bad":
        raise UserError(f"{model}: is bad")
    if text == "first of overtaken":
        (output.parents[3] / "logs/second/a/log.txt").write_text("its own job has begun")
    output.write_text(f"second of {text} {settings.quantile}")
    output_more.write_text("more")


class Pair:
    """Two jobs of a study in a folder; the first one goes on with the second."""

    def __init__(self, folder):
        self.source = folder / "source"
        self.model = folder / "results/first/a/model"
        self.outputs = [folder / "results/second/a" / name for name in ("table", "more")]
        self.records = [
            folder / f"results/logs/{name}/a/record.json" for name in ("first", "second")
        ]
        self.source.write_text("good")

    def second_words(self):
        words = ["--settings", SETTINGS, "--model", self.model, "--output", self.outputs[0]]
        return [*map(str, [*words, "--output-more", self.outputs[1], "--record", self.records[1]])]

    def first(self, *more):
        words = ["--settings", SETTINGS, "--source", self.source, "--output", self.model]
        then = shlex.join(["second", *self.second_words()])
        main(run_first, [*map(str, [*words, "--record", self.records[0], "--then", then, *more])])

    def second(self):
        main(run_second, self.second_words())

    def record(self, number):
        return json.loads(self.records[number].read_text())

    def left(self):
        """Return what lies ahead of any job."""
        folder = self.source.parent
        return sorted(path.parent.name for path in folder.rglob("*ahead*"))


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "__file__", intervene.__file__)
    monkeypatch.setitem(sys.modules, "ke_steps.second", SimpleNamespace(run=run_second))
    CALLS.clear()
    return Pair(tmp_path)


def test_an_answer_is_taken_once_and_is_what_the_job_would_make(pair):
    pair.first()
    assert CALLS == ["first", "second"]
    assert not any(path.exists() for path in (*pair.outputs, pair.records[1]))
    pair.second()
    taken = [path.read_bytes() for path in pair.outputs], pair.record(1)
    assert pair.left() == []
    pair.second()  # as when it is forced
    assert CALLS == ["first", "second", "second"]
    assert [path.read_bytes() for path in pair.outputs] == taken[0]
    assert taken[1]["done_by"] == "intervene"
    keys = ("step", "code", "settings", "inputs", "outputs", "versions", "host", "commit")
    for key in keys:
        assert taken[1][key] == pair.record(1)[key], key
    assert pair.record(0)["then"] == "second"


def test_its_time_is_its_own(pair):
    pair.first()
    pair.second()
    first, second = pair.record(0), pair.record(1)
    # the process of the tests is old by now; what is done ahead counts from its own beginning
    assert 0 <= second["wall_seconds"] < first["wall_seconds"]
    assert 0 <= second["cpu_seconds"] < first["cpu_seconds"]
    assert second["started_unix_seconds"] > first["started_unix_seconds"]


def test_an_answer_to_another_question_is_not_taken(pair, monkeypatch):
    def change_input():
        pair.model.write_text("another")
        pair.records[0].unlink()

    def change_answer():
        (pair.outputs[1].parent / "ahead/more").write_text("damaged")

    def change_versions():
        monkeypatch.setattr("ke_steps.job.provenance.versions", lambda: {"torch": "3"})

    for change in (change_input, change_answer, change_versions):
        pair.first()
        CALLS.clear()
        change()
        pair.second()
        assert CALLS == ["second"], change
        assert pair.left() == []
        for path in (pair.records[1], *pair.outputs):
            path.unlink()


@pytest.mark.parametrize(
    ("source", "says"),
    [("bad", "is bad"), ("bug", "AssertionError: a bug")],
)
def test_a_failure_leaves_the_first_job_done(pair, capsys, source, says):
    pair.source.write_text(source)
    pair.first()
    assert pair.model.is_file()
    assert pair.records[0].is_file()
    (line,) = [each for each in capsys.readouterr().err.splitlines() if says in each]
    assert line.startswith("intervene: done; not so second, which its own job does: ")
    assert pair.left() == []


def test_what_is_there_or_has_begun_is_not_done_ahead(pair):
    pair.first()
    pair.second()
    CALLS.clear()
    pair.first()
    assert CALLS == ["first"]
    pair.records[1].unlink()
    (pair.records[1].parent / "log.txt").touch()  # it runs: a log, and no record yet
    pair.first()
    assert CALLS == ["first", "first"]
    assert pair.left() == []


def test_an_answer_is_dropped_when_its_job_began_meanwhile(pair):
    pair.source.write_text("overtaken")
    pair.first()
    assert CALLS == ["first", "second"]
    assert pair.left() == []


def test_a_finished_job_is_not_done_again_after_a_stop(pair):
    """To Snakemake it has not ended: it removes the outputs, and has the job done again."""
    pair.source.write_text("stopped")
    pair.first()
    assert CALLS == ["first", "second"]
    content, record = pair.model.read_bytes(), pair.record(0)
    pair.model.unlink()
    pair.first()
    assert CALLS == ["first", "second"]
    assert (pair.model.read_bytes(), pair.record(0)) == (content, record)
    assert pair.left() == []
    pair.source.write_text("good")  # another job: it computes
    pair.first()
    assert CALLS == ["first", "second", "first", "second"]


def test_it_has_the_time_that_is_left(pair, monkeypatch):
    limits = []

    def note(step):
        limits.append(step.time_limit_minutes)
        return original(step)

    original = command_line.in_one_line
    monkeypatch.setattr(command_line, "in_one_line", note)
    pair.first("--time-limit-minutes", "5")
    assert limits == [5, 4]
