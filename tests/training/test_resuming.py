"""Training that ends early: what it leaves, and that going on gives the same bytes."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ke_steps import inject_knowledge
from ke_steps.artefacts.interventions import write_intervention
from ke_steps.artefacts.parquet import read_frame
from ke_steps.job import provenance
from ke_steps.job.command_line import main
from ke_steps.job.errors import Stopped
from ke_steps.models.loading import load_model, prepare_torch
from ke_steps.training import resuming, trainer
from ke_steps.training.log import Watcher
from ke_steps.training.resuming import (
    ECHO_SECONDS,
    Saver,
    StopRequest,
    Unfinished,
    noting_signals,
)
from ke_steps.training.train import train
from tests.invented.forks import Forks
from tests.invented.injections import NUM_STEPS, build_inputs, command, inject, outputs, written

pytestmark = pytest.mark.slow

KILLED_STEPS = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the inputs of a run whose every step has another temperature of attention."""
    folder = tmp_path_factory.mktemp("inputs")
    write_intervention(folder / "decaying", {"attention_temperature": [3.0, 1.0]})
    files = build_inputs(folder, num_sequences=4 * KILLED_STEPS)
    return files | {"intervention": folder / "decaying"}


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory):
    return inject(tmp_path_factory.mktemp("undisturbed"), files)


def stop_after(step, monkeypatch, number=signal.SIGTERM):
    """Make the next training get a signal when the probes of a step are scored, or would be."""
    observe = inject_knowledge._Probing.observe

    def stopping(self, model, done):
        observe(self, model, done)
        if done == step:
            signal.raise_signal(number)

    monkeypatch.setattr(inject_knowledge._Probing, "observe", stopping)


def stopped(folder, files, step, number=signal.SIGTERM, **changes):
    """Run until a signal comes in the given step; return what the job says."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped) as stop:
        stop_after(step, patch, number)
        inject(folder, files, **changes)
    return stop.value


def saved_state(folder):
    (state,) = (folder / "model" / "unfinished").glob("checkpoint-*")
    return state


@pytest.mark.parametrize("step", [0, 2, NUM_STEPS - 1, NUM_STEPS])
def test_a_signal_saves_at_the_end_of_the_step_and_going_on_gives_the_same_bytes(
    step, files, undisturbed, tmp_path, capsys
):
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    stop = stopped(tmp_path, files, step)
    # one that comes while the probes of the last step are scored finds no further step
    done = min(step + 1, NUM_STEPS)
    assert stop.status == 143
    assert stop.message == (
        f"stopped by SIGTERM after step {done} of {NUM_STEPS};"
        " saved, the same command goes on from there"
    )
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert saved_state(tmp_path).name == f"checkpoint-{done}"
    assert not any(path.exists() for path in outputs(tmp_path).values())
    assert inject(tmp_path, files) == undisturbed
    assert f"going on from the state saved after step {done}" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "model").iterdir() if path.is_dir()) == []


def test_a_run_can_be_stopped_again_and_again(files, undisturbed, tmp_path):
    for step in (1, 3, 5):
        stop = stopped(tmp_path, files, step, signal.SIGINT)
        assert stop.status == 130
        assert "SIGINT" in stop.message
    assert inject(tmp_path, files) == undisturbed


@pytest.fixture(scope="module")
def stopped_at_3(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    stopped(folder, files, 2)
    return folder


@pytest.fixture
def unfinished(stopped_at_3, tmp_path):
    """Return the folder of a run that was stopped after step 3, for one test alone."""
    return shutil.copytree(stopped_at_3, tmp_path / "run")


SAVED = [
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "probe_scores.parquet",
    "state.json",
]


def test_a_state_is_tensors_and_tables_alone(stopped_at_3):
    names = {path.name for path in saved_state(stopped_at_3).iterdir()}
    assert names == {*SAVED}


@pytest.mark.parametrize(
    "damaged",
    [(name, "flipped") for name in SAVED] + [("optimizer.pt", "cut"), ("scheduler.pt", "gone")],
    ids="-".join,
)
def test_a_damaged_state_is_thrown_away(damaged, files, undisturbed, unfinished, capsys):
    name, damage = damaged
    path = saved_state(unfinished) / name
    content = path.read_bytes()
    place = len(content) // 2
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[:place])
    else:
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
    assert inject(unfinished, files) == undisturbed
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("starting over: ")]
    assert str(path.parent) in line


@pytest.mark.parametrize("changed", ["step", "settings", "inputs", "code", "versions", "device"])
def test_a_state_of_another_job_is_thrown_away(changed, files, tmp_path, monkeypatch, capsys):
    prepare = prepare_torch

    def run(**changes):
        def preparing(*arguments):
            device = prepare(*arguments)
            provenance.current().update(changes)
            return device

        monkeypatch.setattr(inject_knowledge, "prepare_torch", preparing)
        with provenance.recording("inject_knowledge", {"a": 1}, {"probes": files["probes"]}):
            inject(tmp_path, files)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        stop_after(0, patch)
        run()
    run(**{changed: "another"})
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("starting over: ")]
    assert line.endswith(f"is of another job: {changed} differ")


def test_a_state_without_its_last_file_is_no_state(files, undisturbed, unfinished, capsys):
    state = saved_state(unfinished)
    shutil.copytree(state, state.with_name("checkpoint-5"))
    (state.with_name("checkpoint-5") / "state.json").unlink()
    assert inject(unfinished, files) == undisturbed
    assert "going on from the state saved after step 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("owner", "name"),
    [(trainer, "save_file"), (resuming, "_hashes"), (inject_knowledge._Probing, "save")],
)
def test_a_state_that_cannot_be_written_leaves_the_one_before(
    owner, name, files, undisturbed, unfinished
):
    """In the thread that writes, or before it: the job ends with the error."""
    write = getattr(owner, name)
    folder = unfinished / "model" / "unfinished" / "checkpoint-5"

    def filling(*arguments):
        if folder.exists():
            write(*arguments)
            raise OSError(28, "No space left on device")
        return write(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(owner, name, filling)
        stop_after(4, patch)
        inject(unfinished, files)
    assert saved_state(unfinished).name == "checkpoint-3"
    assert inject(unfinished, files) == undisturbed


def test_training_goes_on_while_a_state_is_written_and_its_copy_stays(
    files, undisturbed, tmp_path, monkeypatch
):
    """The weights after step 1 are not written before step 2 is done, and are those of step 1."""
    observe, write = inject_knowledge._Probing.observe, trainer.save_file
    seen, is_done = [], threading.Event()

    def observing(self, model, step):
        observe(self, model, step)
        seen.append({name: each.clone() for name, each in model.named_parameters()})
        if step == 2:
            is_done.set()

    def waiting(weights, path):
        assert is_done.wait(60)
        write(weights, path)
        step = int(path.parent.name.rpartition("-")[2])
        assert weights.keys() == seen[step].keys()
        assert all(torch.equal(each, seen[step][name]) for name, each in weights.items())

    monkeypatch.setattr(inject_knowledge, "train", partial(train, save_interval_seconds=0.0))
    monkeypatch.setattr(inject_knowledge._Probing, "observe", observing)
    monkeypatch.setattr(trainer, "save_file", waiting)
    assert inject(tmp_path, files) == undisturbed


@pytest.mark.parametrize(
    ("interval", "stood_still", "expected"),
    [(None, 0.0, 60.0), (None, 1.0, 60.0), (None, 5.0, 250.0), (0.0, 5.0, 0.0)],
)
def test_states_are_saved_as_often_as_they_cost_two_percent(interval, stood_still, expected):
    unfinished = Unfinished(Path("manifest.json"), Watcher())
    unfinished.writer.stood_still_seconds = stood_still
    assert Saver(unfinished, interval, StopRequest())._interval() == expected


@pytest.mark.parametrize(("num_ranks", "ending"), [(1, [143, 130]), (2, [130])])
def test_a_second_signal_ends_at_once_unless_it_is_an_echo(num_ranks, ending, monkeypatch):
    ended, now = [], [100.0]
    monkeypatch.setenv("WORLD_SIZE", str(num_ranks))
    monkeypatch.setattr(resuming.os, "_exit", ended.append)
    monkeypatch.setattr(resuming.time, "monotonic", lambda: now[0])
    with pytest.raises(KeyboardInterrupt), noting_signals() as request:
        signal.raise_signal(signal.SIGINT)
        assert not ended
        # over several ranks the launcher passes on what all processes have got already
        signal.raise_signal(signal.SIGTERM)
        now[0] += ECHO_SECONDS + 1
        signal.raise_signal(signal.SIGINT)
        assert request.number == signal.SIGINT
    assert ended == ending


def test_out_of_memory_goes_on_from_the_saved_state(files, undisturbed, tmp_path, monkeypatch):
    load, observe = load_model, inject_knowledge._Probing.observe
    observed, largest = [], []

    def loading(*arguments, **keywords):
        model = load(*arguments, **keywords)
        forward = model.forward

        def limited(input_ids, **others):
            if observed[-1] == 3 and len(input_ids) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            largest.append(len(input_ids))
            return forward(input_ids=input_ids, **others)

        model.forward = limited
        return model

    def observing(self, model, step):
        observed.append(step)
        observe(self, model, step)

    saving_often = partial(train, save_interval_seconds=0.0)
    monkeypatch.setattr(inject_knowledge, "train", saving_often)
    monkeypatch.setattr(inject_knowledge, "load_model", loading)
    monkeypatch.setattr(inject_knowledge._Probing, "observe", observing)
    inject(tmp_path, files)
    assert observed == list(range(NUM_STEPS + 1))
    assert largest == [2] * 2 * 3 + [1] * 4 * 3
    ours = read_frame(tmp_path / "training.parquet")
    (tmp_path / "theirs.parquet").write_bytes(undisturbed[1])
    theirs = read_frame(tmp_path / "theirs.parquet")
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def run_saving_often(folder, files):
    """Run the job as its command line would, but save after every step."""
    inject_knowledge.train = partial(train, save_interval_seconds=0.0)
    (folder / "log").parent.mkdir(parents=True, exist_ok=True)
    sys.stderr = (folder / "log").open("a", buffering=1)
    main(inject_knowledge.run, command(folder, files, num_steps=KILLED_STEPS))


def test_kills_at_random_moments_do_not_change_a_byte(files, tmp_path):
    libraries = ["transformers.trainer", "transformers.models.olmo.modeling_olmo"]
    forks = Forks("ke_steps.inject_knowledge", *libraries)

    def start(folder):
        return forks.start(run_saving_often, folder, files)

    undisturbed = start(tmp_path / "undisturbed")
    undisturbed.join()
    assert undisturbed.exitcode == 0
    folder = tmp_path / "killed"
    unfinished = folder / "model" / "unfinished"
    moments = random.Random(4)
    num_killed = 0
    for _ in range(6):
        states = set(unfinished.glob("checkpoint-*"))
        process = start(folder)
        while process.is_alive() and set(unfinished.glob("checkpoint-*")) <= states:
            time.sleep(0.005)
        process.join(moments.uniform(0.0, 0.3))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            num_killed += 1
        process.join()
    last = start(folder)
    last.join()
    assert last.exitcode == 0
    log = (folder / "log").read_text()
    assert log.count("going on from the state saved after step") >= num_killed / 2 >= 1.5
    assert "starting over" not in log
    assert written(folder) == written(tmp_path / "undisturbed")
    assert not (folder / "model" / "unfinished").exists()


def test_sigterm_to_the_command_ends_it_in_one_line(files, tmp_path):
    arguments = command(tmp_path, files, num_steps=KILLED_STEPS, num_threads=1)
    process = subprocess.Popen(
        [sys.executable, "-m", "ke_steps.inject_knowledge", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    while process.poll() is None and not (tmp_path / "model" / "unfinished").exists():
        time.sleep(0.02)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    (line,) = [x for x in errors.splitlines() if "stopped" in x]
    assert line.startswith("inject_knowledge: stopped by SIGTERM")
    assert "Traceback" not in errors
