"""What the figures of learning show, as sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from ke_steps.figures.changes import Change, counted, of_measure, told_rows
from ke_steps.figures.curves import DIVERGED
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION,
    ENTROPY,
    FORGETTING,
    KNOWLEDGE_AFTER,
    QUANTITIES,
    difference_unit,
    number,
    show,
)

COMPARED = {ENTROPY: "H", KNOWLEDGE_AFTER: "K after learning", ACCURACY_AFTER: "P after learning"}


def probes(data: pd.DataFrame) -> str:
    """Say what K gains while it is learned, at the last stage."""
    last = _last_stage(data)
    parts = []
    for condition, rows in last.groupby("condition", sort=False) if len(last) else ():
        start, end = rows["performance"].iloc[[0, -1]]
        parts.append(f"from {number(start, 'nats')} to {show(end, 'nats')} ({condition})")
    if not parts:
        return ""
    place = f"step {last['step'].iloc[0]:,.0f} of {last['model'].iloc[0]}"
    return f"Learning from {place} takes K {' and '.join(parts)}"


def after_injections(data: pd.DataFrame) -> str:
    """Say what was acquired after the last injection, from the first stage and the last."""
    if "injection" not in data:
        return ""
    last = data["injection"].max()
    rows = data[(data["quantity"] == "acquisition") & (data["injection"] == last)]
    parts = _first_and_last(rows)
    return f"After the last of {last:.0f} injections A is {'; '.join(parts)}" if parts else ""


def fading(data: pd.DataFrame) -> str:
    """Say how much of the gain is left as late as all stages tell, from the first and the last."""
    if "steps_since" not in data:
        return ""
    rows = data[data["model"] == data["model"].iloc[0]].dropna(subset="value")
    latest = rows.groupby(["condition", "step"])["steps_since"].max().min()
    parts = _first_and_last(rows[rows["steps_since"] == latest])
    words = f"{latest:g} steps after the peak, of the gain is left"
    return f"{words} {'; '.join(parts)}" if parts else ""


def _first_and_last(rows: pd.DataFrame) -> list[str]:
    """Say fractions by condition, of the first model, at its first stage and its last."""
    parts = []
    rows = rows[rows["model"] == rows["model"].iloc[0]].dropna(subset="value")
    for condition, own in rows.groupby("condition", sort=False):
        stages = own.sort_values("step").to_dict("records")
        ends = stages if len(stages) == 1 else [stages[0], stages[-1]]
        words = [f"{show(row['value'], 'fraction')} from step {row['step']:,.0f}" for row in ends]
        parts.append(f"{' and '.join(words)} ({condition})")
    return parts


def variants(data: pd.DataFrame) -> str:
    """Say how variants differ from their originals: of one with numbers, of several how many do."""
    rows = told_rows(data, None)
    if "variant" not in rows:
        return ""
    found = {
        symbol: dict(_against_originals(of_measure(rows, measure)))
        for measure, symbol in COMPARED.items()
    }
    names = {name for compared in found.values() for name in compared}
    if len(names) == 1:
        gains = [
            f"{symbol} by {_signed(change.difference, change.unit)}"
            for symbol, compared in found.items()
            for change in compared.values()
        ]
        return f"{names.pop()} differs from the original in {', '.join(gains)}"
    parts = [counted(symbol, compared) for symbol, compared in found.items()]
    words = "; ".join(filter(None, parts))
    return f"Of variants against the original, {words}" if words else ""


def _signed(value: float, unit: str) -> str:
    """Write a difference with its sign and unit."""
    unit = difference_unit(unit)
    return f"{'+' if value > 0 else ''}{number(value, unit)} {unit}".strip()


def _against_originals(rows: pd.DataFrame) -> Iterator[tuple[str, Change]]:
    keys = ["whose", "step"]
    originals = {
        (row["whose"], row["step"]): row
        for row in rows[rows["variant"] == ORIGINAL].to_dict("records")
    }
    changed = rows[rows["variant"] != ORIGINAL].dropna(subset="value")
    for row in changed.drop_duplicates([*keys, "variant"]).to_dict("records"):
        original = originals.get((row["whose"], row["step"]))
        if original is not None and not math.isnan(original["value"]):
            place = f"{row['variant']} at step {row['step']:,.0f}"
            yield f"{row['whose']}: {place}", Change(original, row, row["unit"])


def frontiers(data: pd.DataFrame) -> str:
    """Say by how much K is higher at the same P: the last state of each panel that is compared."""
    if "lead_nats" not in data:
        return ""
    parts = []
    for _, rows in data.groupby("panel"):
        compared = rows.dropna(subset=["lead_nats", "lead_low", "lead_high"])
        if len(compared):
            row = compared.iloc[-1]
            is_stage = row["variant"] == ORIGINAL
            name = f"step {row['step']:,.0f}" if is_stage else f"{row['variant']}"
            other = f"step {row['reference_step']:,.0f}" if is_stage else row["reference_variant"]
            ends = [number(row[key], "nats") for key in ("lead_nats", "lead_low", "lead_high")]
            parts.append(
                f"K of {name} less that of {other} is {ends[0]} nats ({ends[1]} to {ends[2]})"
            )
    return f"At the same P after learning, {'; '.join(dict.fromkeys(parts))}" if parts else ""


def effects(data: pd.DataFrame) -> str:
    """Say which effects on K and P have an interval without zero."""
    if "effect" not in data:
        return ""
    parts = []
    for measure in (KNOWLEDGE_AFTER, ACCURACY_AFTER):
        rows = data[data["quantity"] == measure.quantity]
        words = []
        for effect, own in rows.groupby("effect", sort=False):
            up, down = int((own["low"] > 0).sum()), int((own["high"] < 0).sum())
            if len(own) == 1 and up + down:
                words.append(f"{effect} {_signed(own['value'].iloc[0], own['unit'].iloc[0])}")
            elif up + down:
                words.append(f"{effect} +{up} −{down} of {len(own)}")
        parts.append(f"{measure.label}: {', '.join(words) or 'none'}")
    return f"Effects whose interval leaves out zero, {'; '.join(parts)}"


def pearson(data: pd.DataFrame) -> str:
    """Say how learning goes with entropy over the stages, where there are enough of them."""
    if "pearson_r" not in data:
        return ""
    rows = data.dropna(subset="pearson_r").drop_duplicates(["model", "quantity"])
    parts = []
    for measure, symbol in ((ACQUISITION, "A"), (FORGETTING, "F")):
        own = rows[rows["quantity"] == measure.quantity]
        words = []
        for row in own.to_dict("records"):
            ends = (f"{row[key]:.2f}" for key in ("r_low", "pearson_r", "r_high"))
            low, r, high = (end.replace("-", "−") for end in ends)
            where = f" in {row['model']}" if len(own) > 1 else ""
            words.append(f"{r} ({low} to {high}){where}")
        if words:
            parts.append(f"r(H, {symbol}) is {', '.join(words)}")
    return f"Over the stages of pretraining, {' and '.join(parts)}" if parts else ""


def between_runs(data: pd.DataFrame) -> str:
    """Say by how much outcomes change per nat of H between runs."""
    if "slope" not in data:
        return ""
    parts = []
    for quantity, rows in data.groupby("quantity", sort=False):
        row = rows.iloc[0]
        unit = difference_unit(row["unit"])
        value, low, high = (number(row[key], unit) for key in ("slope", "slope_low", "slope_high"))
        parts.append(f"{QUANTITIES[str(quantity)].label} by {value} ({low} to {high}) {unit}")
    return f"Between runs, outcomes change per nat of H: {'; '.join(parts)}"


def _last_stage(data: pd.DataFrame) -> pd.DataFrame:
    if "performance" not in data:
        return data.head(0)
    rows = data.dropna(subset="performance")
    rows = rows[(rows["model"] == rows["model"].iloc[0]) & (rows["series"] != DIVERGED)]
    return rows[rows["step"] == rows["step"].max()]
