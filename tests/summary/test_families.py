"""The mean of a family equals what is worked out by hand: runs of one pretraining, as seeds are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CLAIMS, ESTIMATES, FAMILIES
from ke_steps.figures import style
from ke_steps.figures.entropy import entropy_by_stage
from ke_steps.summary.families import families_of
from tests.invented.figures import plotted, read_tables, title
from tests.invented.study import SETTINGS, SyntheticStudy

H = {"variant": "original", "recipe": None, "group": "model", "quantity": "entropy_nats"}


def estimates(values: dict[str, dict[int, float]], half: float) -> pd.DataFrame:
    """Return H by model and step, each with the same sampling interval."""
    rows = [
        {**H, "model": model, "step": step, "is_trained": step > 0, "unit": "nats", "value": value}
        | {"low": value - half, "high": value + half}
        for model, stages in values.items()
        for step, value in stages.items()
    ]
    return pd.DataFrame(rows, columns=ESTIMATES.names)


def test_the_interval_holds_the_sampling_and_the_spread_between_runs() -> None:
    values = {"a": {8: 3.0, 16: 2.0}, "b": {8: 3.4, 16: 2.2}, "c": {8: 3.1, 16: 2.4}}
    half = 0.1
    table = families_of(estimates(values, half), dict.fromkeys(values, "f"), SETTINGS)
    assert table["family"].tolist() == ["f", "f"]
    assert table["num_models"].tolist() == [3, 3]
    by_step = {8: [3.0, 3.4, 3.1], 16: [2.0, 2.2, 2.4]}
    variance = np.mean([np.var(found, ddof=1) for found in by_step.values()]) / 3
    squared = (half / stats.norm.ppf(0.975)) ** 2 + variance
    freedom = 4 * (squared / variance) ** 2
    expected = stats.t.ppf(0.975, freedom) * math.sqrt(squared)
    for row in table.to_dict("records"):
        assert list(row["values"]) == by_step[row["step"]]
        assert row["models"] == ["a", "b", "c"]
        assert row["value"] == pytest.approx(np.mean(by_step[row["step"]]))
        assert row["high"] - row["value"] == pytest.approx(expected)
        assert row["value"] - row["low"] == pytest.approx(expected)
        assert row["interval_kind"] == "bootstrap over groups of sequences and models"


def test_models_without_a_family_are_in_none() -> None:
    values = {"a": {8: 3.0}, "b": {8: 3.4}, "c": {8: 9.0}}
    table = families_of(estimates(values, 0.1), {"a": "f", "b": "f"}, SETTINGS)
    assert table["value"].tolist() == pytest.approx([3.2])
    nothing = families_of(estimates(values, 0.1), {}, SETTINGS)
    assert nothing.empty
    assert list(nothing) == FAMILIES.names


def test_a_study_tells_its_families(tmp_path: Path) -> None:
    study = SyntheticStudy(
        tmp_path,
        models=("run1", "run2", "other"),
        steps=(0, 400, 2000),
        families={"run1": "pythia", "run2": "pythia"},
        recipes=(),
        asks_retention=False,
        is_plain=True,
    )
    paths = study.build()
    whole = read_frame(paths["families"], FAMILIES)
    found = whole[(whole["quantity"] == "entropy_nats") & (whole["group"] == "model")]
    assert found["is_trained"].tolist() == [False, True, True]
    style.use_style()
    axes = entropy_by_stage(read_tables(study, paths)).axes
    assert [title(axis) for axis in axes] == ["pythia", "other"]
    x, y = plotted(axes[0])[""]
    assert (x, y) == ([0, 400, 2000], pytest.approx(found["value"].tolist()))
    claims = read_frame(paths["claims"], CLAIMS)
    rules = claims[claims["claim"] == "entropy_falls"].set_index("model")["rule"]
    assert "those of its family, run2, are judged by themselves" in rules["run1"]
    assert "there is one of this model" in rules["other"]


def test_an_interval_stays_within_what_its_quantity_can_be() -> None:
    share = {"quantity": "dormant_fraction", "unit": "fraction"}
    rows = estimates({"a": {8: 0.0, 16: 0.9}, "b": {8: 0.4, 16: 0.4}}, 0.1).assign(**share)
    table = families_of(rows, {"a": "f", "b": "f"}, SETTINGS)
    assert table["low"].min() == 0
    assert table["high"].max() == 1
