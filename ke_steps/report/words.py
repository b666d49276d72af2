"""The opening paragraph of the report: what was measured and what came out, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ke_steps.claims.findings import PREDICTION, VERDICTS
from ke_steps.report.tables import Results
from ke_steps.settings.learning import ORIGINAL
from ke_steps.summary.points import points
from ke_steps.summary.quantities import (
    ACQUISITION,
    ENTROPY,
    ENTROPY_BOUND,
    FORGETTING,
    QUANTITIES,
    show,
)
from ke_steps.summary.undefined import Undefined, undefined

MAX_NAMED_RUNS = 5
MAX_NAMED_LAYERS = 8
NEEDS_OUTPUT = ("contribution_entropy_nats", "attribution_entropy_nats")


def sentences(
    results: Results, findings: pd.DataFrame, checkpoints: pd.DataFrame, runs: pd.DataFrame
) -> list[str]:
    """Return the sentences of the opening paragraph.

    Of each model the first recipe that the original checkpoints learned with without diverging;
    tables have the rest.
    """
    words = [_scope(results.summary)]
    estimates = results.estimates
    for model in estimates["model"].unique():
        words.append(_entropy(estimates, model))
        is_original = (estimates["model"] == model) & (estimates["variant"] == ORIGINAL)
        recipes = estimates.loc[is_original, "recipe"].dropna().unique()
        words.extend(_learning(estimates, model, recipe) for recipe in recipes[:1])
    words.extend(map(_undefined, undefined(estimates)))
    words.extend(_same_weights(checkpoints))
    words.extend(_diverged(runs))
    words.extend(_verdicts(findings))
    return words


def _verdicts(findings: pd.DataFrame) -> Iterator[str]:
    """Count the verdicts, of what the study predicted and of all else by themselves."""
    is_predicted = findings["origin"] == PREDICTION
    for noun, rows in (
        ("prediction", findings[is_predicted]),
        ("judgement", findings[~is_predicted]),
    ):
        if len(rows):
            yield _counted(rows, noun)


def _counted(findings: pd.DataFrame, noun: str) -> str:
    counts = findings["verdict"].value_counts()
    told = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if verdict in counts]
    num_corrected = int(findings["adjusted_p_value"].notna().sum())
    corrected = f" ({num_corrected} corrected for their number, by Holm)" if num_corrected else ""
    return f"Of {_count(len(findings), noun)}{corrected}: {', '.join(told)}."


def _scope(summary: pd.DataFrame) -> str:
    checkpoints = summary[["model", "step"]].drop_duplicates()
    variants = summary.loc[summary["variant"] != ORIGINAL, "variant"].nunique()
    models = (
        f"{_count(summary['model'].nunique(), 'model')} ({', '.join(summary['model'].unique())})"
    )
    others = {
        "checkpoint": len(checkpoints),
        "intervention": variants,
        "learning recipe": summary["recipe"].nunique(),
        "seed": summary["seed"].nunique(),
    }
    counts = [_count(number, noun) for noun, number in others.items() if number]
    return f"Measured: {', '.join([models, *counts])}."


def _entropy(estimates: pd.DataFrame, model: str) -> str:
    stages = points(estimates, model, ENTROPY).dropna(subset="value")
    bound = points(estimates, model, ENTROPY_BOUND)["value"].iloc[0]
    course = _course(stages, "nats") if len(stages) else "is not defined at any checkpoint"
    return f"The knowledge entropy of {model} {course}; at most {bound:.2f} nats are possible."


def _undefined(found: Undefined) -> str:
    """Say of an entropy where there is none: a gap in a figure, a dash in a table."""
    steps = ", ".join(f"{step:,}" for step in found.steps)
    layers = ", ".join(map(str, found.layers[:MAX_NAMED_LAYERS]))
    more = " and others" if len(found.layers) > MAX_NAMED_LAYERS else ""
    why = ", as where an output projection is all zero" if found.quantity in NEEDS_OUTPUT else ""
    return (
        f"The {QUANTITIES[found.quantity].label} of {found.model} is not defined at step {steps}:"
        f" no memory of layer {layers}{more} has any{why}."
    )


def _learning(estimates: pd.DataFrame, model: str, recipe: str) -> str:
    parts = []
    for outcome in (ACQUISITION, FORGETTING):
        stages = points(estimates, model, outcome, recipe).dropna(subset="value")
        if len(stages):
            parts.append(f"{outcome.label} {_course(stages, outcome.unit)}")
    words = ", and ".join(parts) or "neither acquisition nor forgetting could be told"
    return f"With the recipe {recipe}, {words}."


def _same_weights(checkpoints: pd.DataFrame) -> Iterator[str]:
    """Warn of checkpoints whose weights are equal: hosts have mixed up those of one model."""
    same = checkpoints[checkpoints["same_weights_as"].notna()]
    for _, alike in same.groupby("weights_sha256", sort=False):
        steps = alike.groupby("model", sort=False)["step"]
        places = [
            f"{model} at step{'s' * (len(found) > 1)} {' and '.join(f'{step:,}' for step in found)}"
            for model, found in steps
        ]
        wrong = (
            ""
            if steps.size().max() == 1
            else ": of one model at most one of them is what its step says"
        )
        yield f"The checkpoints of {' and of '.join(places)} hold identical weights{wrong}."


def _diverged(runs: pd.DataFrame) -> Iterator[str]:
    """Say which runs diverged: they are left out of everything that is told of several."""
    lost = runs[runs["diverged_at_step"].notna()]
    names = [
        f"{run['model']} step {run['step']:,} {run['variant']} {run['recipe']} seed {run['seed']}"
        f" (at step {run['diverged_at_step']:,.0f})"
        for run in lost.head(MAX_NAMED_RUNS).to_dict("records")
    ]
    if names:
        more = len(lost) - len(names)
        others = f" and {more} more, which the table of every run marks" if more else ""
        verb = "is" if len(lost) == 1 else "are"
        yield (
            f"{len(lost)} of {_count(len(runs), 'run')} diverged and {verb} left out of every mean,"
            f" correlation and verdict: {'; '.join(names)}{others}."
        )


def _course(stages: pd.DataFrame, unit: str) -> str:
    """Say where a quantity began and ended over the trained stages, or its one value."""
    trained = stages[stages["is_trained"]] if stages["is_trained"].any() else stages
    first, last = trained.iloc[0], trained.iloc[-1]
    end = f"{show(last['value'], unit)} at step {int(last['step']):,}"
    if len(trained) == 1:
        return f"is {end}"
    return f"went from {show(first['value'], unit)} at step {int(first['step']):,} to {end}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
