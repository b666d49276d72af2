"""Models that compute in double precision throughout, so that rounding hides nothing."""

import pytest
import torch


@pytest.fixture
def in_double(monkeypatch):
    """Have what transformers computes in fp32 whatever the weights are (norms, loss) in fp64."""
    usual = torch.get_default_dtype()
    for name in ("float", "float32"):
        monkeypatch.setattr(torch, name, torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(usual)
