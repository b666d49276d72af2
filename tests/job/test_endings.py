"""Whatever ends a step that is no fault of the program: one line, its status, nothing half-written.

The processes here are real, and so are their full disks, signals and hangs.
"""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from ke_steps.artefacts import interventions, parquet
from ke_steps.job import endings, files
from ke_steps.job.endings import RunningStep, explain_failure, in_one_line
from ke_steps.job.errors import UserError
from tests.invented.models import build_checkpoint

STEP = RunningStep(
    "extract_coefficients", json.dumps({"batch_size_sequences": 8}), Path("results/c.parquet")
)
ENDLESS_CORPUS = {
    "source": {"kind": "world", "domain": "pretraining"},
    "num_sequences": 10**7,
    "sequence_length_tokens": 64,
    "world": {"seed": 0, "num_people": 50, "num_continual_entities": 20, "num_questions": 10},
}


def run_hanging(folder, body):
    """Run a step of a time limit of two seconds, which leaves a file when it is not cleaned up."""
    code = f"""
import os, signal, time
from pathlib import Path
from ke_steps.job import endings
from ke_steps.job.files import replacing
endings.SECONDS_PER_MINUTE = 2.0
with endings.in_one_line(endings.RunningStep("inject_knowledge", "{{}}", Path("o"), 1)):
    with replacing(Path("output")) as beside:
        beside.write_text("half")
        {body}
"""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


LIMIT = "inject_knowledge: no end within 1 minutes: raise cluster.jobs.inject_knowledge."


def test_a_hanging_step_ends_in_one_line(tmp_path):
    ended = run_hanging(tmp_path, "time.sleep(50)")
    assert ended.returncode == 124
    (line,) = ended.stderr.splitlines()
    assert line.startswith(LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_saves_when_told_to_stop_says_so(tmp_path):
    """As training does: its own handler, then Stopped."""
    body = """
        from ke_steps.job.errors import Stopped
        told = []
        signal.signal(signal.SIGTERM, lambda *_: told.append(1))
        while not told:
            time.sleep(0.01)
        raise Stopped("saved step 3", 143)
"""
    ended = run_hanging(tmp_path, body.strip())
    assert ended.returncode == 124
    (line,) = ended.stderr.splitlines()
    assert line.startswith(LIMIT)
    assert line.endswith("; saved step 3")


def test_a_step_that_hangs_in_c_is_ended_all_the_same(tmp_path):
    """Its main thread never looks at a signal; the log shows where it hung."""
    body = "import ctypes; ctypes.CDLL(None).pause() if not signal.pthread_sigmask("
    ended = run_hanging(tmp_path, body + "signal.SIG_BLOCK, {signal.SIGTERM}) else 0")
    assert ended.returncode == 124
    assert 'File "<string>"' in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(LIMIT)


def test_a_step_that_hangs_with_the_interpreter_locked_is_ended_all_the_same(tmp_path):
    ended = run_hanging(tmp_path, "import ctypes; ctypes.PyDLL(None).sleep(50)")
    assert ended.returncode not in (0, None)
    assert "Timeout" in ended.stderr
    assert 'File "<string>"' in ended.stderr


def start_endless(folder, tokenizer_manifest):
    """Start a real step that never ends; return once it has begun to write."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "ke_steps.prepare_corpus"]
    command += ["--tokenizer", str(tokenizer_manifest), "--settings", json.dumps(ENDLESS_CORPUS)]
    command += ["--output-sequences", f"{folder}/sequences.parquet"]
    command += ["--output-documents", f"{folder}/documents.parquet"]
    command += ["--record", f"{folder}/record.json"]
    with (folder.parent / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
    while not list(folder.glob(".*.partial")):
        assert process.poll() is None, (folder.parent / "log").read_text()
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")]
)
def test_a_signal_ends_a_step_in_one_line(tmp_path, tokenizer_manifest, number, name):
    process = start_endless(tmp_path / "out", tokenizer_manifest)
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[-1] == f"prepare_corpus: stopped by {name}"
    assert "Traceback" not in "".join(lines)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_step_left_is_removed_by_the_next(tmp_path, tokenizer_manifest):
    process = start_endless(tmp_path / "out", tokenizer_manifest)
    process.kill()
    process.wait(timeout=60)
    (left,) = (tmp_path / "out").iterdir()
    assert left.name.startswith(".sequences.parquet.")
    process = start_endless(tmp_path / "out", tokenizer_manifest)
    while left.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    process.wait(timeout=60)


def write_table(folder):
    column = np.random.default_rng(0).integers(0, 2**40, 10**5)
    parquet.write_table(folder / "t.parquet", {"layer": column}, pa.schema({"layer": pa.int64()}))


def write_json(folder):
    files.write_json(folder / "t.json", "x" * 10**6)


def write_intervention(folder):
    factors = np.ones((200, 500), dtype=np.float32)
    interventions.write_intervention(folder / "t.safetensors", {"up_rows": factors})


def write_checkpoint(folder):
    build_checkpoint(folder / "checkpoint")


def save_state(folder):
    torch.save({"a": torch.randn(10**5)}, folder / "state.pt")


@pytest.fixture
def full_disk(tmp_path):
    """A folder in which no file can grow beyond 40 kB, like a disk that is nearly full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("write", [write_table, write_json, write_intervention, write_checkpoint])
def test_a_full_disk_is_one_line_and_leaves_nothing(full_disk, write):
    with pytest.raises(SystemExit) as end, in_one_line(STEP):
        write(full_disk)
    assert str(end.value).startswith("extract_coefficients: disk full: cannot write ")
    assert str(end.value).endswith("): free space and run again")
    written = [path for path in full_disk.rglob("*") if path.is_file()]
    assert [path for path in written if "_tokenizer" not in str(path.parent)] == []


def test_a_full_disk_under_torchs_own_files_is_one_line(full_disk):
    with pytest.raises(SystemExit) as end, in_one_line(STEP):
        save_state(full_disk)
    assert "disk full: cannot write results/c.parquet" in str(end.value)


def test_a_device_without_space_is_one_line():
    with pytest.raises(SystemExit) as end, in_one_line(STEP):
        Path("/dev/full").write_text("x")
    assert "disk full: cannot write results/c.parquet (No space left on device)" in str(end.value)


def test_a_read_only_folder_is_one_line(tmp_path, monkeypatch):
    """The error is what the system raises; root can write anywhere but to a read-only disk."""
    for number in (errno.EROFS, errno.EACCES):

        def refuse(path, *_, number=number, **__):
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr(Path, "write_text", refuse)
        with pytest.raises(SystemExit) as end, in_one_line(STEP):
            files.write_json(tmp_path / "a.json", 1)
        reason = os.strerror(number)
        assert f"cannot use {tmp_path / 'a.json'} ({reason}): let this user" in str(end.value)


def test_a_read_only_disk_is_one_line():
    with pytest.raises(SystemExit) as end, in_one_line(STEP):
        files.write_json(Path("/proc/sys/a.json"), 1)
    assert "/proc/sys/" in str(end.value)


def test_a_file_that_vanishes_is_one_line(tmp_path):
    with pytest.raises(SystemExit) as end, in_one_line(STEP):
        (tmp_path / "gone").read_text()
    assert f"{tmp_path}/gone: No such file or directory" in str(end.value)


@pytest.mark.parametrize("allocate", [lambda: np.empty(2**55), lambda: torch.empty(2**50)])
def test_too_little_memory_is_one_line(allocate):
    with pytest.raises(SystemExit) as end, in_one_line(STEP):
        allocate()
    assert "out of memory: raise cluster.jobs.extract_coefficients.memory_gb" in str(end.value)


@pytest.mark.parametrize(
    ("step", "place", "settings", "remedy"),
    [
        (
            "extract_coefficients",
            "olmo/step1/original/pile",
            {"batch_size_sequences": 8},
            "lower extract_coefficients.batch_size_sequences",
        ),
        (
            "inject_knowledge",
            "olmo/step1/original/baseline/seed0",
            {"batch_size_sequences": 8, "micro_batch_size_sequences": 4},
            "lower recipes.baseline.micro_batch_size_sequences",
        ),
        (
            "branch_checkpoint",
            "cooled/step9",
            {"batch_size_sequences": 8, "micro_batch_size_sequences": 1},
            "lower models.cooled.source.batch_size_sequences",
        ),
        ("inject_knowledge", "", {"batch_size_sequences": 1}, "use a GPU with more memory"),
    ],
)
def test_too_little_gpu_memory_is_one_line(step, place, settings, remedy):
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    line = explain_failure(error, RunningStep(step, json.dumps(settings), Path("o"), place=place))
    assert line.startswith("out of GPU memory: ")
    assert line.endswith(remedy)


@pytest.mark.parametrize(
    ("place", "message", "expected"),
    [
        (
            "tiny/held_out",
            "corpora.<name>.num_sequences: few",
            "corpora.held_out.num_sequences: few",
        ),
        ("once_2/seed3", "recipes.<name>.x: no", "recipes.once_2.x: no"),
        (
            "olmo/step7",
            "say models.<name>.a or models.<name>.b",
            "say models.olmo.a or models.olmo.b",
        ),
        ("", "recipes.<name>.x: no", "recipes.<name>.x: no"),
        ("olmo/step7", "a.txt: <name> is no tag", "a.txt: <name> is no tag"),
    ],
)
def test_sections_are_named_as_the_study_names_them(place, message, expected):
    step = RunningStep("any", "{}", Path("o"), place=place)
    assert explain_failure(UserError(message), step) == expected


def test_what_is_no_job_of_a_study_has_its_own_remedies():
    step = RunningStep("measure", "{}", Path(), memory_remedy="lower this", elsewhere="TMPDIR")
    for error in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")):
        assert explain_failure(error, step).endswith("memory: lower this")
    refused = PermissionError(errno.EACCES, "Permission denied", "/tmp/a")
    line = explain_failure(refused, step)
    assert line.endswith("let this user read and write there, or set TMPDIR to another folder")


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("y"), OSError("no number")])
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)), in_one_line(STEP):
        raise error


def test_a_rank_speaks_after_the_first_with_its_number(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(endings, "SECONDS_BEFORE_OTHER_RANKS_SPEAK", 0.0)
    with pytest.raises(SystemExit) as end, in_one_line(STEP):
        np.empty(2**55)
    assert str(end.value).startswith("extract_coefficients: rank 1: out of memory")


def test_a_stopped_rank_is_silent_but_for_the_first(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as end, in_one_line(STEP):
        signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 143
    assert capsys.readouterr().err == ""
