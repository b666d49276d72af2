"""Starts a step on GPUs that no other job has: ``python -m ke_steps.job.gpus 2 torchrun …``.

Snakemake counts the GPUs of its jobs, but does not say which one is whose; left alone, all jobs
would compute on the first. So a job takes the names of its GPUs, which one process of a machine can
hold at a time, and becomes the command, which keeps them as long as it lives, however it ends. Only
GPUs that CUDA shows to it are taken: ``CUDA_VISIBLE_DEVICES`` of a user or a cluster holds.

A name is that of an abstract socket, so that jobs of all users share the machine, and no file has
to be owned or removed. Containers do not see each other's names.
"""

from __future__ import annotations

import ctypes
import os
import random
import socket
import sys
import time
from collections.abc import Sequence
from uuid import UUID

ASKED = "KE_STEPS_NUM_GPUS"
"""Environment variable of a step: the number of GPUs that were asked for, at least 1."""

VISIBLE = "CUDA_VISIBLE_DEVICES"

SECONDS_BETWEEN_TRIES = 1.0


def main(arguments: Sequence[str]) -> None:
    """Become a command, with GPUs of its own; ``arguments`` are their number and the command.

    Where fewer are there than were asked for, the command is to say so: it knows what torch says.
    """
    number, *command = arguments
    environment = os.environ | {ASKED: number}
    devices = visible_devices()
    if len(devices) >= int(number):
        environment[VISIBLE] = ",".join(take(devices, int(number)))
    os.execvpe(command[0], command, environment)  # noqa: S606 # the rest of this very command


def take(devices: Sequence[str], number: int) -> list[str]:
    """Return so many of the devices, for as long as this process and what it becomes live.

    All at once or none, so that two jobs never wait for each other's; waits until they are free.
    """
    is_told = False
    while True:
        held: dict[str, socket.socket] = {}
        for name in devices:
            if len(held) < number and (lock := _hold(name)) is not None:
                held[name] = lock
        if len(held) == number:
            for lock in held.values():
                os.set_inheritable(lock.detach(), True)
            return list(held)
        for lock in held.values():
            lock.close()
        if not is_told:
            others = len(devices) - len(held)
            print(
                f"waiting for {number} of {len(devices)} GPUs: other jobs have {others}",
                file=sys.stderr,
            )
            is_told = True
        # not all at the same time
        time.sleep(SECONDS_BETWEEN_TRIES * random.uniform(0.5, 1.5))


def _hold(device: str) -> socket.socket | None:
    """Return what holds a device; None when another process does."""
    lock = socket.socket(socket.AF_UNIX)
    try:
        lock.bind(f"\0ke_steps {device}")
    except OSError:
        lock.close()
        return None
    return lock


def visible_devices() -> list[str]:
    """Return the GPUs that CUDA shows to this process, by the names that it knows them by.

    None where there is no driver, or one that does not work.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        number = ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(number)):
            return []
        return [_name(driver, index) for index in range(number.value)]
    except (OSError, AttributeError):  # no driver, or one of before 2021
        return []


def _name(driver: ctypes.CDLL, index: int) -> str:
    device, number = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    model = ctypes.create_string_buffer(128)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(model, len(model), device)
    driver.cuDeviceGetUuid_v2(ctypes.byref(number), device)
    kind = "MIG" if b" MIG " in model.value else "GPU"  # a part of a GPU, or all of it
    return f"{kind}-{UUID(bytes=bytes(number))}"


def driver_words() -> str:
    """Return what NVIDIA's driver says of itself."""
    try:
        driver = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return "no driver of NVIDIA's is installed"
    if status := driver.nvmlInit_v2():
        driver.nvmlErrorString.restype = ctypes.c_char_p
        return f"NVIDIA's driver says: {driver.nvmlErrorString(status).decode()}"
    version, number = ctypes.create_string_buffer(80), ctypes.c_uint()
    driver.nvmlSystemGetDriverVersion(version, len(version))
    driver.nvmlDeviceGetCount_v2(ctypes.byref(number))
    return f"NVIDIA's driver {version.value.decode()} has {number.value} GPUs"


if __name__ == "__main__":
    main(sys.argv[1:])
