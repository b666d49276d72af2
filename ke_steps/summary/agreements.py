"""How much retention differs from that in fp32, where a study scores it in a lower precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ke_steps.artefacts.parquet import read_provenance
from ke_steps.artefacts.places import identify

NOTE = "difference_to_fp32"
"""The key in a retention table's provenance."""


class Agreement(NamedTuple):
    """One checkpoint, scored in a lower precision and, a sample of it, in fp32."""

    model: str
    step: int
    precision: str
    differences: dict[str, Any]
    """Of ``scoring.agreement``."""


def agreements(retention: Iterable[Path]) -> Iterator[Agreement]:
    """Yield the agreement that was measured of each model, from its retention tables."""
    for path in retention:
        origin = read_provenance(path)
        if NOTE in origin:
            identity = identify(path)
            precision = origin["settings"]["precision"]
            yield Agreement(identity.model, identity.step, precision, origin[NOTE])
