"""Entropies of layers and model by every measure, with their intervals."""

import math

import numpy as np
import pytest
import scipy.stats

from ke_steps import aggregate_entropy
from ke_steps.artefacts.activity_schemas import DISTRIBUTION
from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.measure_schemas import ENTROPY, TOKEN_ENTROPIES
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.replicates import REPLICATES
from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights
from ke_steps.formulas.entropy import quantities
from ke_steps.job.errors import UserError
from ke_steps.settings.measures import AggregateEntropy
from tests.invented.activity import random_activity, write_coefficients

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


def write_token_entropies(path, attention=None, next_token=None):
    """Write entropies of attention (L, H, G) and of predictions (G,), in reverse order."""
    rows = []
    for (layer, head, group), value in np.ndenumerate(
        np.empty((0, 0, 0)) if attention is None else attention
    ):
        row = {"layer": layer, "head": head, "group": group, "entropy_nats": value}
        rows.append(row | {"quantity": "attention"})
    for group, value in enumerate([] if next_token is None else next_token):
        rows.append({"quantity": "next_token", "group": group, "entropy_nats": value})
    write_table(path, rows[::-1], TOKEN_ENTROPIES)
    return path


def aggregate_all(
    tmp_path, group_activity, *, attention=None, next_token=None, columns=(), text="t", **overrides
):
    output = tmp_path / "entropy.parquet"
    sequences = tmp_path / "sequences.parquet"
    sequences.write_text(text)
    aggregate_entropy.run(
        coefficients=write_coefficients(
            tmp_path / "coefficients.parquet", group_activity, **dict(columns)
        ),
        token_entropies=write_token_entropies(
            tmp_path / "token_entropies.parquet", attention, next_token
        ),
        sequences=sequences,
        output_entropy=output,
        output_replicates=tmp_path / "replicates.parquet",
        output_activity=tmp_path / "activity.parquet",
        output_distribution=tmp_path / "distribution.parquet",
        settings=job(**overrides),
    )
    return read_frame(output, ENTROPY)


def aggregate(tmp_path, group_activity, **overrides):
    frame = aggregate_all(tmp_path, group_activity, **overrides)
    return frame[frame["measure"] == "absolute"]


def values(frame, layer=None):
    rows = frame[frame["layer"].isna() if layer is None else frame["layer"] == layer]
    return dict(zip(rows["quantity"], rows["value"], strict=True))


def test_rows_of_layers_and_model(tmp_path):
    group_activity = random_activity()
    frame = aggregate(tmp_path, group_activity)
    layers = [values(frame, layer) for layer in range(3)]
    model = values(frame)
    assert list(model) == QUANTITIES
    for layer, found in enumerate(layers):
        activity = group_activity[layer].mean(axis=0)
        expected = quantities(activity, 0.1)
        assert found == pytest.approx({name: float(v) for name, v in expected.items()})
    entropies = [found["entropy_nats"] for found in layers]
    assert model["entropy_nats"] == pytest.approx(sum(entropies))
    assert model["normalized_entropy"] == pytest.approx(sum(entropies) / (3 * math.log(50)))
    assert model["effective_number"] == pytest.approx(math.exp(sum(entropies) / 3))
    for name in ("gini", "top_1_percent_share", "dormant_fraction"):
        assert model[name] == pytest.approx(np.mean([found[name] for found in layers]))


def other_measures(seed=1):
    """Return columns of random signs, norms and extra measures, and activities by measure."""
    generator = np.random.default_rng(seed)
    absolute = random_activity()
    signed = absolute * generator.uniform(-1, 1, absolute.shape)
    norms = generator.gamma(2, size=(3, 50))
    relu, attribution = generator.gamma(0.5, size=(2, *absolute.shape))
    columns = {
        "group_mean": signed,
        "memory_norm": norms,
        "group_mean_relu_gate": relu,
        "group_mean_attribution": attribution,
    }
    return columns, {
        "absolute": absolute,
        "positive": (absolute + signed) / 2,
        "contribution": absolute * norms[:, None],
        "relu_gate": relu,
        "attribution": attribution,
    }


def test_every_measure_has_every_quantity(tmp_path):
    """Each as if its activities were the absolute ones; single precision of extra columns."""
    columns, activities = other_measures()
    frame = aggregate_all(tmp_path, activities["absolute"], columns=columns)
    assert list(dict.fromkeys(frame["measure"])) == list(activities)
    for measure, activity in activities.items():
        found = frame[frame["measure"] == measure].drop(columns="measure")
        expected = aggregate(tmp_path, activity).drop(columns="measure")
        assert found["quantity"].tolist() == expected["quantity"].tolist()
        for column in ("value", "low", "high"):
            np.testing.assert_allclose(found[column], expected[column], rtol=1e-5, atol=1e-6)


def test_measures_that_were_not_extracted_have_no_rows(tmp_path):
    frame = aggregate_all(tmp_path, random_activity())
    assert set(frame["measure"]) == {"absolute", "positive", "contribution"}


def test_a_memory_that_is_never_positive(tmp_path):
    """Its mean |c| and its mean c are rounded apart; the difference must not be negative."""
    absolute = random_activity(seed=3)
    signed = absolute.copy()
    signed[:, :, :25] *= -1
    assert ((absolute + signed.astype(np.float32)) < 0).any()
    frame = aggregate_all(tmp_path, absolute, columns={"group_mean": signed})
    found = values(frame[frame["measure"] == "positive"], 0)
    expected = quantities(absolute[0].mean(axis=0)[25:], 0.1)
    assert found["entropy_nats"] == pytest.approx(expected["entropy_nats"], rel=1e-5)


def test_attention_and_next_token(tmp_path):
    """Sums over layers of means over heads, with the bootstrap over groups; four groups here."""
    generator = np.random.default_rng(0)
    attention, next_token = generator.random((3, 2, 4)), generator.random(4)
    frame = aggregate_all(
        tmp_path, random_activity(), attention=attention, next_token=next_token, num_bootstrap=500
    )
    rows = frame[frame["measure"] == "attention"]
    assert set(rows["quantity"]) == {"entropy_nats"}
    assert rows["value"].tolist() == pytest.approx(
        [*attention.mean(axis=(1, 2)), attention.mean(axis=(1, 2)).sum()]
    )
    assert rows["layer"].fillna(-1).tolist() == [0, 1, 2, -1]
    by_group = {"attention": attention.mean(axis=1).sum(axis=0), "next_token": next_token}
    weights = bootstrap_weights(4, 500, seed=0)
    for measure, groups in by_group.items():
        row = frame[(frame["measure"] == measure) & frame["layer"].isna()].iloc[0]
        lower, upper = np.quantile(weights @ groups, [0.025, 0.975])
        assert row["value"] == pytest.approx(groups.mean())
        assert row["low"] == pytest.approx(2 * groups.mean() - upper)
        assert row["high"] == pytest.approx(2 * groups.mean() - lower)
    assert len(frame[frame["measure"] == "next_token"]) == 1


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
    assert row["high"] == pytest.approx(min(expected.high, 2 * math.log(50)), abs=tolerance)


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


def test_replicates_are_those_of_the_intervals_and_named_after_their_sequences(tmp_path):
    generator = np.random.default_rng(0)
    activity, attention = random_activity(), generator.random((3, 2, 4))
    more = {"attention": attention, "next_token": generator.random(4)}
    frame = aggregate_all(tmp_path, activity, **more)
    kept = read_frame(tmp_path / "replicates.parquet", REPLICATES)
    is_entropy = frame["quantity"] == "entropy_nats"
    assert len(kept) == is_entropy.sum() == 3 * 4 + 4 + 1
    for row, told in zip(
        kept.to_dict("records"), frame[is_entropy].to_dict("records"), strict=True
    ):
        measure, layer = told["measure"], told["layer"]
        prefix = "" if measure == "absolute" else f"{measure}_"
        assert row["quantity"] == f"{prefix}entropy_nats"
        assert row["group"] == ("model" if math.isnan(layer) else f"layer {layer:.0f}")
        assert row["value"] == told["value"]
        low, high = basic_interval(row["value"], row["replicates"], 0.95)
        is_bounded = measure not in ("attention", "next_token")
        bound = (3 if math.isnan(layer) else 1) * math.log(50) if is_bounded else math.inf
        assert (low, min(high, bound)) == pytest.approx((told["low"], told["high"]))
        assert row["num_units"] == told["num_items"]
    assert kept["units"].nunique() == len(set(frame["measure"]))
    units = kept["units"].tolist()
    for changes, is_same in (({}, True), ({"text": "u"}, False), ({"seed": 1}, False)):
        aggregate_all(tmp_path, random_activity(seed=9), **(more | changes))
        again = read_frame(tmp_path / "replicates.parquet")["units"]
        assert (again == units).all() == is_same


def test_no_interval_leaves_what_a_quantity_can_be(tmp_path):
    """Nearly equal memories: the reflected interval of H would go beyond ln m."""
    activity = 1 + 0.001 * random_activity()
    frame = aggregate_all(tmp_path, activity, dormant_ratio=0.1)
    highest = {"entropy_nats": math.log(50), "effective_number": 50}
    for quantity in QUANTITIES:
        rows = frame[frame["quantity"] == quantity]
        layers, model = rows[rows["layer"].notna()], rows[rows["layer"].isna()]
        of_model = 3 if quantity == "entropy_nats" else 1
        for part, times in ((layers, 1), (model, of_model)):
            assert (part["low"] >= 0).all()
            assert (part["high"] <= times * highest.get(quantity, 1) + 1e-9).all()


def test_small_tables_have_what_the_summary_needs_of_coefficients(tmp_path):
    group_activity = random_activity(m=500)
    group_activity[1] = 0
    aggregate_all(tmp_path, group_activity)
    activity = read_activity(tmp_path / "activity.parquet")
    assert (activity == read_activity(tmp_path / "coefficients.parquet")).all()
    table = read_frame(tmp_path / "distribution.parquet", DISTRIBUTION)
    for layer, found in table.groupby("layer"):
        assert list(found["quantile"]) == [0.001, *(n / 100 for n in range(1, 100)), 0.999]
        mean = activity[layer].mean() or np.nan
        expected = np.quantile(activity[layer], found["quantile"]) / mean
        assert found["relative_activity"].to_numpy() == pytest.approx(expected, nan_ok=True)
    assert table["relative_activity"].isna().sum() == 101


def test_bad_tables_are_refused(tmp_path):
    path = tmp_path / "foreign.parquet"
    write_table(path, [], ENTROPY)
    coefficients = write_coefficients(tmp_path / "coefficients.parquet", random_activity())
    for first, second, message in (
        (path, path, "not a table of coefficients"),
        (coefficients, path, "columns are .*, expected .*'quantity', 'layer', 'head'"),
    ):
        with pytest.raises(UserError, match=message):
            aggregate_entropy.run(
                coefficients=first,
                token_entropies=second,
                sequences=coefficients,
                output_entropy=tmp_path / "x.parquet",
                output_replicates=tmp_path / "y.parquet",
                output_activity=tmp_path / "z.parquet",
                output_distribution=tmp_path / "w.parquet",
                settings=job(),
            )
