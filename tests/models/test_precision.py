"""In which precision a model computes, and where TF32 is refused."""

import pytest
import torch

from ke_steps.job.errors import UserError
from ke_steps.models import precision
from ke_steps.models.precision import computing, has_tf32

CPU = torch.device("cpu")


@pytest.fixture
def usual(monkeypatch):
    """The precision of fp32 products as it was; torch's own call is noted, not made."""
    said = ["highest"]
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: said[-1])
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    return said


@pytest.mark.parametrize(
    ("name", "products", "dtype"),
    [
        ("fp32", "highest", torch.float32),
        ("tf32", "high", torch.float32),
        ("bf16", "highest", torch.bfloat16),
    ],
)
def test_products_are_of_the_precision_and_afterwards_as_they_were(
    name, products, dtype, usual, monkeypatch
):
    usual[:] = ["medium"]
    monkeypatch.setattr(precision, "has_tf32", lambda _: True)
    with pytest.raises(ArithmeticError), computing(CPU, name):
        assert usual[-1] == products
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
        raise ArithmeticError
    assert usual[-1] == "medium"


def test_a_device_without_tf32_is_refused_in_one_line(usual):
    told = r"^precision tf32 needs a GPU .* a CPU: take fp32 or bf16$"
    with pytest.raises(UserError, match=told), computing(CPU, "tf32"):
        pass
    assert usual == ["highest"]


@pytest.mark.parametrize(("capability", "found"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_which_gpus_have_tf32(capability, found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert has_tf32(torch.device("cuda", 0)) == found
    assert not has_tf32(CPU)
