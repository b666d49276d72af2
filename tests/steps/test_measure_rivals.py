"""What else could explain a checkpoint's learning: the whole table of one tiny model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from ke_steps import measure_rivals
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.rival_schemas import RIVALS
from ke_steps.job.errors import UserError
from ke_steps.models.feed_forward import feed_forward
from ke_steps.settings.measures import MeasureRivalsJob
from tests.invented.models import (
    NUM_LAYERS,
    NUM_MEMORIES,
    build_checkpoint,
    build_model,
    build_sequences,
    random_sequences,
)

SCALES = [0.1, 0.4]
GROUPS = ["model", "embeddings", "attention", "feed_forward"]


def job(**changes):
    keywords = {
        "new_corpus": "new",
        "held_out_corpus": "held_out",
        "num_sequences": 6,
        "batch_size_sequences": 4,
        "noise_scales": SCALES,
        "num_draws": 3,
        "num_threads": 1,
    }
    return MeasureRivalsJob(**(keywords | changes))


def measured(folder, model=None, **changes):
    """Run the step on a random model; return values by quantity and group, and the table."""
    activity = np.random.default_rng(0).random((NUM_LAYERS, NUM_MEMORIES))
    activity[1, :16] = 0
    layer = np.repeat(np.arange(NUM_LAYERS), NUM_MEMORIES)
    frame = pd.DataFrame({"layer": layer, "mean_absolute": activity.ravel()})
    frame.to_parquet(folder / "coefficients")
    texts = {
        name: build_sequences(folder / name, seed=number)
        for number, name in enumerate(("sequences", "held_out", "new_text"))
    }
    measure_rivals.run(
        checkpoint=build_checkpoint(folder / "model", model=model or build_model("llama")),
        coefficients=folder / "coefficients",
        output=folder / "rivals.parquet",
        settings=job(**changes),
        **texts,
    )
    return read_frame(folder / "rivals.parquet", RIVALS).set_index(["quantity", "group"])


@torch.no_grad()
def spectra(model):
    """Return the eigenvalues of E[c cᵀ] by layer, from the singular values of all coefficients."""
    kept = {}

    def keep(observed):
        kept[observed.layer] = observed.values.flatten(0, 1).double().numpy()

    with feed_forward(model).observing(keep):
        model(input_ids=torch.from_numpy(random_sequences(8, 16)[:6].astype(np.int64)))
    return [np.linalg.svd(c, compute_uv=False) ** 2 / len(c) for _, c in sorted(kept.items())]


def test_ranks_are_those_of_a_dense_svd_and_the_models_their_means(tmp_path):
    model = build_model("llama").eval()
    table = measured(tmp_path, model)["value"]
    expected = {"participation_ratio": [], "effective_rank": []}
    for spectrum in spectra(model):
        p = spectrum / spectrum.sum()
        expected["participation_ratio"].append(spectrum.sum() ** 2 / (spectrum**2).sum())
        expected["effective_rank"].append(np.exp(stats.entropy(p)))
    for quantity, by_layer in expected.items():
        for layer, value in enumerate(by_layer):
            assert table[quantity, f"layer {layer}"] == pytest.approx(value, rel=1e-4)
            assert 1 < value < NUM_MEMORIES
        assert table[quantity, "model"] == pytest.approx(np.mean(by_layer), rel=1e-4)


def test_of_drawn_memories_the_ratio_is_near_and_the_rank_unknown(tmp_path):
    whole, part = measured(tmp_path)["value"], measured(tmp_path, max_memories=40)["value"]
    ratio = ("participation_ratio", "model")
    assert part[ratio] == pytest.approx(whole[ratio], rel=0.2)
    assert part[ratio] != whole[ratio]
    assert np.isnan(part["effective_rank"]).all()


def test_dormancy_is_counted_at_three_thresholds(tmp_path):
    table = measured(tmp_path)["value"]
    assert table["dormant_at_0", "layer 0"] == 0
    assert table["dormant_at_0", "layer 1"] == 0.25
    assert table["dormant_at_0", "model"] == 0.125
    dormant = [table[f"dormant_at_{tau}", "model"] for tau in ("0", "0.025", "0.1")]
    assert dormant == sorted(dormant)
    assert dormant[2] > dormant[0]


def test_norms_losses_and_noise_are_there_for_every_group(tmp_path):
    model = build_model("llama")
    found = measured(tmp_path, model)
    table = found["value"]
    joined = torch.cat([each.detach().flatten() for each in model.parameters()])
    assert table["weight_norm", "model"] == pytest.approx(float(joined.double().norm()), rel=1e-6)
    for quantity in ("weight_norm", "gradient_norm"):
        assert set(table[quantity].index) == set(GROUPS)
        parts = np.sqrt(sum(table[quantity, group] ** 2 for group in GROUPS[1:]))
        assert 0 < parts <= table[quantity, "model"] * (1 + 1e-9)
    with torch.no_grad():
        ids = torch.from_numpy(random_sequences(8, 16, seed=1)[:6].astype(np.int64))
        expected = float(model.eval()(input_ids=ids, labels=ids).loss)
    assert table["held_out_loss_nats", "model"] == pytest.approx(expected, rel=1e-5)
    noise = found.loc["sensitivity_nats"]
    assert list(noise.index) == [f"{group} γ={scale:g}" for group in GROUPS for scale in SCALES]
    assert (noise["num_items"] == 3).all()
    for _, row in noise.iterrows():
        low, high = stats.t.interval(0.95, 2, np.mean(row["draws"]), stats.sem(row["draws"]))
        assert (row["value"], row["low"], row["high"]) == pytest.approx(
            (np.mean(row["draws"]), low, high)
        )


def test_the_same_settings_give_the_same_bytes_and_another_seed_other_noise(tmp_path):
    bytes_of = []
    for seed in (0, 0, 1):
        measured(tmp_path, seed=seed)
        bytes_of.append((tmp_path / "rivals.parquet").read_bytes())
    assert bytes_of[0] == bytes_of[1] != bytes_of[2]


def test_too_short_a_corpus_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"measure_rivals\.num_sequences: 9 .* the 8 sequences"):
        measured(tmp_path, num_sequences=9)
