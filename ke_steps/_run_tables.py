"""Every run of a study in the report: what it came to, and whether it diverged."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ke_steps._report_tables import MAIN_COLUMNS, Column, Heading, Table, cell, short_table
from ke_steps._runs import RUN, left_out

RESULTS = ("acquisition", "forgetting", "performance_after", "accuracy_after")
COLUMNS = [column for column in MAIN_COLUMNS if column.quantity in RESULTS]
LOSSES = {"first loss": "first_loss_nats", "last loss": "last_loss_nats"}
NOTE = "Losses and K in nats, A, F and P in percent; ± is half the bootstrap interval."
WHY = (
    " A run diverged when a loss or a gradient was no finite number, or when its loss ended more"
    " than 1 nat above where it began. It is in no mean, correlation or verdict."
)


def run_table(runs: pd.DataFrame, summary: pd.DataFrame) -> Table | None:
    """Return a row per run, those that diverged first; None for a study without runs.

    ``summary`` is marked, as by ``_runs.mark``.
    """
    if runs.empty:
        return None
    ordered = runs.sort_values("diverged_at_step", key=lambda steps: steps.isna(), kind="stable")
    measured = _by_run(summary)
    shown, full = [], []
    for run in ordered.to_dict("records"):
        points = measured.get(tuple(run[key] for key in RUN), {})
        shown.append(_cells(run, points))
        values = {column.quantity: points.get(column, {}).get("value") for column in COLUMNS}
        full.append(run | values)
    varied = {key for key in ("model", "variant", "recipe") if runs[key].nunique() > 1}
    hidden = {"model", "variant", "recipe"} - varied
    rows = [{key: text for key, text in row.items() if key not in hidden} for row in shown]
    note = NOTE + (WHY if left_out(summary) else "")
    frame = pd.DataFrame(full).astype({"diverged_at_step": "Int64"})
    return short_table(Heading("runs", "Every run", note), rows, frame)


def _by_run(summary: pd.DataFrame) -> dict[tuple[Any, ...], dict[Column, dict[Any, Any]]]:
    columns = {(column.quantity, column.group): column for column in COLUMNS}
    found: dict[tuple[Any, ...], dict[Column, dict[Any, Any]]] = {}
    wanted = summary[summary["quantity"].isin(RESULTS) & summary["recipe"].notna()]
    for row in wanted.to_dict("records"):
        column = columns.get((row["quantity"], row["group"]))
        if column is not None:
            found.setdefault(tuple(row[key] for key in RUN), {})[column] = row
    return found


def _cells(run: dict[Any, Any], points: dict[Column, dict[Any, Any]]) -> dict[str, str]:
    at = run["diverged_at_step"]
    return {
        "model": run["model"],
        "recipe": run["recipe"],
        "step": f"{run['step']:,}",
        "variant": run["variant"],
        "seed": str(run["seed"]),
        "ended": "as planned" if pd.isna(at) else f"⚠ diverged at step {int(at):,}",
        "steps": f"{run['num_steps']:,}",
        **{
            label: "–" if pd.isna(run[name]) else f"{run[name]:.3f}"
            for label, name in LOSSES.items()
        },
        **{column.label: cell(column.quantity, points.get(column)) for column in COLUMNS},
    }
