"""Compiled training: the numbers of single operations to rounding, the same bytes in each run."""

import signal

import numpy as np
import pytest
import torch

from ke_steps import inject_knowledge
from ke_steps.artefacts.parquet import read_frame
from ke_steps.job.errors import Stopped, UserError
from ke_steps.training import compiling
from ke_steps.training.compiling import refuse_compilation
from tests.invented.injections import build_inputs, inject
from tests.invented.training import CPU

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return build_inputs(tmp_path_factory.mktemp("inputs"))


def test_compiled_training_is_that_of_single_operations_and_goes_on_with_the_same_bytes(
    files, tmp_path, monkeypatch
):
    """It is used in training passes alone: probes of other lengths would be compiled each."""
    compile_, counts = torch.compile, []

    def counting(function, **keywords):
        made = compile_(function, **keywords)
        calls = []
        counts.append(calls)

        def call(*arguments, **given):
            calls.append(torch.is_grad_enabled())
            return made(*arguments, **given)

        return call

    inject(tmp_path / "plain", files)
    monkeypatch.setattr(torch, "compile", counting)
    written = inject(tmp_path / "compiled", files, compile=True)
    assert [len(calls) for calls in counts] == [12, 12, 12]
    assert all(all(calls) for calls in counts)
    ours, theirs = (
        read_frame(tmp_path / name / "training.parquet") for name in ("compiled", "plain")
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)

    observe = inject_knowledge._Probing.observe

    def stopping(self, model, step):
        observe(self, model, step)
        if step == 2:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(inject_knowledge._Probing, "observe", stopping)
        inject(tmp_path / "stopped", files, compile=True)
    assert inject(tmp_path / "stopped", files, compile=True) == written


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"is_dosed": True}, "not together with contribution_entropy_weight"),
        ({"is_tempered": True}, "not together with a course of attention's temperature"),
        ({"which": None}, "needs a C\\+\\+ compiler, and there is no g\\+\\+"),
        ({"sharding": "fsdp"}, "not with cluster.sharding: fsdp"),
        ({"device": torch.device("cuda")}, "needs the package triton"),
    ],
)
def test_what_cannot_be_compiled_is_refused(given, said, monkeypatch):
    keywords = {"is_dosed": False, "is_tempered": False}
    refuse_compilation(CPU, **keywords)
    keywords |= {key: value for key, value in given.items() if key in keywords}
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compiling.importlib.util, "find_spec", lambda name: None)
    if "which" in given:
        monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    if "sharding" in given:
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("KE_STEPS_SHARDING", "fsdp")
    with pytest.raises(UserError, match=f"^compile: {said}"):
        refuse_compilation(given.get("device", CPU), **keywords)
