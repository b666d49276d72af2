"""A run's progress: jobs counted, time left from what jobs took, words."""

from pathlib import Path

import pytest
from snakemake_logger_plugin_study.foresight import look_ahead
from snakemake_logger_plugin_study.job_logs import TAIL_BYTES, last_lines, read_bar
from snakemake_logger_plugin_study.progress import name_of
from snakemake_logger_plugin_study.words import (
    counted,
    duration,
    ending,
    failure_words,
    own_progress,
)

from ke_steps.planning.durations import START_UP_SECONDS, Measured
from ke_steps.planning.planned_jobs import SCORING, PlannedJob
from ke_steps.study.own_results import sign
from ke_steps.study.reading import read_study_file
from tests.invented.progress_run import SECONDS, Run
from tests.invented.project import ROOT


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


# --- Logs of jobs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("training:  37%|██▋  | 59/160 [00:10<00:17, 5.8it/s, loss=3]", ("training", 0.37, 17)),
        ("   0%|          | 0/40 [00:00<?, ?it/s]", ("", 0.0, None)),
        ("a:   1%|1| 1/100 [00:01<01:39]\ra:   2%|2| 2/100 [00:02<2:01:38]", ("a", 0.02, 7298)),
        ("held out: 100%|█| 8/8 [00:01<00:00, 1sequence/s]\nwords after it\n", ("held out", 1, 0)),
        ("3it [00:00, 1.0it/s]\n", None),
        ("no bar 37% | at all", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_last_bar_of_a_log_is_read(tmp_path, text, expected):
    (tmp_path / "log.txt").write_text(text)
    assert read_bar(tmp_path / "log.txt") == expected


def test_a_long_log_is_read_from_its_end_only(tmp_path):
    log = tmp_path / "log.txt"
    bars = [f"\rx: {n // 100:3d}%|█| {n}/10000 [00:01<00:{n % 60:02d}]" for n in range(10_000)]
    log.write_text("".join(bars) + "\n")
    assert log.stat().st_size > 10 * TAIL_BYTES
    assert read_bar(log) == ("x", 0.99, 9_999 % 60)
    assert last_lines(log, 5) == [bars[-1].strip("\r")]


def test_a_log_that_is_missing_or_no_text_says_nothing(tmp_path):
    (tmp_path / "log.txt").write_bytes(b"\xff\xfe\x00")
    assert read_bar(tmp_path / "log.txt") is None
    assert read_bar(tmp_path / "none") is None
    assert last_lines(tmp_path / "none", 3) == []


# --- Counting -----------------------------------------------------------------------------------


def test_jobs_are_counted_without_the_target(run):
    run.start(0, 0, rule="all")
    run.start(1, 0)
    assert run.finish(1, 10).seconds == 10
    run.start(2, 10)
    assert run.progress.num_waiting() == {"train": 8, "draw": 1}
    assert counted(run.progress) == "1 of 11 jobs (9 %)"
    assert run.finish(0, 10) is None
    assert run.finish(77, 10) is None


def test_a_job_that_is_tried_again_has_not_failed(run):
    run.start(1, 0)
    run.write(1, "train: a file is missing: x\n")
    assert run.progress.fail(1, [str(run.log_of(1))]).message == "train: a file is missing: x"
    run.start(1, 5)
    assert run.progress.failed == {}
    assert len(run.progress.running) == 1


def test_a_failure_is_the_last_line_of_whoever_spoke(run):
    run.start(1, 0)
    runner = run.folder / "slurm.log"
    runner.write_text("slurmstepd: error: out of memory\n")
    failure = run.progress.fail(1, [str(run.log_of(1)), str(runner)])
    assert (failure.message, failure.log) == ("slurmstepd: error: out of memory", runner)
    run.start(2, 0)
    told = run.progress.fail(2, [str(run.log_of(2))], "sbatch: no such partition")
    assert told.message == "sbatch: no such partition"
    run.start(2, 0)
    run.write(2, "training: 5%|█| 5/100 [00:01<00:19, 5it/s]")
    killed = run.progress.fail(2, [str(run.log_of(2))], "SLURM status is: 'TIMEOUT'")
    assert "5/100" in killed.message
    assert "SLURM status is: 'TIMEOUT'" in failure_words(killed)
    run.start(3, 0)
    silent = run.progress.fail(3, [str(run.log_of(3))])
    assert silent.message == "it left no message in its log"
    assert failure_words(silent).startswith("failed: train seed 3: it left")


def test_of_a_group_only_the_step_that_failed_has_failed(run):
    for number in (1, 2, 3):
        run.start(number, 0)
    run.write(1, "done\n")
    run.log_of(1).with_name("record.json").write_text("{}")
    run.write(2, "train: out of luck\n")
    logs = {number: [str(run.log_of(number))] for number in (1, 2, 3)}
    (failure,) = run.progress.fail_group(logs, [])
    assert (failure.job.number, failure.message) == (2, "train: out of luck")
    assert run.progress.running == {}
    assert run.progress.num_waiting()["train"] == 9
    assert run.progress.fail(3, logs[3]) is None


def test_a_group_that_never_began_fails_with_the_words_of_who_ran_it(run):
    for number in (1, 2):
        run.start(number, 0)
    runner = run.folder / "slurm.log"
    runner.write_text("error: no such partition\n")
    logs = {number: [str(run.log_of(number))] for number in (1, 2)}
    (failure,) = run.progress.fail_group(logs, [str(runner)])
    assert failure.message == "error: no such partition"


def test_what_an_earlier_attempt_left_in_the_log_is_not_of_this_one(run):
    run.write(1, "training: 99%|█| 99/100 [01:00<00:01]")
    run.start(1, 0)
    (job,) = run.progress.running.values()
    assert job.is_silent()
    assert job.bar() is None
    assert own_progress(job, SECONDS + 70) == "queued or starting for 1 min 10 s"
    run.write(1, "")
    assert own_progress(job, SECONDS + 70) == "for 1 min 10 s"
    run.write(1, "training: 5%|█| 5/100 [00:01<00:19, 5it/s]")
    assert own_progress(job, SECONDS + 70) == "training 5 %, 0:19 left"


def test_nurseries_that_go_first_are_no_whole_run(run):
    run.progress.more_follows = True
    run.progress.plan({"train": 1})
    run.start(1, 0)
    run.write(1, "training: 37%|█| 37/100 [00:10<00:17, 2it/s]")
    assert "nurseries first: 0 of 1 job (0 %), about 17 s left" in run.line(10)
    run.finish(1, 27)
    run.progress.end()
    words = ending(run.progress, SECONDS + 27)
    assert words == "nurseries first: 1 job in 27 s, now what follows"


@pytest.mark.parametrize(
    ("finished", "failed", "state"),
    [(11, 0, "finished"), (10, 1, "failed"), (4, 0, "stopped"), (4, 1, "failed")],
)
def test_how_a_run_ended_follows_from_its_jobs(run, finished, failed, state):
    for number in range(finished + failed):
        run.start(number, 0)
        if number < finished:
            run.finish(number, 1)
        else:
            run.progress.fail(number, [])
    run.progress.end()
    assert run.progress.state == state
    words = ending(run.progress, SECONDS + 100)
    assert words.startswith(state)
    assert "1 min 40 s" in words


def test_a_job_is_named_by_its_wildcards():
    wildcards = {"model": "tiny", "step": "1200", "variant": "boost", "seed": "1"}
    assert name_of("learn", wildcards) == "learn tiny step 1,200 boost seed 1"


@pytest.mark.parametrize("place", ["results/logs/train/logs/seed1", "logs/a/logs/train/seed1"])
def test_the_results_are_found_whatever_else_is_called_logs(run, place):
    log = run.folder / place / "log.txt"
    run.progress.start(1, "train_all", {}, [str(log)], SECONDS)
    assert run.progress.results == run.folder / place.partition("/logs/train/")[0]


# --- Time left ----------------------------------------------------------------------------------


def test_time_left_is_the_work_left_over_the_jobs_at_once(run):
    for number in (1, 2):
        run.start(number, 0)
    run.finish(1, 10)
    run.start(3, 10)
    run.finish(2, 30)
    run.start(4, 30)
    run.write(3, "")
    run.write(4, "")
    # trainings take 20 s on average: one never ends early, six wait; two at once
    left = run.left(30)
    assert left.seconds == pytest.approx((0 + 20 + 6 * 20) / 2)
    assert left.num_unknown == 1  # the drawing


def test_between_two_jobs_the_number_at_once_is_that_before(run):
    run.start(1, 0)
    run.start(2, 0)
    run.finish(1, 10)
    run.finish(2, 10)
    assert run.left(10).seconds == pytest.approx(8 * 10 / 2)
    run.start(3, 10)
    assert run.left(10).seconds == pytest.approx(8 * 10 / 1)


def test_a_running_job_says_how_long_its_kind_takes(run):
    run.start(1, 0)
    run.write(1, "training: 25%|█| 25/100 [00:10<00:30, 2it/s]")
    assert run.left(10).seconds == pytest.approx(30 + 9 * 40)


def test_earlier_runs_tell_until_this_one_knows_better(run):
    run.progress.earlier = [
        Measured(PlannedJob(rule), seconds) for rule, seconds in (("train", 100.0), ("draw", 7.0))
    ]
    run.start(1, 0)
    left = run.left(0)
    assert left.num_unknown == 0
    assert left.seconds == pytest.approx(10 * 100 + 7)
    run.finish(1, 10)
    assert run.left(10).seconds == pytest.approx(9 * 10 + 7)


def test_the_plan_tells_jobs_of_one_rule_apart(run):
    """The large models come last: what the small ones took says little of them."""
    flops = {f"seed{number}": 1e10 * number for number in range(1, 11)}
    run.progress.jobs = {
        ("train", place): PlannedJob("train", place, flops={SCORING: each})
        for place, each in flops.items()
    }
    run.start(1, 0)
    run.finish(1, START_UP_SECONDS + 1)
    rest = run.left(START_UP_SECONDS + 1)
    assert rest.seconds == pytest.approx(9 * START_UP_SECONDS + sum(range(2, 11)))
    run.progress.plan({"train": 6})  # four of the others are there: nobody knows which
    assert run.left(9).seconds == pytest.approx(5 * START_UP_SECONDS + 5 * (54 / 9))


def test_the_cores_that_snakemake_has_are_all_used(run):
    run.start(1, 0)
    run.finish(1, 10)
    run.progress.num_cores = 3
    assert run.left(10).seconds == pytest.approx(9 * 10 / 3)


def test_a_study_is_known_by_what_lies_in_its_results(run, monkeypatch):
    monkeypatch.chdir(ROOT)
    smoke = Path("config/smoke.yaml")
    look_ahead(run.progress)
    assert run.progress.jobs == {}
    run.start(1, 0)
    look_ahead(run.progress)
    assert run.progress.jobs == {}
    (run.folder / "results").mkdir()
    study = read_study_file(smoke)
    sign(study.model_copy(update={"results_dir": str(run.folder / "results")}), smoke)
    look_ahead(run.progress)
    place = "tiny/step8"
    assert run.progress.jobs["keep_checkpoint", place].rule == "keep_checkpoint"
    assert run.progress.jobs["pretrain_nursery", "tiny"].training_tokens > 0
    log = run.folder / "results/logs/pretrain_nursery" / place / "log.txt"
    run.progress.start(7, "keep_checkpoint", {"model": "tiny"}, [str(log)], SECONDS)
    assert run.progress.running[7].place == place


def test_the_longest_running_job_bounds_the_end(run):
    run.progress.plan({"train": 2})
    run.start(1, 0)
    run.start(2, 0)
    run.write(1, "x: 1%|█| 1/100 [00:01<01:40]")
    run.write(2, "x: 99%|█| 99/100 [01:39<00:01]")
    assert run.left(1).seconds == pytest.approx(100)


# --- Words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (80, "1 min 20 s"), (3600, "1 h"),
        (7_500, "2 h 5 min"), (7_259, "2 h"), (86_400 * 3 + 7_300, "3 d 2 h"),
    ],
)  # fmt: skip
def test_a_duration_has_two_units(seconds, words):
    assert duration(seconds) == words


def test_the_line_says_what_is_done_what_is_left_and_what_runs(run):
    assert run.line(0).endswith("0 of 11 jobs (0 %), time left not known")
    run.start(1, 0)
    run.write(1, "training: 37%|█| 37/100 [00:10<00:17, 2it/s]")
    run.start(2, 5, rule="draw")
    run.write(2, "", rule="draw")
    assert run.line(10).endswith(
        "0 of 11 jobs (0 %), at least 2 min 10 s left, and 1 job of unknown length"
        " · running: train seed 1: training 37 %, 0:17 left; draw seed 2: for 5 s"
    )
    run.progress.fail(2, [])
    assert " · 1 failed · " in run.line(10)
    for number in (3, 4, 5, 6):
        run.start(number, 10)
    assert run.line(10).endswith("; and 2 more")


def test_when_all_is_done_no_time_is_left(run):
    run.progress.plan({"train": 1})
    run.start(1, 0)
    run.finish(1, 1)
    assert run.line(1).endswith("1 of 1 job (100 %)")
