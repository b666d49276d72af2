"""Where an entropy is not defined: by its measure, no memory of some layer has any activity."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from ke_steps.summary.quantities import ACTIVITIES, ENTROPY, WHOLE_MODEL

ENTROPIES = (ENTROPY.quantity, *(f"{activity}_entropy_nats" for activity in ACTIVITIES))


class Undefined(NamedTuple):
    """An entropy of a model that nothing defines at some of its checkpoints or their variants."""

    model: str
    quantity: str
    steps: list[int]
    layers: list[int]
    """Those without any activity at one of these steps, ascending."""


def undefined(summary: pd.DataFrame) -> list[Undefined]:
    """Return every such entropy in the order of the summary, over all corpora and variants."""
    rows = summary[summary["quantity"].isin(ENTROPIES) & summary["value"].isna()]
    parts = rows["group"].str.split("/").str[-1]
    found = []
    for (model, quantity), missing in rows.groupby(["model", "quantity"], sort=False):
        places = set(parts[missing.index]) - {WHOLE_MODEL}
        layers = sorted(int(place.removeprefix("layer ")) for place in places)
        steps = sorted(int(step) for step in missing["step"].unique())
        found.append(Undefined(str(model), str(quantity), steps, layers))
    return found
