"""Which checkpoints a study has, and whether two of them hold the same weights.

Public hosts have served byte-identical weights under different step names (FACTS section 6).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ke_steps.artefacts.places import identify
from ke_steps.artefacts.summary_schemas import CHECKPOINTS
from ke_steps.job.files import canonical_json

PLACES = ("repo", "path")
"""Keys of a manifest's source that say where the weights are from; a nursery's have none."""


def weights_sha256(tensors: dict[str, dict[str, Any]]) -> str:
    """Return the sha256 over names, dtypes, shapes and values of a manifest's tensors."""
    return hashlib.sha256(canonical_json(tensors).encode()).hexdigest()


def checkpoints_of(manifests: Iterable[Path]) -> pd.DataFrame:
    """Return CHECKPOINTS by model and step; of steps with equal weights each names the first other.

    Only checkpoints of one model are compared with each other.
    """
    rows = [_describe(path) for path in manifests]
    table = pd.DataFrame(rows, columns=CHECKPOINTS.names)
    table = table.sort_values(["model", "step"], ignore_index=True)
    same = table.groupby(["model", "weights_sha256"])["step"].agg(list)
    others = [
        next(
            (step for step in same[row["model"], row["weights_sha256"]] if step != row["step"]),
            None,
        )
        for row in table.to_dict("records")
    ]
    return table.assign(same_weights_as=pd.array(others, dtype="Int64"))


def _describe(path: Path) -> dict[str, Any]:
    manifest = json.loads(path.read_text())
    identity, source = identify(path), manifest["source"]
    place = next((source[key] for key in PLACES if key in source), "")
    return {
        "model": identity.model,
        "step": identity.step,
        "source": source["kind"],
        "place": f"{place}@{source['commit']}" if "commit" in source else place,
        "weights_sha256": weights_sha256(manifest["tensors"]),
        **{
            key: manifest[key]
            for key in ("architecture", "num_layers", "num_memories", "num_parameters")
        },
    }
