"""How much results differ from those in fp32, where a study asks for a lower precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ke_steps.artefacts.parquet import read_provenance
from ke_steps.artefacts.places import identify

NOTE = "difference_to_fp32"
"""The key in a table's provenance."""


class Agreement(NamedTuple):
    """One checkpoint, measured in a lower precision and, a sample of it, in fp32."""

    model: str
    step: int
    differences: dict[str, Any]
    """Of H (``measuring.extraction``) or of retention (``scoring.agreement``)."""


def agreements(tables: Iterable[Path]) -> Iterator[Agreement]:
    """Yield what was compared, as it stands in the provenance of tables."""
    for path in tables:
        if difference := read_provenance(path).get(NOTE):
            identity = identify(path)
            yield Agreement(identity.model, identity.step, difference)
