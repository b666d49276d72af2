"""Attention at another temperature in the forward pass: what is written, and its default."""

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from ke_steps import temper_attention
from ke_steps.settings.learning import TemperAttention


def temper(path, **settings):
    temper_attention.run(output=path, settings=TemperAttention(**settings))
    return path


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, [1.6, 1.0]), ({"course": "decaying"}, [1.6, 1.0]), ({"course": "constant"}, [1.6, 1.6])],
    ids=str,
)
def test_writes_the_temperatures_at_the_start_and_the_end(tmp_path, settings, expected):
    written = [temper(tmp_path / name, temperature=1.6, **settings) for name in "ab"]
    tensors = load_file(written[0])
    assert list(tensors) == ["attention_temperature"]
    assert tensors["attention_temperature"].dtype == np.float64
    assert tensors["attention_temperature"].tolist() == expected
    assert written[0].read_bytes() == written[1].read_bytes()


def test_no_model_is_loaded():
    """The job is over before torch would have been imported."""
    code = "import sys, ke_steps.temper_attention; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
