"""Copy what a finished study found to a folder that is small enough to commit: docs/evidence/.

Of their provenance, tables keep which code and which versions made them: a large study has
thousands of inputs.

Example::

    python workflow/scripts/collect_evidence.py results/nursery_grid docs/evidence/nursery_grid \
        entropy_by_phase entropy_and_learning_between_runs
"""

import json
import shutil
import sys
from pathlib import Path

import pyarrow.parquet as pq

TABLES = ("claims", "estimates", "families", "phases", "between_runs", "frontiers", "effects")
"""Of summarize; one without rows is not copied."""


def copy_table(source: Path, target: Path) -> None:
    """Copy a table, compressed, with the code and the versions that made it."""
    table = pq.read_table(source)
    if len(table):
        provenance = json.loads(table.schema.metadata[b"ke_steps"])
        kept = {key: provenance[key] for key in ("code", "step", "versions")}
        stamp = {b"ke_steps": json.dumps(kept).encode()}
        pq.write_table(table.replace_schema_metadata(stamp), target, compression="zstd")


def main(results: Path, folder: Path, *figures: str) -> None:
    """Copy the tables and the figures named, as pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        copy_table(results / f"summarize/{name}.parquet", folder / f"{name}.parquet")
    for name in figures:
        shutil.copyfile(results / f"plot_figures/{name}.png", folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
