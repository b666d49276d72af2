"""One run at a time, after any end, stopped by any signal; on commands that stand for Snakemake."""

import errno
import fcntl
import json
import os
import platform
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager

import psutil
import pytest
import yaml

from ke_steps.job.errors import UserError
from ke_steps.running import run_study
from ke_steps.running.leftovers import clear, processes, slurm_prefix
from ke_steps.running.lock import NAME, only_run
from tests.invented.project import ROOT

RESULTS = "results/smoke"
NOTHING = "pass"
WAIT = "import time; print('waiting', flush=True); time.sleep(600)"
ORPHAN = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {WAIT!r}], start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); {WAIT}"
SAVING = """
import pathlib, sys, time
try:
    print("waiting", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    pathlib.Path("saved").touch()
    sys.exit(1)
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a study."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/study.yaml").write_text((ROOT / "config/smoke.yaml").read_text())
    return tmp_path


def command(code, *options, study="config/study.yaml"):
    """The run of a study by Python code in the place of Snakemake."""
    run = [sys.executable, "-m", "ke_steps.running.run_study", study, "--"]
    return [*run, sys.executable, "-c", code, *options]


def variables(**others):
    return os.environ | {"PYTHONPATH": str(ROOT)} | others


def run(folder, code, *options, preexec=None, study="config/study.yaml", **others):
    return subprocess.run(
        command(code, *options, study=study),
        cwd=folder,
        env=variables(**others),
        preexec_fn=preexec,
        capture_output=True,
        text=True,
        check=False,
    )


def hear_hang_up():
    """Undo what nohup does: the tests may have been started by it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def running(folder, code, *options):
    """A run that has come to its first line; that line comes with it."""
    process = subprocess.Popen(
        command(code, *options),
        cwd=folder,
        env=variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=hear_hang_up,  # noqa: PLW1509
    )
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        clear(folder / RESULTS, on_slurm=False, patience_seconds=0)


def kill_all(process, folder):
    """End a run as a crash would: no process of it can do anything more."""
    process.kill()
    process.wait()
    for each in processes(folder / RESULTS):
        each.kill()


def refuse_locks(file, operation):
    """What ``flock`` does on a file system without locks, in results folders only."""
    if "results" in file.name:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    refuse_locks.real(file, operation)


refuse_locks.real = fcntl.flock


def test_the_status_is_snakemakes_and_the_report_is_named(folder):
    done = run(folder, NOTHING)
    assert (done.returncode, done.stdout) == (0, f"Report: {folder / RESULTS / 'report.html'}\n")
    failed = run(folder, "import sys; sys.exit(3)")
    assert (failed.returncode, failed.stdout) == (3, "")


def test_a_run_ends_with_the_key_numbers_also_when_there_was_nothing_to_do(folder):
    lines = ["Key numbers: Of nursery.", "step   100", "The paper's claims: 2 supported"]
    summary = folder / RESULTS / "summary.json"
    summary.parent.mkdir(parents=True)
    summary.write_text(json.dumps({"title": "A study", "terminal": lines}))
    done = run(folder, NOTHING)
    last = f"Report: {folder / RESULTS / 'report.html'}"
    assert done.stdout.splitlines() == ["", *lines, "", last]
    assert run(folder, "import sys; sys.exit(3)").stdout == ""


def test_snakemakes_own_lock_is_off_and_processes_are_marked(folder):
    code = "import os, sys; print(sys.argv[1:], os.environ['KE_STEPS_RESULTS'])"
    assert run(folder, code).stdout.startswith(f"['--nolock'] {folder / RESULTS}\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "config/study.yaml: no such file; studies are in config/"),
        ("seeds: [0", "config/study.yaml: no YAML: "),
        ("- 1", "config/study.yaml: got [1], not keys and values"),
        ("seeds: [0]", "models: missing; this key is required"),
        ("\xff", "config/study.yaml: not UTF-8 text, byte 0"),
    ],
)
def test_a_wrong_study_is_refused_in_lines(folder, content, says):
    path = folder / "config/study.yaml"
    path.unlink()
    if content is not None:
        path.write_text(content, encoding="latin-1")
    done = run(folder, NOTHING)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (folder / "results").exists()


@pytest.mark.parametrize("place", ["results", RESULTS])
def test_a_file_in_the_place_of_the_folder_is_named(folder, place):
    path = folder / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    done = run(folder, NOTHING)
    assert done.returncode == 1
    assert done.stderr.startswith(f"results_dir: {RESULTS}: {place}")
    assert done.stderr.count("\n") == 1


def test_a_folder_that_takes_no_files_is_refused(folder):
    (folder / "results").symlink_to("/proc")
    done = run(folder, NOTHING)
    assert done.returncode == 1
    assert done.stderr.startswith(f"results_dir: {RESULTS} cannot be written to: ")
    assert done.stderr.count("\n") == 1


def test_a_disk_without_room_is_noticed_before_anything_starts(folder):
    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = run(folder, "open('started', 'w')", preexec=little_room)
    assert done.returncode == 1
    assert f"results_dir: {RESULTS} cannot be written to: File too large" in done.stderr
    assert not (folder / "started").exists()


def test_a_second_run_says_who_has_it_and_leaves(folder):
    with running(folder, WAIT) as (first, _):
        second = run(folder, "open('started', 'w')")
        assert second.returncode == 1
        assert second.stderr.startswith(
            f"another run (pid {first.pid} on host {platform.node()}, since "
        )
        assert second.stderr.endswith(f"is working on {RESULTS}: wait for it or stop it\n")
        assert first.poll() is None
    assert not (folder / "started").exists()


def test_a_run_of_another_results_folder_is_no_hindrance(folder):
    study = yaml.safe_load((folder / "config/study.yaml").read_text())
    other = study | {"results_dir": "results/other"}
    (folder / "config/other.yaml").write_text(yaml.safe_dump(other))
    with running(folder, WAIT) as (first, _):
        assert run(folder, NOTHING, study="config/other.yaml").returncode == 0
        assert len(processes(folder / RESULTS)) == 1
        assert first.poll() is None


def test_after_a_crash_the_next_run_needs_no_hand(folder):
    with running(folder, WAIT) as (process, _):
        kill_all(process, folder)
        (folder / RESULTS / "step").mkdir()
        (folder / RESULTS / "step/.table.parquet.123.partial").write_text("half")
        assert run(folder, NOTHING).returncode == 0
    assert not list((folder / RESULTS).rglob("*.partial"))


def test_what_a_killed_run_left_running_is_ended_first(folder):
    with running(folder, ORPHAN) as (process, pid):
        orphan = psutil.Process(int(pid))
        process.kill()
        process.wait()
        assert orphan.is_running()
        assert run(folder, NOTHING).returncode == 0
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_stop_snakemake_and_its_jobs(folder, number, status):
    with running(folder, SAVING) as (process, _):
        process.send_signal(number)
        assert process.wait() == status
        assert "Traceback" not in process.stdout.read()
    assert (folder / "saved").exists()


def test_a_second_ctrl_c_does_not_wait(folder):
    with running(folder, STUBBORN) as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline().startswith("Stopping: ")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert processes(folder / RESULTS) == []


def test_a_child_that_is_killed_ends_the_run(folder):
    done = run(folder, "import os; os.kill(os.getpid(), 9)")
    assert done.returncode == 137


TELL = "import os, sys; print(sys.argv[1:], 'KE_STEPS_MORE_FOLLOWS' in os.environ)"
TABLE = f"{RESULTS}/pretrain_nursery/tiny/training.parquet"


@pytest.fixture
def cut_off(folder):
    """A folder with a study whose nursery is there but for its training table."""
    checkpoint = folder / RESULTS / "pretrain_nursery/tiny/step0/manifest.json"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("{}")
    return folder


def test_a_nursery_that_goes_on_has_a_snakemake_of_its_own_first(cut_off):
    done = run(cut_off, TELL)
    first, then, report = done.stdout.splitlines()
    assert first == f"['--nolock', '--', '{TABLE}'] True"
    assert then == "['--nolock'] False"
    assert report.startswith("Report: ")
    assert done.stderr.startswith("Trained first: tiny; what follows ")


def test_when_that_fails_the_run_has_failed(cut_off):
    done = run(cut_off, f"{TELL}; sys.exit(3)")
    assert (done.returncode, done.stdout.count("\n")) == (3, 1)


def test_when_that_is_stopped_the_run_is(cut_off):
    with running(cut_off, SAVING) as (process, said):
        assert said.startswith("Trained first: tiny")
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "waiting" not in process.stdout.read()
    assert (cut_off / "saved").exists()


def test_both_are_under_one_lock(cut_off):
    code = f"""
import fcntl, sys
try:
    fcntl.flock(open("{RESULTS}/{NAME}"), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("locked")
"""
    assert run(cut_off, code).stdout.startswith("locked\nlocked\nReport")


SQUEUE = """#!/bin/sh
test -e queue && cat queue
exit 0
"""
SCANCEL = """#!/bin/sh
echo "$@" > cancelled
rm queue
"""


@pytest.fixture
def slurm(folder, monkeypatch):
    """A queue with a job of this study and one of another."""
    (folder / "bin").mkdir()
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    (folder / "profile").mkdir()
    (folder / "profile/config.yaml").write_text("executor: slurm\n")
    prefix = slurm_prefix(folder / RESULTS)
    (folder / "queue").write_text(f"11 {prefix}_1234\n12 ke-000000000000_1234\n13 other\n")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
    return prefix


def test_slurm_jobs_of_a_killed_run_are_cancelled_and_new_ones_named(folder, slurm):
    code = "import sys; print(sys.argv[1:])"
    done = run(folder, code, "--workflow-profile", "profile")
    assert done.returncode == 0
    assert (folder / "cancelled").read_text() == "11\n"
    assert f"'--nolock', '--slurm-jobname-prefix', '{slurm}'" in done.stdout


def test_without_the_profile_slurm_is_not_asked(folder, slurm):
    assert run(folder, NOTHING).returncode == 0
    assert not (folder / "cancelled").exists()


def test_a_machine_without_slurm_is_told(folder, slurm):
    done = run(folder, NOTHING, "--workflow-profile", "profile", PATH="/nowhere")
    assert done.returncode == 1
    assert done.stderr == "squeue: not found: this profile needs a machine of a SLURM cluster\n"


@pytest.mark.parametrize(
    ("profile", "told"),
    [
        ("local", "Jobs compute on the CPU; PROFILE=gpu has them use GPUs\n"),
        ("gpu", ""),
        ("slurm", ""),
    ],
)
def test_gpus_that_a_profile_leaves_idle_are_told(profile, told, monkeypatch, capsys):
    folder = ROOT / "workflow/profiles" / profile
    options = run_study.options_of(["snakemake", "--workflow-profile", str(folder)])
    for gpu, expected in ((ROOT, told), (ROOT / "none", "")):
        monkeypatch.setattr(run_study, "GPU", gpu)
        run_study.tell_idle_gpus(options)
        assert capsys.readouterr().err == expected


def test_without_flock_runs_of_one_host_keep_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refuse_locks)
    folder = tmp_path / "results"
    with (
        only_run(folder),
        pytest.raises(UserError, match=f"pid {os.getpid()} on host"),
        only_run(folder),
    ):
        pass
    with only_run(folder):
        pass


def test_without_flock_a_run_of_another_host_is_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refuse_locks)
    holder = {"host": "another", "pid": "7", "since": "2026-01-01 12:00+00:00"}
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / NAME).write_text(json.dumps(holder))
    with (
        pytest.raises(UserError, match=r"pid 7 on host another.* remove"),
        only_run(folder),
    ):
        pass


def test_a_process_that_does_not_end_is_killed_after_a_while(folder):
    with running(folder, STUBBORN) as (process, _):
        process.kill()
        process.wait()
        clear(folder / RESULTS, on_slurm=False, patience_seconds=0.1)
        assert processes(folder / RESULTS) == []
