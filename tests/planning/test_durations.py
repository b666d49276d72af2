"""How long jobs and runs take: the rules one by one, and two real runs replayed."""

import csv
from bisect import bisect_left
from itertools import pairwise

import pytest

from ke_steps.planning.durations import (
    CORE_FLOPS,
    SECONDS,
    START_UP_SECONDS,
    Machine,
    Measured,
    Running,
    Waiting,
    on_this_cpu,
    pace_of,
    time_left,
)
from ke_steps.planning.planned_jobs import PlannedJob, Work
from ke_steps.settings.cluster import Jobs
from tests.invented.project import ROOT

RUNS = sorted((ROOT / "tests/planning/runs").glob("*.csv"))
"""Jobs of runs on two cores: rule, operations, when they began after the first, what they took."""

TRAINING, FORWARD = Work("training", "fp32"), Work("forward", "fp32")
TRAIN = PlannedJob("pretrain_nursery", flops={TRAINING: 9e12})
SCORE = PlannedJob("evaluate_retention", flops={FORWARD: 3e11})


TWO_CORES = Machine(2)


def left(measured, running=(), waiting=(), machine=TWO_CORES):
    return time_left(pace_of(measured), running, waiting, machine)


def test_every_rule_has_a_time_or_operations():
    with_operations = {
        "pretrain_nursery", "branch_checkpoint", "inject_knowledge", "extract_coefficients",
        "extract_shard", "describe_memories", "evaluate_novelty", "measure_rivals",
        "evaluate_retention", "evaluate_retention_after_learning",
    }  # fmt: skip
    assert set(Jobs.model_fields) - with_operations == set(SECONDS)


def test_a_rule_that_was_measured_takes_its_mean_scaled_by_operations():
    fast, slow = (PlannedJob("inject_knowledge", flops={TRAINING: n}) for n in (1e10, 3e10))
    pace = pace_of([Measured(fast, 16.0), Measured(slow, 36.0)])
    # 4e10 operations in 52 − 2 · 6 seconds; two measured jobs on average: 26 s for 2e10
    assert pace.speeds == {"training": pytest.approx(1e9)}
    twice = PlannedJob("inject_knowledge", flops={TRAINING: 4e10})
    assert pace.seconds(twice) == pytest.approx(26 * (6 + 40) / (6 + 20))
    assert pace.seconds(PlannedJob("evaluate_knowledge")) == SECONDS["evaluate_knowledge"]


def test_a_rule_that_was_not_measured_takes_the_speed_of_its_kind():
    measured = [Measured(TRAIN, START_UP_SECONDS + 90), Measured(SCORE, START_UP_SECONDS + 30)]
    pace = pace_of(measured)
    assert pace.speeds == {"training": pytest.approx(1e11), "forward": pytest.approx(1e10)}
    learns = PlannedJob("inject_knowledge", flops={TRAINING: 9e11, FORWARD: 1e11})
    assert pace.seconds(learns) == pytest.approx(START_UP_SECONDS + 10)
    extracts = PlannedJob("extract_coefficients", flops={FORWARD: 1e11})
    assert pace.seconds(extracts) == pytest.approx(START_UP_SECONDS + 10)
    assert pace_of(measured[:1]).seconds(extracts) == pytest.approx(START_UP_SECONDS + 1)


def test_small_jobs_tell_how_slowly_all_jobs_start():
    """By the median of their ratios: one that waited for a disk does not count."""
    took = {"encode_probes": 2.0, "intervene": 3.0, "prepare_corpus": 50.0}
    pace = pace_of(Measured(PlannedJob(r), SECONDS[r] * factor) for r, factor in took.items())
    assert pace.seconds(PlannedJob("write_report")) == pytest.approx(3 * SECONDS["write_report"])
    assert pace.start_up == pytest.approx(3 * START_UP_SECONDS)


def test_a_start_takes_no_longer_than_a_whole_job():
    """As where the first small jobs met a busy machine."""
    slow = Measured(PlannedJob("encode_probes"), 20 * SECONDS["encode_probes"])
    pace = pace_of([slow, Measured(SCORE, 8.0), Measured(SCORE, 9.0)])
    assert pace.start_up == 8.0
    assert pace.seconds(PlannedJob("summarize")) == pytest.approx(20 * SECONDS["summarize"])


def test_before_a_model_job_was_measured_their_length_is_unknown():
    size_unknown = PlannedJob("evaluate_novelty", flops={FORWARD: 0.0})
    waiting = [Waiting(SCORE, 3), Waiting(PlannedJob("write_report"), 1), Waiting(TRAIN, 0)]
    found = left([], waiting=waiting)
    assert (found.seconds, found.num_unknown) == (SECONDS["write_report"], 3)
    assert left([], running=[Running(SCORE, 4.0, None)]).num_unknown == 1
    assert left([Measured(TRAIN, 96.0)], waiting=[Waiting(size_unknown, 2)]).num_unknown == 2


def test_a_running_job_takes_the_longer_of_its_bar_and_what_is_usual():
    measured = [Measured(SCORE, 36.0)]
    for seconds, said, expected in ((6, None, 30), (6, 40, 40), (6, 2, 30), (50, None, 0)):
        found = left(measured, [Running(SCORE, seconds, said)])
        assert found.seconds == pytest.approx(expected)


def test_what_others_wait_for_comes_before_and_after_them():
    measured = [Measured(TRAIN, 96.0), Measured(SCORE, 36.0)]
    waiting = [Waiting(TRAIN, 1), Waiting(SCORE, 10), Waiting(PlannedJob("summarize"), 1)]
    # one training has no use for a second core; ten scorings have; the summary has not
    assert left(measured, waiting=waiting).seconds == pytest.approx(96 + 180 + 5, abs=1)
    # many cores shorten nothing below one job of each rule
    assert left(measured, waiting=waiting, machine=Machine(64)).seconds == pytest.approx(
        96 + 36 + 5, abs=1
    )


def test_threads_and_gpus_are_shared():
    measured, broad = (
        [Measured(SCORE, 36.0)],
        PlannedJob(SCORE.rule, num_cores=4, flops=SCORE.flops),
    )
    for num_cores, expected in ((8, 180), (4, 360), (2, 360)):
        found = left(measured, waiting=[Waiting(broad, 10)], machine=Machine(num_cores))
        assert found.seconds == pytest.approx(expected)
    turns = left(measured, waiting=[Waiting(broad, 10)], machine=Machine(64, num_gpus=1))
    assert turns.seconds == pytest.approx(360)


def test_a_cpu_without_measurements_has_stated_speeds():
    assert on_this_cpu([], 1).seconds(TRAIN) == START_UP_SECONDS + 9e12 / CORE_FLOPS
    assert on_this_cpu([], 4).seconds(SCORE) == START_UP_SECONDS + 3e11 / (4 * CORE_FLOPS)
    assert on_this_cpu([Measured(TRAIN, 96.0)], 4).seconds(TRAIN) == pytest.approx(96.0)


# --- Real runs ----------------------------------------------------------------------------------


class Replay:
    """A run as it was at any moment, known from its jobs."""

    def __init__(self, path):
        with path.open() as file:
            self.jobs = [
                (_job(row), float(row["start_seconds"]), float(row["seconds"]))
                for row in csv.DictReader(file)
            ]
        self.end = max(start + took for _, start, took in self.jobs)

    def work(self, now):
        """Seconds that all jobs together ran until some moment."""
        return sum(min(max(now - start, 0.0), took) for _, start, took in self.jobs)

    def after(self, share):
        """The second in which a share of all work is done."""
        seconds = range(round(self.end))
        return bisect_left(seconds, share * self.work(self.end), key=self.work)

    def left(self, now):
        """What is foreseen at a moment; a training has a bar that says what it still takes."""
        running = [
            Running(job, now - start, start + took - now if job.rule == TRAIN.rule else None)
            for job, start, took in self.jobs
            if start <= now < start + took
        ]
        measured = [Measured(j, took) for j, start, took in self.jobs if start + took <= now]
        if TRAIN.rule not in {job.rule for job, _ in measured}:
            measured += [Measured(j, t + rest) for j, t, rest in running if rest is not None]
        waiting = [Waiting(job, 1) for job, start, _ in self.jobs if start > now]
        return left(measured, running, waiting)


def _job(row):
    flops = {work: float(row[f"{work.kind}_flops"]) for work in (TRAINING, FORWARD)}
    return PlannedJob(row["rule"], flops={work: n for work, n in flops.items() if n})


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_after_a_fifth_of_a_real_run_the_time_left_is_right_within_a_factor_of_two(path):
    run = Replay(path)
    for share in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):  # then others came to one of the machines
        now = run.after(share)
        found = run.left(now)
        assert found.num_unknown == 0
        assert 0.5 < found.seconds / (run.end - now) < 2, (share, found.seconds, run.end - now)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_the_runs_say_what_they_should(path):
    """Two cores, hardly more, and rules that nothing had measured after a fifth of the work."""
    run = Replay(path)
    moments = [run.work(second) for second in range(0, round(run.end), 10)]
    assert all(later - before < 10 * 2.4 for before, later in pairwise(moments))
    now = run.after(0.2)
    done = {job.rule for job, start, took in run.jobs if start + took <= now}
    assert {job.rule for job, _, _ in run.jobs} - done >= {"inject_knowledge", "plot_figures"}
