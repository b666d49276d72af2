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
"""Keys of a manifest's source that say where weights from outside are from."""


def weights_sha256(tensors: dict[str, dict[str, Any]]) -> str:
    """Return the sha256 over names, shapes and values of a manifest's tensors.

    The dtype they are stored in is left out: the hashes are of their values in fp32.
    """
    values = {name: [tensor["shape"], tensor["sha256"]] for name, tensor in tensors.items()}
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def checkpoints_of(manifests: Iterable[Path]) -> pd.DataFrame:
    """Return CHECKPOINTS by model and step; of those with equal weights each names the first other.

    The first other of its own model, if there is one, else of another.
    """
    contents = {path: json.loads(path.read_text()) for path in manifests}
    differing = _differing(each["source"] for each in contents.values())
    described = [_describe(path, manifest, differing) for path, manifest in contents.items()]
    rows = sorted(described, key=lambda row: (row["model"], row["step"]))
    for row in rows:
        alike = [other for other in rows if other["weights_sha256"] == row["weights_sha256"]]
        alike.sort(key=lambda other: other["model"] != row["model"])
        first = next((other for other in alike if other is not row), {})
        row["same_weights_model"], row["same_weights_as"] = first.get("model"), first.get("step")
    table = pd.DataFrame(rows, columns=CHECKPOINTS.names)
    return table.astype({"same_weights_as": "Int64"})


def _differing(sources: Iterable[dict[str, Any]]) -> list[str]:
    """Return the settings that tell the models apart that were trained here."""
    nurseries = [source for source in sources if source["kind"] == "nursery"]
    keys = dict.fromkeys(key for source in nurseries for key in source)
    return [key for key in keys if len({str(source.get(key)) for source in nurseries}) > 1]


def _describe(path: Path, manifest: dict[str, Any], differing: Iterable[str]) -> dict[str, Any]:
    identity, source = identify(path), manifest["source"]
    place = next((source[key] for key in PLACES if key in source), "")
    if source["kind"] == "nursery":
        place = ", ".join(f"{key} {source[key]}" for key in differing)
    if source["kind"] == "branch":
        rate = f"learning rate {source['learning_rate']:g}"
        place = f"{source['num_steps']} steps on {source['corpus']}, {rate}"
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
