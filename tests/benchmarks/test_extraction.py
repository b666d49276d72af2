"""The benchmark of extraction: everyone measures the same, and nobody is left out in silence."""

import argparse

import numpy as np
import pytest
import torch

from benchmarks import extraction, extraction_parts, extraction_peers
from benchmarks.extraction_share import forward_share
from benchmarks.machine import olmo_config, random_model

SMALL = [
    *("--num-sequences", "4", "--batch-size-sequences", "2"),
    *("--sequence-length-tokens", "8", "--precisions", "fp32"),
]


@pytest.fixture(scope="module")
def model():
    """Return a random model of one layer."""
    options = argparse.Namespace(scale=0.0625, num_layers=1)
    return random_model(olmo_config(options), torch.device("cpu"))


def test_every_peer_has_its_row(run):
    said = run(extraction, *SMALL)
    rows = {line[:16].strip(): line for line in said.splitlines()}
    for name in ("bare forward", "extraction", *extraction.PEERS):
        assert "not installed" in rows[name] or rows[name].count(" to ") == 2
    assert "extraction to bare forward, goal 0.98" in said
    assert "timed inside, goal 0.98" in said


def test_what_only_an_extraction_does_is_timed_inside_of_it(model, monkeypatch):
    """On a clock that goes on by one with each look: two looks at each call and at the whole."""
    input_ids = np.random.default_rng(0).integers(2, 100, (4, 6), dtype=np.int32)
    options = argparse.Namespace(batch_size_sequences=2, num_threads=1)
    measure = extraction.extraction(model, input_ids, options)
    looks = iter(range(100))
    # two batches of one layer, the end, and the norms: six calls, 2 · 6 + 1 steps in all
    assert forward_share(measure, lambda: next(looks)) == 1 - 6 / 13
    assert next(looks) == 14


def test_every_part_has_its_row(run):
    rows = {line[:36].strip(): line for line in run(extraction_parts, *SMALL).splitlines()}
    for part in ("coefficients", "coefficients, groups", "attribution alone"):
        assert float(rows[part][36:48]) > 0


def test_parts_measure_what_a_study_asks_for(model):
    options = argparse.Namespace(batch_size_sequences=2, num_threads=1)
    input_ids = np.random.default_rng(0).integers(2, 100, (4, 6), dtype=np.int32)
    found = extraction_parts.build_measurements(model, input_ids, options)
    coefficients = found["coefficients"]()
    for name, measure in found.items():
        if name.startswith(("coefficients,", "all")):
            np.testing.assert_allclose(measure(), coefficients, rtol=1e-5)


def test_a_peer_that_measures_something_else_ends_the_benchmark(run, monkeypatch):
    def doubled(model, batches):
        measure = extraction_peers.plain_hooks(model, batches)
        return lambda: 2 * measure()

    monkeypatch.setitem(extraction.PEERS, "hooks", (doubled, None))
    with pytest.raises(SystemExit, match="hooks does not measure what the extraction does"):
        run(extraction, *SMALL)


@pytest.mark.parametrize(
    ("peer", "package"),
    [
        (extraction_peers.plain_hooks, "torch"),
        (extraction_peers.papers_loop, "torch"),
        (extraction_peers.nnsight, "nnsight"),
        (extraction_peers.transformer_lens, "transformer_lens"),
        (extraction_peers.hooks_for_one, "torch"),
    ],
)
def test_a_peer_gives_the_moments_of_each_memory(model, peer, package):
    pytest.importorskip(package, reason="a peer of the benchmarks, not installed")
    batches = torch.randint(2, 100, (4, 6)).split(2)
    block = model.base_model.layers[0]
    seen = []
    handle = block.post_attention_layernorm.register_forward_hook(
        lambda module, given, result: seen.append(result)
    )
    with torch.no_grad():
        model(torch.cat(batches))
        handle.remove()
        (x,) = seen
        mlp = block.mlp
        c = torch.nn.functional.silu(x @ mlp.gate_proj.weight.T) * (x @ mlp.up_proj.weight.T)
    is_active = (c.abs() > extraction_peers.THRESHOLD).float()
    expected = torch.stack([c.abs(), c, c.square(), is_active]).mean(dim=(1, 2))
    found = peer(model, batches)()[:, 0]
    np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-4, atol=1e-6)


def test_a_gpu_that_is_not_there_is_not_replaced(run, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="torch finds no GPU"):
        run(extraction, "--device", "cuda")
