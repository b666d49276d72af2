"""What a reader must know before any number: warnings that a study draws by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from ke_steps.claims.measured import Measured, State
from ke_steps.claims.phases import is_above_chance
from ke_steps.summary.agreements import Agreement
from ke_steps.summary.quantities import (
    ACCURACY_BEFORE,
    DORMANT,
    KNOWLEDGE_BEFORE,
    QUANTITIES,
    UNIFORM,
    show,
)
from ke_steps.summary.undefined import undefined

MOST_POINTS, MOST_BITS = 1.0, 0.01
"""Of P and of bits per token, by which a lower precision may differ from fp32."""

MOST_NATS_OF_LAYER = 0.01
"""Of H, likewise: a hundredth of a layer's effective number of memories."""

MAX_NAMED_RUNS = 5
MAX_NAMED_LAYERS = 8
NEEDS_OUTPUT = ("contribution_entropy_nats", "attribution_entropy_nats")

ENOUGH_SEEDS = 3
"""With fewer, the error between seeds is a guess."""


def worse_than_uniform(measured: Measured) -> Iterator[str]:
    """K before learning lies below that of a model that knows nothing: the uniform distribution.

    On the reference's scale K is no log probability per token, and not to be compared.
    """
    if measured.settings.score != "per_token":
        return
    for recipe in measured.recipes():
        stages = measured.by_stage(KNOWLEDGE_BEFORE, recipe)
        floor = measured.by_stage(UNIFORM).reindex(stages.index)
        if len(below := stages[stages < floor]):
            yield (
                f"K before learning ({recipe}) is below that of the uniform distribution over the"
                f" vocabulary, {show(floor.iloc[0], 'nats')}, at {_steps(below.index)}: part of A"
                " is only the unlearning of wrong certainty."
            )


def near_chance(measured: Measured) -> Iterator[str]:
    """P before learning cannot be told from guessing: nothing is there to be forgotten."""
    steps = [
        step
        for step in measured.by_stage(ACCURACY_BEFORE).index
        if not is_above_chance(measured, step)
    ]
    if steps:
        yield (
            f"P before learning is within its interval of chance at {_steps(steps)}: F says nothing"
            " there."
        )


def nothing_dormant(measured: Measured) -> Iterator[str]:
    """A resuscitation, or a part of one, had no dormant memory to wake."""
    for variant in measured.variants("resuscitate", "gauge", "function"):
        steps = [
            step
            for step in measured.steps_of(variant)
            if measured.estimate(DORMANT, State(step)).value == 0
        ]
        if steps:
            yield (
                f"No memory is dormant at {_steps(steps)}: {variant} wakes nothing there, it only"
                " evens out a ranking."
            )


def few_seeds(measured: Measured) -> Iterator[str]:
    """Fewer than three seeds: the error between seeds is little known, or not at all."""
    for recipe in measured.recipes():
        rows = measured.summary[measured.summary["recipe"] == recipe]
        number = rows["seed"].nunique()
        if number < ENOUGH_SEEDS:
            what = "is not known" if number == 1 else "is known from two runs of a state only"
            seeds = f"{number} seed{'s' * (number > 1)}"
            yield f"Recipe {recipe} has {seeds}: the error between seeds {what}."


def not_defined(measured: Measured) -> Iterator[str]:
    """An entropy has no value somewhere: a gap in a figure, a dash in a table."""
    for found in undefined(measured.estimates):
        layers = ", ".join(map(str, found.layers[:MAX_NAMED_LAYERS]))
        more = " and others" if len(found.layers) > MAX_NAMED_LAYERS else ""
        why = (
            ", as where an output projection is all zero" if found.quantity in NEEDS_OUTPUT else ""
        )
        yield (
            f"The {QUANTITIES[found.quantity].label} of {found.model} is not defined at"
            f" {_steps(found.steps)}: no memory of layer {layers}{more} has any{why}."
        )


WARNINGS: dict[str, Callable[[Measured], Iterator[str]]] = {
    "K before": worse_than_uniform,
    "P before": near_chance,
    "resuscitation": nothing_dormant,
    "seeds": few_seeds,
    "not defined": not_defined,
}
"""By what each is about."""


def warnings_of(
    models: Sequence[Measured],
    claims: pd.DataFrame,
    runs: pd.DataFrame,
    checkpoints: pd.DataFrame,
    compared: Sequence[Agreement] = (),
) -> list[dict[str, Any]]:
    """Return the rows of WARNINGS: of models, then of verdicts, of runs and of checkpoints.

    Args:
        models: what was measured on each.
        claims: a frame of CLAIMS.
        runs: a frame of RUNS.
        checkpoints: a frame of CHECKPOINTS.
        compared: what has a lower precision, with the same in fp32.
    """
    rows: list[dict[str, Any]] = [
        {"model": measured.model, "subject": subject, "warning": sentence}
        for measured in models
        for subject, draw in WARNINGS.items()
        for sentence in draw(measured)
    ]
    for claim in claims[claims["decided_by_step"].notna()].to_dict("records"):
        recipe = f" ({claim['recipe']})" if pd.notna(claim["recipe"]) else ""
        sentence = (
            f"“{claim['statement']}”{recipe} is {claim['verdict']} by one stage: without step"
            f" {int(claim['decided_by_step']):,} it would not be."
        )
        rows.append({"model": claim["model"], "subject": "one stage decides", "warning": sentence})
    for subject, told in (
        ("divergence", _diverged(runs)),
        ("weights", _same_weights(checkpoints)),
        ("precision", _precisions(compared)),
    ):
        rows += [{"model": model, "subject": subject, "warning": words} for model, words in told]
    return rows


def _diverged(runs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield a model and which of its runs diverged."""
    for model, own in runs.groupby("model", sort=False):
        lost = own[own["diverged_at_step"].notna()]
        if lost.empty:
            continue
        names = [
            f"step {run['step']:,} {run['variant']} {run['recipe']} seed {run['seed']} (at step"
            f" {run['diverged_at_step']:,.0f})"
            for run in lost.head(MAX_NAMED_RUNS).to_dict("records")
        ]
        more = len(lost) - len(names)
        others = f" and {more} more, which the table of every run marks" if more else ""
        yield (
            str(model),
            f"{len(lost)} of {len(own)} run{'s' * (len(own) > 1)} diverged and"
            f" {'is' if len(lost) == 1 else 'are'} left out of every mean, correlation and verdict:"
            f" {'; '.join(names)}{others}.",
        )


def _same_weights(checkpoints: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield a model and which checkpoints have equal weights: hosts have mixed up those of one."""
    same = checkpoints[checkpoints["same_weights_as"].notna()]
    for _, alike in same.groupby("weights_sha256", sort=False):
        steps = alike.groupby("model", sort=False)["step"]
        places = " and of ".join(f"{model} at {_steps(list(found))}" for model, found in steps)
        wrong = ": of one model at most one of them is what its step says"
        sentence = (
            f"The checkpoints of {places} hold identical weights"
            f"{wrong if steps.size().max() > 1 else ''}."
        )
        yield from ((str(model), sentence) for model in steps.groups)


def _precisions(compared: Sequence[Agreement]) -> Iterator[tuple[str, str]]:
    """Yield a model and how far what has a lower precision is from the same in fp32."""
    for model, step, found in compared:
        told = _entropy_told if "entropy_nats" in found else _retention_told
        what, differs, is_far, allowed, key = told(found)
        verdict = "more than" if is_far else "within"
        remedy = f": take fp32 ({key}.precision)" if is_far else ""
        yield (
            model,
            f"{what} in {found['precision']}. Against fp32, at step {step:,}, {differs}: {verdict}"
            f" what is allowed, {allowed}{remedy}.",
        )


def _entropy_told(found: Mapping[str, Any]) -> tuple[str, str, bool, str, str]:
    nats, allowed = found["entropy_nats"], MOST_NATS_OF_LAYER * found["num_layers"]
    return (
        "Coefficients are measured",
        f"H of the first {found['num_sequences']} sequences differs by {_signed(nats, 4)} nats",
        abs(nats) > allowed,
        f"{MOST_NATS_OF_LAYER:g} nats per layer",
        "extract_coefficients",
    )


def _retention_told(found: Mapping[str, Any]) -> tuple[str, str, bool, str, str]:
    points, bits = 100 * found["accuracy"], found["bits_per_token"]
    return (
        "Retention is scored",
        f"P of the first {found['num_items']:,} items differs by {_signed(points, 1)} points"
        f" ({found['num_other_answers']} are judged otherwise), bits per token of"
        f" {found['num_sequences']} held-out sequences by {_signed(bits, 4)}",
        abs(points) > MOST_POINTS or abs(bits) > MOST_BITS,
        f"{MOST_POINTS:g} point of P and {MOST_BITS:g} bits",
        "evaluate_retention",
    )


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")


def _steps(steps: list[int] | pd.Index) -> str:
    return f"step{'s' * (len(steps) > 1)} {', '.join(f'{step:,}' for step in steps)}"
