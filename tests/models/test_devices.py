"""Which device a job computes on: the GPUs that it asked for, or none of its own."""

import pytest
import torch

from ke_steps.job import gpus
from ke_steps.job.errors import UserError
from ke_steps.models import devices
from ke_steps.models.devices import choose_device
from ke_steps.models.loading import prepare_torch

TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update it.\nmore"
)


@pytest.fixture(autouse=True)
def words_of_the_driver(monkeypatch):
    for name in (gpus.ASKED, gpus.VISIBLE, "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(devices, "driver_words", lambda: "the driver's words")


@pytest.fixture
def torch_sees(monkeypatch):
    """Have torch see so many GPUs, all as they should be, or fail at its first use of them."""

    def see(number, error=None):
        used = []

        def init():
            if error is not None:
                raise error

        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch, "zeros", lambda n, device: used.append(device))
        return used

    return see


def ask(monkeypatch, number, **ranks):
    monkeypatch.setenv(gpus.ASKED, str(number))
    for name, value in ranks.items():
        monkeypatch.setenv(name, str(value))


def test_a_job_that_nobody_asked_for_takes_what_is_there(torch_sees):
    torch_sees(0, AssertionError())
    assert choose_device() == torch.device("cpu")
    used = torch_sees(2)
    assert choose_device() == torch.device("cuda:0")
    assert used == [torch.device("cuda:0")]  # it was tried


def test_each_rank_has_its_own_gpu(torch_sees, monkeypatch):
    torch_sees(2)
    chosen = []
    for rank in range(2):
        ask(monkeypatch, 2, LOCAL_RANK=rank, LOCAL_WORLD_SIZE=2)
        chosen.append(choose_device().index)
    assert chosen == [0, 1]


@pytest.mark.parametrize("asked", [1, None])
def test_two_ranks_never_share_a_gpu(asked, torch_sees, monkeypatch):
    torch_sees(1)
    if asked:
        ask(monkeypatch, asked)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 GPUs were asked for and torch cannot use so many"):
        choose_device()


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (0, AssertionError("Torch not compiled with CUDA enabled"), "it says: Torch not compiled"),
        (1, RuntimeError(TOO_OLD), r"it says: .*found version 12020\)\. Please update it\.; the d"),
        (1, None, "it has 1; the driver's words"),
    ],
)
def test_what_was_asked_for_and_is_not_there_is_refused_in_one_line(
    number, error, words, torch_sees, monkeypatch
):
    torch_sees(number, error)
    ask(monkeypatch, 2)
    monkeypatch.setenv(gpus.VISIBLE, "GPU-1")
    with pytest.raises(UserError, match=words) as refusal:
        choose_device()
    line = str(refusal.value)
    assert "\n" not in line
    assert f"torch {torch.__version__} is built for" in line
    assert "CUDA_VISIBLE_DEVICES is GPU-1" in line


def test_a_gpu_that_cannot_be_used_is_refused_as_well(torch_sees, monkeypatch):
    def fail(number, device):
        raise torch.AcceleratorError("CUDA error: no kernel image is available\nCompile with …")

    torch_sees(1)
    ask(monkeypatch, 1)
    monkeypatch.setattr(torch, "zeros", fail)
    with pytest.raises(UserError, match=r"it says: CUDA error: no kernel image is available; the"):
        choose_device()


def test_a_step_that_asked_for_a_gpu_does_not_go_on_without(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ask(monkeypatch, 1)
    with pytest.raises(UserError, match="1 GPU was asked for and torch cannot use it"):
        prepare_torch(1)
    torch.use_deterministic_algorithms(False)
