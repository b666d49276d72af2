"""The checkpoints that led to a report, each by the hash of its manifest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ke_steps.artefacts.places import identify
from ke_steps.job.records import Record
from ke_steps.report.tables import Heading, Table, short_table

STEPS = ("fetch_checkpoint", "keep_checkpoint", "branch_checkpoint")
"""Whose jobs make the checkpoints that a study measures."""

HEADING = Heading("manifests", "Manifests", "A manifest holds the hash of every tensor.")


def manifest_table(records: Iterable[Record]) -> Table | None:
    """Return a row per manifest, by model and step; None where no record tells of one."""
    found = [
        {"model": model, "step": step, "sha256": digest, "manifest": path}
        for record in records
        if record["step"] in STEPS
        for path, digest in record["outputs"].items()
        if Path(path).name == "manifest.json"
        for model, step, *_ in [identify(Path(path))]
    ]
    if not found:
        return None
    rows = sorted(found, key=lambda row: (row["model"], row["step"]))
    return short_table(HEADING, rows, pd.DataFrame(rows))
