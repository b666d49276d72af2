"""What else could explain how checkpoints learn and forget, as a table of the report."""

from __future__ import annotations

import pandas as pd

from ke_steps.report.cells import Entry, Number
from ke_steps.report.tables import (
    Column,
    Heading,
    Results,
    Table,
    measured_table,
    runs_and_states,
    short_table,
)
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import group_names
from ke_steps.summary.quantities import (
    EARLY_LOSS_FALL,
    EFFECTIVE_RANK,
    ENTROPY,
    GRADIENT_NORM,
    HELD_OUT_LOSS,
    PARTICIPATION_RATIO,
    RIVALS,
    SENSITIVITY,
    WEIGHT_NORM,
    WHOLE_MODEL,
    Measure,
)

HEADING = Heading(
    "rivals",
    "What else could explain learning and forgetting",
    "Beside H: memories whose mean |c| is at most τ times their layer's, in percent; participation"
    " ratio and effective rank of E[c cᵀ], means over layers; norm of all weights, and of the"
    " gradient on new text; held-out loss in nats, and by how much noise raises it whose norm is γ"
    " times that of each tensor, with Student's t interval over draws; fall of the loss over the"
    " first five steps of learning, with the first recipe. By layer and by group of parameters they"
    " are in summary.csv.",
)
CONTEST = Heading(
    "contests",
    "What foretells learning and forgetting between runs",
    "Each run of pretraining is foretold by all others, at the stages that all have: the root mean"
    " square of what is left, of K after in nats, of F above chance in percent. Family and stage"
    " are in every row, and tokens per parameter with them. The verdict is under the claims.",
)


def rival_table(results: Results) -> Table | None:
    """Return a row per original checkpoint; None where the study does not measure them."""
    summary = results.summary
    if not summary["quantity"].isin([each.quantity for each in RIVALS]).any():
        return None
    scales = [
        group for group in group_names(summary, SENSITIVITY) if group.startswith(f"{WHOLE_MODEL} ")
    ]
    columns = [
        Column("H", ENTROPY),
        *(
            Column(f"τ = {each.quantity.removeprefix('dormant_at_')}", each)
            for each in RIVALS
            if each.quantity.startswith("dormant_at_")
        ),
        Column("participation ratio", PARTICIPATION_RATIO),
        Column("effective rank", EFFECTIVE_RANK),
        Column("‖θ‖", WEIGHT_NORM),
        Column("‖∇L‖", GRADIENT_NORM),
        Column("held-out loss", HELD_OUT_LOSS),
        *(
            Column(f"ΔL, {group.removeprefix(f'{WHOLE_MODEL} ')}", Measure(SENSITIVITY, group))
            for group in scales
        ),
        Column("loss fall", EARLY_LOSS_FALL),
    ]
    places = runs_and_states(summary[summary["variant"] == ORIGINAL])
    places = places.drop_duplicates(["model", "step"]).sort_values(["model", "step"])
    return measured_table(HEADING, results, columns, places)


def contest_table(contests: pd.DataFrame) -> Table | None:
    """Return a row per set of predictors of CONTESTS; None where runs are too few."""
    if contests.empty:
        return None
    rows: dict[str, dict[str, Entry]] = {}
    for row in contests.to_dict("records"):
        label = Measure(row["quantity"], row["group"]).label
        told = rows.setdefault(row["predictors"], {"predictors": row["predictors"]})
        told[label] = Number(row["error"], row["unit"])
    return short_table(CONTEST, list(rows.values()), contests)
