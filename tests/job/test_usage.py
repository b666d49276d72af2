"""What a job used: always its time and memory; its GPU when it used one, at no cost without."""

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from ke_steps.job.endings import RunningStep, explain_failure
from ke_steps.job.usage import Usage, _watch_gpus, others_on_gpu, watching

GPU = ("peak_gpu_memory_mb", "mean_gpu_utilisation")


class Cuda:
    """Two GPUs, of which the process uses the second; ``utilization`` fails after its samples."""

    def __init__(self, samples=(), *, is_initialized=True):
        self.samples = list(samples)
        self.sampled = threading.Event()
        self.asked = []
        self.is_initialized = lambda: is_initialized
        self.is_available = lambda: True
        self.device_count = lambda: 2

    def max_memory_reserved(self, device):
        return [0, 300 * 2**20][device]

    def utilization(self, device):
        self.asked.append(device)
        if not self.samples:
            self.sampled.set()
            raise RuntimeError("the driver is gone")
        return self.samples.pop(0)


@pytest.fixture
def cuda(monkeypatch):
    def fake(*arguments, **options):
        found = Cuda(*arguments, **options)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=found))
        monkeypatch.setattr("ke_steps.job.usage.SECONDS_BETWEEN_SAMPLES", 0.001)
        return found

    return fake


def test_a_job_on_a_gpu_says_how_much_and_how_busily_it_used_it(cuda):
    gpu = cuda([100, 50, 0])
    with watching() as usage:
        assert gpu.sampled.wait(timeout=30)
    found = usage.summary()
    assert found["mean_gpu_utilisation"] == pytest.approx(0.5)
    assert found["peak_gpu_memory_mb"] == 300
    assert set(gpu.asked) == {1}  # not the GPU that it holds nothing of


def test_a_driver_that_does_not_tell_fails_no_job_and_is_named(cuda, capsys):
    cuda([])
    usage = Usage()
    _watch_gpus(usage, threading.Event())
    found = usage.summary()
    assert found["mean_gpu_utilisation"] is None
    assert found["peak_gpu_memory_mb"] == 300
    said = "GPU utilisation is not sampled any more: the driver is gone\n"
    assert capsys.readouterr().err == said


def test_a_gpu_that_was_not_used_is_not_counted(cuda):
    cuda([80], is_initialized=False)
    usage = Usage()
    usage.sample_gpus()
    assert [usage.summary()[name] for name in GPU] == [None, None]


@pytest.mark.parametrize(
    ("free", "held", "words"),
    [
        (1e9, 78e9, ""),  # CUDA itself takes some
        (1e9, 39e9, "other processes hold 40.0 of the GPU's 80.0 GB"),
    ],
)
def test_memory_that_other_processes_hold_is_told(free, held, words, cuda):
    gpu = cuda()
    gpu.mem_get_info = lambda: (free, 80e9)
    gpu.memory_reserved = lambda: held
    assert others_on_gpu() == words
    line = explain_failure(
        RuntimeError("CUDA error: out of memory"), RunningStep("s", "{}", Path())
    )
    assert line.startswith(f"out of GPU memory ({words}): " if words else "out of GPU memory: ")


def test_without_a_gpu_no_process_shares_it(cuda):
    cuda(is_initialized=False)
    assert others_on_gpu() == ""


def test_sampling_ends_with_the_block(cuda):
    gpu = cuda([10] * 1_000_000)
    before = set(threading.enumerate())
    with watching():
        (sampler,) = set(threading.enumerate()) - before
    sampler.join(timeout=30)
    assert not sampler.is_alive()
    assert gpu.samples


def test_without_a_gpu_nothing_runs_beside_the_job(monkeypatch):
    none = SimpleNamespace(is_available=lambda: False, is_initialized=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=none))
    monkeypatch.setattr("ke_steps.job.usage.Thread", None)
    with watching() as usage:
        pass
    found = usage.summary()
    assert [found[name] for name in GPU] == [None, None]
    assert found["cpu_seconds"] > 0
    assert found["peak_memory_mb"] > 1


def test_watching_loads_no_torch():
    code = (
        "import sys; from ke_steps.job import usage\n"
        "with usage.watching() as used: pass\n"
        "used.summary(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_process_that_the_job_started_counts_once_it_has_ended():
    """As where pickled weights are read: that process holds most of what the job takes."""
    usage = Usage()
    before = usage.summary()
    megabytes = int(before["peak_memory_mb"]) + 50
    subprocess.run([sys.executable, "-c", f"b'x' * ({megabytes} * 2**20)"], check=True)
    after = usage.summary()
    assert after["peak_memory_mb"] >= megabytes
    assert after["cpu_seconds"] > before["cpu_seconds"]
