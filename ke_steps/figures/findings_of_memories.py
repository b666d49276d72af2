"""What the figures of memories and corpora show, as sentences."""

from __future__ import annotations

import pandas as pd

from ke_steps.figures.changes import told_rows
from ke_steps.summary.quantities import VECTORS, number, show


def distributions(data: pd.DataFrame) -> str:
    """Say how active the most active memories are, at the first stage and the last."""
    if "relative_activity" not in data:
        return ""
    rows = data[data["quantile"] == data["quantile"].max()].dropna(subset="relative_activity")
    rows = rows[rows["model"] == data["model"].iloc[0]]
    means = rows.groupby("step")["relative_activity"].mean()
    if means.empty:
        return ""
    share = show(1 - data["quantile"].max(), "fraction")
    words = (
        f"{means.iloc[-1]:.1f} times as active as its layer's mean at step {means.index[-1]:,.0f}"
    )
    if len(means) > 1:
        words += f", and was {means.iloc[0]:.1f} times at step {means.index[0]:,.0f}"
    return f"A memory at the border of the most active {share} is {words}"


def novelty(data: pd.DataFrame) -> str:
    """Say the perplexity of the middle document of each corpus."""
    if "perplexity" not in data:
        return ""
    rows = data[data["model"] == data["model"].iloc[0]]
    parts = []
    for corpus, own in rows.groupby("corpus", sort=False):
        middle = own.iloc[(own["quantile"] - 0.5).abs().argsort().iloc[0]]
        parts.append(f"{middle['perplexity']:.3g} on {corpus}")
    return (
        f"The median perplexity of a document under {rows['model'].iloc[0]} is {', '.join(parts)}"
    )


def updates(data: pd.DataFrame) -> str:
    """Say in how many layers the active memories are rewritten most, at the last stage."""
    rows = told_rows(data)
    parts = []
    for vector, label in VECTORS.items():
        own = rows[rows["quantity"] == f"{vector}_update_correlation_spearman"]
        own = own[own["step"] == own["step"].max()].dropna(subset="value")
        if len(own):
            above = int((own["value"] > 0).sum())
            mean = number(own["value"].mean(), "")
            parts.append(f"in {above} of {len(own)} layers by {label} (mean ρ {mean})")
    return f"Learning rewrites active memories more {' and '.join(parts)}" if parts else ""


def rankings(data: pd.DataFrame) -> str:
    """Say how alike the rankings of neighbouring stages are, first and last."""
    if "spearman" not in data:
        return ""
    rows = data[data["layer"].isna() & (data["model"] == data["model"].iloc[0])]
    rows = rows.dropna(subset="spearman").sort_values("step_to")
    words = (
        [
            f"{row['spearman']:.2f} from step {row['step_from']:,.0f} to {row['step_to']:,.0f}"
            for row in rows.iloc[[0, -1]].drop_duplicates().to_dict("records")
        ]
        if len(rows)
        else []
    )
    return f"The ranking of memories moves: mean ρ is {' and '.join(words)}" if words else ""
