"""Entropy and its relatives against closed forms, scipy and brute force."""

import math

import numpy as np
import pytest
import scipy.stats

from ke_steps import _tables, aggregate_entropy
from ke_steps._errors import UserError
from ke_steps.settings import AggregateEntropy

QUANTITIES = [
    "entropy_nats",
    "normalized_entropy",
    "effective_number",
    "gini",
    "top_1_percent_share",
    "dormant_fraction",
]


def job(**overrides):
    keywords = {"num_bootstrap": 200, "confidence": 0.95, "dormant_ratio": 0.1, "seed": 0}
    return AggregateEntropy(**(keywords | overrides))


def random_activity(num_layers=3, num_groups=8, m=50, seed=0):
    return np.random.default_rng(seed).gamma(0.5, size=(num_layers, num_groups, m))


def write_coefficients(path, group_activity):
    num_layers, num_groups, m = group_activity.shape
    flat = group_activity.swapaxes(1, 2).reshape(-1, num_groups)
    columns = {
        "layer": np.repeat(np.arange(num_layers), m),
        "memory": np.tile(np.arange(m), num_layers),
        "mean_absolute": flat.mean(axis=1),
        "mean": np.zeros(len(flat)),
        "mean_square": np.zeros(len(flat)),
        "active_fraction": np.zeros(len(flat)),
        "group_mean_absolute": list(flat),
    }
    _tables.write_table(path, columns, _tables.coefficients_schema(num_groups))
    return path


def aggregate(tmp_path, group_activity, **overrides):
    path = write_coefficients(tmp_path / "coefficients.parquet", group_activity)
    output = tmp_path / "entropy.parquet"
    aggregate_entropy.run(coefficients=path, output=output, settings=job(**overrides))
    return _tables.read_frame(output, _tables.ENTROPY)


def values(frame, layer=None):
    rows = frame[frame["layer"].isna() if layer is None else frame["layer"] == layer]
    return dict(zip(rows["quantity"], rows["value"], strict=True))


def test_alike_memories():
    found = aggregate_entropy.quantities(np.full(200, 0.3), dormant_ratio=0.1)
    assert found["entropy_nats"] == pytest.approx(math.log(200))
    assert found["normalized_entropy"] == pytest.approx(1)
    assert found["effective_number"] == pytest.approx(200)
    assert found["gini"] == pytest.approx(0, abs=1e-12)
    assert found["top_1_percent_share"] == pytest.approx(0.01)
    assert found["dormant_fraction"] == 0


def test_one_memory_does_everything():
    found = aggregate_entropy.quantities(np.eye(200)[3] * 5, dormant_ratio=0.1)
    assert found["entropy_nats"] == 0
    assert found["effective_number"] == 1
    assert found["gini"] == pytest.approx(1 - 1 / 200)
    assert found["top_1_percent_share"] == 1
    assert found["dormant_fraction"] == pytest.approx(199 / 200)


@pytest.mark.parametrize("r", [0.1, 0.5, 0.9])
def test_geometric_distribution(r):
    """H = -log(1 - r) - r log r / (1 - r) for p = (1 - r) rⁱ over all i; 2000 terms suffice."""
    expected = -math.log(1 - r) - r * math.log(r) / (1 - r)
    assert aggregate_entropy.entropy_nats(r ** np.arange(2000.0)) == pytest.approx(expected)


def test_entropy_equals_scipy():
    activity = random_activity()
    found = aggregate_entropy.entropy_nats(activity)
    np.testing.assert_allclose(found, scipy.stats.entropy(activity, axis=-1), rtol=1e-12)


def test_entropy_is_blind_to_scale_and_order():
    activity = random_activity(m=50)[0, 0]
    shuffled = np.random.default_rng(1).permutation(activity) * 7
    assert aggregate_entropy.entropy_nats(shuffled) == pytest.approx(
        aggregate_entropy.entropy_nats(activity)
    )


def test_gini_is_the_mean_difference():
    activity = random_activity(m=50)[0, 0]
    differences = np.abs(activity[:, None] - activity[None, :]).mean()
    assert aggregate_entropy.gini(activity) == pytest.approx(differences / (2 * activity.mean()))


@pytest.mark.parametrize(("m", "num_top"), [(64, 1), (100, 1), (101, 2), (350, 4)])
def test_top_share_rounds_up(m, num_top):
    activity = random_activity(m=m)[0, 0]
    expected = np.sort(activity)[-num_top:].sum() / activity.sum()
    assert aggregate_entropy.top_share(activity, 0.01) == pytest.approx(expected)


def test_dormant_means_below_a_share_of_the_mean():
    activity = np.array([0.0, 0.1, 1.0, 2.9])
    assert aggregate_entropy.dormant_fraction(activity, 0.1) == 0.25
    assert aggregate_entropy.dormant_fraction(activity, 0.2) == 0.5


def test_rows_of_layers_and_model(tmp_path):
    group_activity = random_activity()
    frame = aggregate(tmp_path, group_activity)
    layers = [values(frame, layer) for layer in range(3)]
    model = values(frame)
    assert list(model) == QUANTITIES
    for layer, found in enumerate(layers):
        activity = group_activity[layer].mean(axis=0)
        expected = aggregate_entropy.quantities(activity, 0.1)
        assert found == pytest.approx({name: float(v) for name, v in expected.items()})
    entropies = [found["entropy_nats"] for found in layers]
    assert model["entropy_nats"] == pytest.approx(sum(entropies))
    assert model["normalized_entropy"] == pytest.approx(sum(entropies) / (3 * math.log(50)))
    assert model["effective_number"] == pytest.approx(math.exp(sum(entropies) / 3))
    for name in ("gini", "top_1_percent_share", "dormant_fraction"):
        assert model[name] == pytest.approx(np.mean([found[name] for found in layers]))


def test_interval_equals_scipy(tmp_path):
    """Both bounds within Monte-Carlo error: a tenth of the interval's width."""
    group_activity = random_activity(num_layers=2, num_groups=12)
    frame = aggregate(tmp_path, group_activity, num_bootstrap=4000)
    row = frame[frame["layer"].isna() & (frame["quantity"] == "entropy_nats")].iloc[0]

    def model_entropy(groups):
        return sum(
            float(scipy.stats.entropy(group_activity[layer, groups].mean(axis=0)))
            for layer in range(2)
        )

    expected = scipy.stats.bootstrap(
        (np.arange(12),),
        model_entropy,
        vectorized=False,
        n_resamples=4000,
        method="basic",
        rng=np.random.default_rng(1),
    ).confidence_interval
    tolerance = 0.1 * (expected.high - expected.low)
    assert row["low"] == pytest.approx(expected.low, abs=tolerance)
    assert row["high"] == pytest.approx(expected.high, abs=tolerance)


def test_equal_groups_leave_no_interval(tmp_path):
    group_activity = np.repeat(random_activity(num_groups=1), 4, axis=1)
    frame = aggregate(tmp_path, group_activity)
    np.testing.assert_allclose(frame["low"], frame["value"], rtol=1e-9)
    np.testing.assert_allclose(frame["high"], frame["value"], rtol=1e-9)


def test_same_seed_same_bytes(tmp_path):
    written = []
    for seed in (0, 0, 1):
        aggregate(tmp_path, random_activity(), seed=seed)
        written.append((tmp_path / "entropy.parquet").read_bytes())
    assert written[0] == written[1] != written[2]


def test_bad_tables_are_refused(tmp_path):
    group_activity = random_activity()
    group_activity[1] = 0
    with pytest.raises(UserError, match="layer 1 has no activity at all"):
        aggregate(tmp_path, group_activity)
    path = tmp_path / "foreign.parquet"
    _tables.write_table(path, [], _tables.ENTROPY)
    with pytest.raises(UserError, match="not a table of coefficients"):
        aggregate_entropy.run(coefficients=path, output=tmp_path / "x.parquet", settings=job())
