"""A study that is killed twice ends with the bytes of one that was left alone."""

import signal
import time

import pytest

from tests.workflow import kills, warm

PATIENCE_SECONDS = 300


def wait_for(project, step, process):
    """Wait until a job of a step is running."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while step not in kills.running_jobs(project):
        assert process.poll() is None, f"no job of {step} before the end"
        assert time.monotonic() < deadline, f"no job of {step}"
        time.sleep(0.1)


def reduce(study):
    """Leave out jobs of the smoke study; those that stay are as they were."""
    study["describe_memories"] = None
    for section in ("variants", "evaluate_novelty", "fit_decay"):
        del study[section]
    study["seeds"] = [0]
    study["extract_coefficients"]["other_corpora"] = []
    baseline = study["recipes"]["baseline"]
    study["recipes"] = {"baseline": baseline | {"steps": [8], "variants": ["original"]}}
    study["plot_figures"]["figures"] = ["entropy_by_stage"]


@pytest.fixture(scope="module")
def killed(finished_smoke, started, tmp_path_factory):
    """The reduced study after Ctrl-C in its pretraining, kill -9 in its learning, and a third run.

    Returns the project, the statuses of the three runs, and what a fourth beside the third said.
    """
    project = finished_smoke.clone(tmp_path_factory.mktemp("killed"))
    reduce(project.study)
    statuses = []
    for number, step in [(signal.SIGINT, "pretrain_nursery"), (signal.SIGKILL, "inject_knowledge")]:
        with (project.folder / f"{step}.txt").open("w") as output:
            process = kills.start(project, output)
            wait_for(project, step, process)
            kills.kill(project, process, number)
        statuses.append(process.returncode)
    with warm.starts(project, started), (project.folder / "last.txt").open("w") as output:
        process = kills.start(project, output)
        wait_for(project, "inject_knowledge", process)
        beside = project.run()
        statuses.append(process.wait())
    return project, statuses, beside


def test_the_last_run_finishes_by_itself(killed):
    project, statuses, _ = killed
    said = (project.folder / "last.txt").read_text()
    assert statuses == [130, -signal.SIGKILL, 0], said
    assert f"Report: {project.results('report.html')}" in said


def test_nothing_is_done_twice_that_was_done(killed):
    project, _, _ = killed
    outputs = ("pretrain_nursery", "inject_knowledge", "last")
    finished = [kills.finished_jobs(project.folder / f"{name}.txt") for name in outputs]
    records = list(project.results("logs").rglob("record.json"))
    assert sum(finished) == len(records)


def test_tables_and_weights_are_those_of_an_undisturbed_run(killed, finished_smoke):
    project, _, _ = killed
    now, undisturbed = kills.digests(project), kills.digests(finished_smoke)
    alike = {path for path in now if not path.startswith("summarize/")}
    assert len(alike) > 20
    assert {path: now[path] for path in alike} == {path: undisturbed[path] for path in alike}


def test_nothing_unfinished_stays(killed):
    project, _, _ = killed
    assert not list(project.results().rglob("*.partial"))
    assert not list(project.results().rglob("unfinished"))
    assert project.pending() == {}


def test_a_second_run_beside_it_says_so_and_leaves(killed):
    _, _, beside = killed
    assert beside.returncode == 1
    assert beside.stderr.startswith("another run (pid ")
    assert beside.stderr.count("\n") == 1
