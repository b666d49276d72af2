"""What an intervention on memories writes, and what it makes of every family, in fp64."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ke_steps import intervene
from ke_steps.artefacts.interventions import read_intervention
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.text_schemas import PROBES
from ke_steps.formulas.entropy import entropy_nats
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import feed_forward
from ke_steps.models.intervening import intervene as apply
from ke_steps.models.loading import load_model
from ke_steps.settings.interventions import Intervene
from tests.invented.activity import write_coefficients
from tests.invented.models import (
    FAMILIES,
    HIDDEN_SIZE,
    NUM_LAYERS,
    NUM_MEMORIES,
    build_checkpoint,
    random_sequences,
)

CPU = torch.device("cpu")
INPUT_IDS = torch.from_numpy(random_sequences(3, 16)).long()
GATED = [name for name in FAMILIES if name not in ("gpt_neox", "gpt2")]
RELU = {"gpt_neox": {"hidden_act": "relu"}, "gpt2": {"activation_function": "relu"}}
EXACT = [*((name, {}, "up") for name in GATED), *((n, more, "key") for n, more in RELU.items())]
"""Families with a gauge, what their config must say for it, and the rows that it scales."""

each_exact = pytest.mark.parametrize(("family", "overrides", "rows"), EXACT, ids=str)
ALGORITHM = {"quantile": 0.5, "boost": 2.0}


class Study:
    """A checkpoint with its measured activity, and its arms in fp64."""

    def __init__(self, folder, family="olmo", **overrides):
        self.folder = folder
        self.manifest = build_checkpoint(folder / "model", family, **overrides)
        self.activity = observe(self.load())[0]
        self.coefficients = write_coefficients(
            folder / "coefficients.parquet", self.activity[:, None].repeat(2, axis=1)
        )

    def write(self, kind, draw=0, name="intervention", **settings):
        """Run the step; return the file."""
        variant = {"kind": kind} | ALGORITHM | settings
        output = self.folder / f"{name}.safetensors"
        intervene.run(
            checkpoint=self.manifest,
            coefficients=self.coefficients,
            output=output,
            settings=Intervene.model_validate({"intervention": variant, "draw": draw}),
        )
        return output

    def load(self, *interventions):
        """Return the model in fp64, with interventions one after another."""
        model = load_model(self.manifest, device=CPU).double()
        model.set_experts_implementation("eager")  # the usual one knows no fp64
        for path in interventions:
            apply(model, read_intervention(path), where=str(path))
        return model

    def multipliers(self):
        """Algorithm 1 by hand, (L, m), as a file holds it."""
        c = self.activity
        threshold = np.quantile(c, 0.5, axis=1, keepdims=True)
        s = np.where(c <= threshold, 2 * c.mean(axis=1, keepdims=True) / c, 1)
        return s.astype(np.float32)


def observe(model):
    """Return mean |c| (L, m) fp64, and the logits."""
    layers = feed_forward(model)
    total = torch.zeros(layers.num_layers, layers.num_memories, dtype=torch.float64)

    def add(c):
        values = c.values.abs().double().flatten(0, -2).sum(dim=0)
        total[c.layer, c.first_memory : c.first_memory + len(values)] += values

    with torch.no_grad(), layers.observing(add):
        logits = model(INPUT_IDS, use_cache=False).logits
    return (total / INPUT_IDS.numel()).numpy(), logits


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@each_exact
def test_the_gauge_keeps_the_function_and_moves_absolute_entropy(tmp_path, family, overrides, rows):
    study = Study(tmp_path, family, **overrides)
    activity, logits = observe(study.load())
    s = study.multipliers().astype(float)
    for kind, expected in (("gauge", s * activity), ("inverse_gauge", activity / s)):
        moved, found = observe(study.load(study.write(kind, rows=rows)))
        close(found, logits)
        np.testing.assert_allclose(moved, expected, rtol=1e-6)
        np.testing.assert_allclose(entropy_nats(moved), entropy_nats(expected), rtol=1e-9)
        assert abs(entropy_nats(moved) - entropy_nats(activity)).min() > 1e-3


@each_exact
def test_resuscitation_is_the_gauge_after_the_function(tmp_path, family, overrides, rows):
    study = Study(tmp_path, family, **overrides)
    plain = study.load()
    function = study.write("function", name="function")
    woken = study.load(study.write("resuscitate", rows=rows, name="resuscitate"))
    both = study.load(function, study.write("gauge", rows=rows, name="gauge"))
    for found, expected in zip(both.parameters(), woken.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
    # so that the function alone is what resuscitation computes, and no other
    logits = observe(study.load(function))[1]
    close(logits, observe(woken)[1])
    assert (logits - observe(plain)[1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_function_scales_memory_vectors_alone(tmp_path, family):
    study = Study(tmp_path, family)
    plain, changed = (feed_forward(m) for m in (study.load(), study.load(study.write("function"))))
    for layer, s in enumerate(torch.from_numpy(study.multipliers()).double()):
        expected = plain.memory_vectors(layer) * s[:, None]
        close(changed.memory_vectors(layer), expected)
        for keys, before in zip(changed.keys(layer), plain.keys(layer), strict=True):
            assert torch.equal(keys, before)


def moves(study, path):
    """Return ‖Δrow‖ and ‖row‖ (L, m) of up rows with biases, then of vectors, and others' Δ."""
    before, after = study.load(), study.load(path)
    found = []
    for read in ("up_rows", "vector_rows"):
        pairs = [
            [torch.cat([w.reshape(NUM_MEMORIES, -1), *([b[:, None]] if b is not None else [])], 1)
             for w, b in (getattr(feed_forward(m), read)(layer) for m in (after, before))]
            for layer in range(NUM_LAYERS)
        ]  # fmt: skip
        found.append(torch.stack([(a - b).norm(dim=1) for a, b in pairs]).detach().numpy())
        found.append(torch.stack([b.norm(dim=1) for _, b in pairs]).detach().numpy())
    changed = sum(
        not torch.equal(a, b) for a, b in zip(after.parameters(), before.parameters(), strict=True)
    )
    return *found, changed


@pytest.mark.parametrize("of", ["resuscitate", "gauge", "inverse_gauge"])
@each_exact
def test_noise_moves_the_same_rows_as_far(tmp_path, family, overrides, rows, of):
    study = Study(tmp_path, family, **overrides)
    base = moves(study, study.write(of, rows=rows, name="base"))
    noise = moves(study, study.write("noise", of=of, rows=rows, draw=3))
    for moved, expected, norms in ((noise[0], base[0], base[1]), (noise[2], base[2], base[3])):
        np.testing.assert_allclose(moved, expected, rtol=1e-6, atol=1e-7 * norms.max())
        assert ((moved > 0) == (expected > 0)).all()
    assert noise[-1] == base[-1]
    assert (base[0] > 0).mean() == 0.5


def test_directions_of_noise_are_of_their_seed_alone_and_even(tmp_path):
    study = Study(tmp_path)
    plain = study.load()
    found = []
    for draw in (0, 0, 1):
        model = study.load(study.write("noise", of="gauge", draw=draw, name=f"d{draw}"))
        up = [feed_forward(m).up_rows(0).weight for m in (model, plain)]
        vectors = [feed_forward(m).vector_rows(0).weight for m in (model, plain)]
        rows = (up[0] - up[1], vectors[0] - vectors[1])
        found.append([r[r.norm(dim=1) > 0].detach() for r in rows])
    for first, again, other in zip(*found, strict=True):
        assert torch.equal(first, again)
        cosines = torch.cosine_similarity(first, other, dim=1)
        assert cosines.abs().mean() < 3 / HIDDEN_SIZE**0.5
        unit = first / first.norm(dim=1, keepdim=True)
        assert unit.mean(dim=0).abs().max() < 0.2  # no direction is preferred
    assert torch.cosine_similarity(*found[0], dim=1).abs().max() < 0.9  # nor one shared


@pytest.mark.parametrize("of", ["resuscitate", "gauge", "inverse_gauge"])
def test_controls_are_the_same_multipliers_on_other_memories(tmp_path, of):
    study = Study(tmp_path)
    base = load_file(study.write(of, name="base"))
    draws = [load_file(study.write("permuted", of=of, draw=draw)) for draw in range(3)]
    top = load_file(study.write("top", of=of))
    for name, factors in base.items():
        for found in (*draws, top):
            np.testing.assert_array_equal(np.sort(found[name]), np.sort(factors))
            assert not np.array_equal(found[name], factors)
        assert len({found[name].tobytes() for found in draws}) == 3
        order = np.argsort(study.activity, axis=1)
        np.testing.assert_array_equal(
            np.take_along_axis(top[name], order[:, ::-1], axis=1),
            np.take_along_axis(factors, order, axis=1),
        )
    if "memory_vectors" in base:  # still a gauge
        for found in (*draws, top):
            product = found["up_rows"].astype(float) * found["memory_vectors"]
            np.testing.assert_allclose(product, 1, rtol=1e-15)


@pytest.mark.parametrize("family", ["olmo", "mixtral"])
def test_on_load_a_gauge_is_exact_but_for_the_rounding_of_weights(tmp_path, family):
    study = Study(tmp_path, family)
    path = study.write("gauge")
    plain, changed = (load_model(study.manifest, intervention=i, device=CPU) for i in (None, path))
    assert next(changed.parameters()).dtype == torch.float32
    activity, logits = observe(plain)
    moved, found = observe(changed)
    torch.testing.assert_close(found, logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(moved, activity * study.multipliers(), rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"kind": "resuscitate"}, ["up_rows"]),
        ({"kind": "gauge"}, ["memory_vectors", "up_rows"]),
        ({"kind": "function"}, ["memory_vectors"]),
        ({"kind": "permuted", "of": "resuscitate"}, ["up_rows"]),
        ({"kind": "top", "of": "gauge"}, ["memory_vectors", "up_rows"]),
        ({"kind": "noise", "of": "gauge"}, ["memory_vectors_noise", "noise_seed", "up_rows_noise"]),
    ],
    ids=str,
)
def test_writes_these_tensors_and_the_same_bytes_again(tmp_path, settings, names):
    study = Study(tmp_path)
    written = [study.write(**settings, draw=2, name=name) for name in "ab"]
    tensors = load_file(written[0])
    assert sorted(tensors) == names
    assert written[0].read_bytes() == written[1].read_bytes()
    if settings["kind"] == "resuscitate":
        np.testing.assert_allclose(tensors["up_rows"], study.multipliers(), rtol=1e-6)
        assert tensors["up_rows"].dtype == np.float32
    if settings["kind"] == "noise":
        assert tensors["noise_seed"] == 2


@pytest.mark.parametrize("family", ["gpt_neox", "gpt2"])
@pytest.mark.parametrize("kind", ["gauge", "inverse_gauge", "permuted", "noise"])
def test_a_bent_gauge_is_refused(tmp_path, family, kind):
    study = Study(tmp_path, family)
    settings = {"of": "gauge"} if kind in ("permuted", "noise") else {}
    key = "hidden_act" if family == "gpt_neox" else "activation_function"
    with pytest.raises(UserError, match=rf"config\.json: {key} is gelu.*no gauge that leaves"):
        study.write(kind, rows="key", **settings)
    with pytest.raises(UserError, match="has ungated feed-forward layers"):
        study.write(kind, rows="up", **settings)
    assert not (tmp_path / "intervention.safetensors").exists()
    # what is measured, not promised, is allowed
    assert sorted(load_file(study.write("resuscitate", rows="key"))) == ["key_rows"]


def test_key_rows_of_a_gated_model_are_refused(tmp_path):
    study = Study(tmp_path)
    with pytest.raises(UserError, match=r"has gated feed-forward layers.*take rows: up"):
        study.write("resuscitate", rows="key")


def test_a_foreign_table_and_no_table_are_refused(tmp_path):
    study = Study(tmp_path)
    write_table(study.coefficients, [], PROBES)
    with pytest.raises(UserError, match="not a table of coefficients"):
        study.write("gauge")
    study.coefficients = None
    with pytest.raises(UserError, match="--coefficients: missing, but needed by kind gauge"):
        study.write("gauge")


def test_no_model_is_loaded():
    """The job is over before torch would have been imported."""
    code = "import sys, ke_steps.intervene; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
