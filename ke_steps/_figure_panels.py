"""What several figures share: the outcomes that they compare, one panel each, and changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ke_steps import _style
from ke_steps._figure_data import Tables, points
from ke_steps.settings import ORIGINAL


class Outcome(NamedTuple):
    """One quantity of the summary as a panel shows it."""

    title: str
    axis_label: str
    quantity: str
    group: str
    is_fraction: bool

    def points(
        self, tables: Tables, model: str, recipe: str, variant: str = ORIGINAL
    ) -> pd.DataFrame:
        """Return step, value, low, high: one point per stage."""
        first = None if self.quantity == "entropy_nats" else recipe
        return points(tables.summary, model, self.quantity, self.group, first, variant=variant)

    def dress(self, axis: Axes) -> None:
        """Name a panel and the unit of its y axis."""
        axis.set_title(self.title)
        axis.set_ylabel(self.axis_label)
        if self.is_fraction:
            _style.percent(axis.yaxis)


ENTROPY = Outcome("knowledge entropy H", "H (nats)", "entropy_nats", "model", False)
ACQUISITION = Outcome("acquisition A", "A", "acquisition", "all/all", True)
LEARNING = (
    ACQUISITION,
    Outcome("forgetting F", "F", "forgetting", "mean", True),
    Outcome("K after learning", "K (nats)", "performance_after", "all/all", False),
    Outcome("P after learning", "P", "accuracy_after", "mean", True),
)
OUTCOMES = (ENTROPY, *LEARNING)


def head(panel: Axes, words: str) -> None:
    """Write above a panel's title what the panels of its block share."""
    if words:
        panel.set_title(f"{words}\n{panel.get_title(loc='left')}")


def by_step(rows: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield each stage of pretraining, ascending, with its rows."""
    for step in sorted(rows["step"].unique()):
        yield int(step), rows[rows["step"] == step]


def change_since_first_trained(stages: pd.DataFrame, *, relative: bool = False) -> pd.DataFrame:
    """Return value, low, high of the trained stages less the first one's value, or as parts of it.

    The interval is that of each stage: the starting point counts as exact.
    """
    trained = stages[stages["step"] > 0]
    start = trained["value"].iloc[0] if len(trained) else 0.0
    scale = start if relative else 1.0
    return trained.assign(**{k: (trained[k] - start) / scale for k in ("value", "low", "high")})


def name_changes(axis: Axes, stages: pd.DataFrame, label: str) -> None:
    """Name a panel of changes after the stage that they count from."""
    trained = list(stages.loc[stages["step"] > 0, "step"])
    axis.set_title(f"change since step {_style.step_label(trained[0])}" if trained else "")
    axis.set_ylabel(label)
    _style.label_steps(axis, trained)


def num_trained_stages(tables: Tables) -> int:
    """Return the largest number of trained original checkpoints that a model has."""
    rows = tables.summary
    trained = rows[(rows["variant"] == ORIGINAL) & (rows["step"] > 0)]
    return int(trained.groupby("model")["step"].nunique().max()) if len(trained) else 0


def spread_indices(num_items: int, num_wanted: int) -> list[int]:
    """Return up to ``num_wanted`` indices spread evenly, the first and the last among them."""
    wanted = np.linspace(0, num_items - 1, min(num_items, num_wanted))
    return [int(index) for index in np.unique(wanted.round())]
