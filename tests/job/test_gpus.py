"""GPUs that jobs take for themselves: pretend ones, but real processes that want them."""

import ctypes
import os
import subprocess
import sys
from uuid import UUID, uuid4

import pytest

from ke_steps.job import gpus
from tests.invented.project import ROOT

JOB = """
import sys
from ke_steps.job import gpus
devices, *arguments = sys.argv[1:]
gpus.visible_devices = lambda: devices.split()
gpus.SECONDS_BETWEEN_TRIES = 0.02
gpus.main([*arguments, "sh", "-c", "echo $CUDA_VISIBLE_DEVICES of $KE_STEPS_NUM_GPUS; exec cat"])
"""
"""Says what it has, and keeps it until it is told to end or killed."""


@pytest.fixture
def devices():
    """Names of three GPUs of which no other test knows: they are held on the whole machine."""
    return [f"GPU-{uuid4()}" for _ in range(3)]


@pytest.fixture
def start(devices):
    """Start a job that wants so many of the three GPUs; ended with the test at the latest."""
    jobs = []

    def start(number, *, visible=devices):
        command = [sys.executable, "-c", JOB, " ".join(visible), str(number)]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        environment = os.environ | {gpus.VISIBLE: "untouched"}
        job = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
        jobs.append(job)
        return job

    yield start
    for job in jobs:
        job.kill()
        job.communicate()


def taken(job):
    """Return what a job has, once it has it."""
    names, asked = job.stdout.readline().split(" of ")
    assert len(names.split(",")) == int(asked)
    return names.split(",")


def test_jobs_side_by_side_have_a_gpu_each(start, devices):
    jobs = [start(1), start(2)]
    names = [name for job in jobs for name in taken(job)]
    assert sorted(names) == sorted(devices)


def test_a_job_waits_for_gpus_until_another_is_killed(start, devices):
    one, two = start(1), start(2)
    taken(one)
    of_two = taken(two)
    waiting = start(3)
    assert waiting.stderr.readline() == "waiting for 3 of 3 GPUs: other jobs have 3\n"
    two.kill()
    two.wait()
    later = start(1)  # is not kept from what is free by who waits for more
    assert taken(later)[0] in of_two
    one.kill()
    later.kill()
    assert taken(waiting) == devices


def test_only_what_is_visible_is_taken(start, devices):
    last = devices[2:]
    assert taken(start(1, visible=last)) == last
    assert "waiting for 1 of 1" in start(1, visible=last).stderr.readline()
    assert taken(start(2)) == devices[:2]


def test_where_fewer_are_there_than_asked_for_the_step_is_to_say_so(start, devices):
    job = start(2, visible=devices[:1])
    assert job.stdout.readline() == "untouched of 2\n"


class Driver:
    """CUDA's library as it is called: a whole GPU, and a part of one."""

    MODELS = (b"NVIDIA H100 80GB HBM3", b"NVIDIA A100-SXM4-40GB MIG 3g.20gb")
    UUIDS = (UUID(int=1), UUID(int=2))

    def __init__(self, status=0):
        self.status = status

    def cuInit(self, flags):
        return self.status

    def cuDeviceGetCount(self, number):
        number._obj.value = len(self.UUIDS)
        return 0

    def cuDeviceGet(self, device, index):
        device._obj.value = 10 + index

    def cuDeviceGetName(self, name, length, device):
        name.value = self.MODELS[device.value - 10][: length - 1]

    def cuDeviceGetUuid_v2(self, number, device):
        number._obj[:] = self.UUIDS[device.value - 10].bytes


def has(monkeypatch, library):
    def load(name):
        if library is None:
            raise OSError(f"{name}: cannot open shared object file")
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)


def test_gpus_have_the_names_that_cuda_knows_them_by(monkeypatch):
    has(monkeypatch, Driver())
    assert gpus.visible_devices() == [
        "GPU-00000000-0000-0000-0000-000000000001",
        "MIG-00000000-0000-0000-0000-000000000002",
    ]


@pytest.mark.parametrize("driver", [None, Driver(status=804), object()])
def test_without_a_driver_that_works_there_are_none(driver, monkeypatch):
    has(monkeypatch, driver)
    assert gpus.visible_devices() == []


class FunctionOf:
    """A function of a library, which is told what it returns."""

    restype = ctypes.c_int

    def __init__(self, function):
        self.function = function

    def __call__(self, number):
        assert self.restype is ctypes.c_char_p
        return self.function(number)


class Management:
    """NVIDIA's library that tells the driver's version."""

    def __init__(self, status=0):
        self.nvmlInit_v2 = lambda: status
        self.nvmlErrorString = FunctionOf(lambda number: f"error {number}".encode())

    def nvmlSystemGetDriverVersion(self, version, length):
        version.value = b"535.104.05"[: length - 1]

    def nvmlDeviceGetCount_v2(self, number):
        number._obj.value = 4


@pytest.mark.parametrize(
    ("library", "words"),
    [
        (None, "no driver of NVIDIA's is installed"),
        (Management(status=18), "NVIDIA's driver says: error 18"),
        (Management(), "NVIDIA's driver 535.104.05 has 4 GPUs"),
    ],
)
def test_the_driver_speaks_of_itself(library, words, monkeypatch):
    has(monkeypatch, library)
    assert gpus.driver_words() == words
