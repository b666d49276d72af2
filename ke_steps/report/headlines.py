"""What a study found, a sentence per finding, each with its direction and beside the paper's.

Of several models they say how many agree, the mean and the range; of a course over one run only
what it was, never why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from ke_steps.claims.findings import NOT_TESTED, PREDICTION, VERDICTS
from ke_steps.report.overview import Counts, Headline, Judged, Part
from ke_steps.report.rounding import rounded, with_interval
from ke_steps.summary.points import by_stage
from ke_steps.summary.quantities import ENTROPY

MAX_NAMED = 6
"""Predictions of one verdict that are named."""


class Course(NamedTuple):
    """A claim that something changes over pretraining, in words."""

    claim: str
    measure: str
    subject: str
    falls: str
    rises: str
    more: str
    """What is said of it however it changes."""
    paper: str


COURSES = (
    Course("entropy_falls", "H", "H", "fell", "rose", "over pretraining", "a fall"),
    Course(
        "knowledge_after_falls",
        "K after learning",
        "later checkpoints end with",
        "less",
        "more",
        "new knowledge (K after learning)",
        "less",
    ),
    Course(
        "forgetting_rises",
        "F above chance",
        "later checkpoints forget",
        "less",
        "more",
        "of what they knew (F above chance)",
        "more",
    ),
)

RESUSCITATION = {
    "resuscitation_improves_acquisition": ("acquisition A", "more acquisition"),
    "resuscitation_lowers_forgetting": ("forgetting F", "less forgetting"),
}
"""What was measured, and what the paper reports, by claim."""

CAUSES = {
    "entropy_alone_changes_learning": "absolute entropy alone",
    "gauge_changes_learning": "the gauge of resuscitation",
    "function_changes_learning": "the function of resuscitation",
}
"""What was set, by claim that it changes learning."""


def headlines(
    claims: pd.DataFrame,
    estimates: pd.DataFrame,
    downstream: pd.DataFrame,
    families: Mapping[str, str],
) -> Iterator[Headline]:
    """Yield the findings of a study: H, K after, F above chance, then what was set.

    Args:
        claims: a frame of CLAIMS.
        estimates: a frame of ESTIMATES.
        downstream: a frame of DOWNSTREAM.
        families: the family of each model that has one.
    """
    untested: dict[str, pd.DataFrame] = {}
    for course in COURSES:
        rows = _main(claims, course.claim)
        if rows["value"].notna().any():
            yield _headline(_course(course, rows, estimates), {"": rows})
        elif len(rows):
            untested[course.measure] = rows
    if untested:
        yield _headline(_untested(untested), untested)
    tried = {claim: _main(claims, claim) for claim in RESUSCITATION}
    if tried := {claim: rows for claim, rows in tried.items() if len(rows)}:
        named = {RESUSCITATION[claim][1]: rows for claim, rows in tried.items()}
        yield _headline(_resuscitation(tried, downstream), named)
    predicted = claims[claims["origin"] == PREDICTION]
    if len(predicted):
        yield _headline(_predictions(predicted), {"": predicted})
    moved = {claim: _of_families(claims[claims["claim"] == claim], families) for claim in CAUSES}
    if moved := {claim: rows for claim, rows in moved.items() if len(rows)}:
        yield _headline(_causes(moved), {CAUSES[claim]: rows for claim, rows in moved.items()})


def _main(claims: pd.DataFrame, claim: str) -> pd.DataFrame:
    """Return the primary rows of a claim; without any those alike the first, as they learned."""
    rows = claims[claims["claim"] == claim]
    primary = rows[rows["is_primary"].eq(True)]
    if len(primary) or rows.empty:
        return primary
    names = rows[["recipe", "variant"]].fillna("")
    return rows[(names == names.iloc[0]).all(axis=1)]


def counted(verdicts: Sequence[str] | pd.Series) -> Counts:
    """Return how often each verdict was given, in the order in which they are counted."""
    given = list(verdicts)
    return {verdict: given.count(verdict) for verdict in VERDICTS if verdict in given}


def _headline(sentence: str, judged: Mapping[str, pd.DataFrame]) -> Headline:
    rows = pd.concat(list(judged.values()))[list(Judged.model_fields)]
    known = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return Headline(
        sentence=sentence[:1].upper() + sentence[1:],
        parts=[
            Part(words=words if len(judged) > 1 else "", counts=counted(each["verdict"]))
            for words, each in judged.items()
        ],
        judged=[Judged.model_validate(row) for row in known],
    )


def _course(course: Course, rows: pd.DataFrame, estimates: pd.DataFrame) -> str:
    """Say how something went over pretraining."""
    paper = f"; the paper reports {course.paper}."
    either = f"{course.subject} {course.falls} or {course.rises} {course.more}"
    known = rows.dropna(subset="value")
    share = _share(known, estimates) if course.claim == "entropy_falls" else ""
    directions = _directions(known)
    word = {-1: course.falls, 1: course.rises}
    first = max((-1, 1), key=lambda sign: directions[sign])
    if not directions[first]:
        where = f" in {_so_many(len(known), len(known))} models" if len(known) > 1 else ""
        return f"whether {either} is uncertain{where}: a change of {_size(known)}{share}{paper}"
    said = f"{course.subject} {word[first]} {course.more}"
    if len(known) > 1:
        said += f" in {_so_many(directions[first], len(known))} models"
    if directions[first] == len(known):
        return f"{said}, by {_size(known, sign=first)}{share.replace('−', '')}{paper}"
    others = [
        f"{word[-first]} in {directions[-first]}" if directions[-first] else "",
        f"uncertain in {directions[0]}" if directions[0] else "",
    ]
    return f"{', '.join([said, *filter(None, others)])}: a change of {_size(known)}{share}{paper}"


def _untested(rows: Mapping[str, pd.DataFrame]) -> str:
    """Say of which measures no course was tested, and why."""
    evidence = next(iter(rows.values()))["evidence"].iloc[0]
    verb = "change" if len(rows) > 1 else "changes"
    return f"how {_and(list(rows))} {verb} over pretraining was not tested: {evidence}"


def _so_many(number: int, total: int) -> str:
    if number == total:
        return "both" if total == 2 else f"all {total}"
    return f"{number} of {total}"


def _directions(rows: pd.DataFrame) -> dict[int, int]:
    """Return how many have their interval below zero (-1), above (1), or neither (0).

    What has no interval is as uncertain as what has zero within it.
    """
    falling, rising = int((rows["high"] < 0).sum()), int((rows["low"] > 0).sum())
    return {-1: falling, 1: rising, 0: len(rows) - falling - rising}


def _size(rows: pd.DataFrame, *, sign: int = 0) -> str:
    """Return one change with its interval, or the mean and the range of several.

    With a sign they are told as amounts in that direction, else with their own.
    """
    factor, unit = sign or 1, str(rows["unit"].iloc[0])
    values = factor * rows["value"]
    if len(rows) == 1:
        low, high = sorted(factor * rows[["low", "high"]].iloc[0])
        return f"{with_interval(values.iloc[0], low, high, unit)} {unit}"
    half = float((rows["high"] - rows["low"]).mean()) / 2
    mean, least, most = (
        rounded(each, half, unit) for each in (values.mean(), values.min(), values.max())
    )
    return f"{mean} {unit} in the mean ({least} to {most})"


def _share(rows: pd.DataFrame, estimates: pd.DataFrame) -> str:
    """Return by how many percent of its first stage H changed, mean over models."""
    firsts = [by_stage(estimates, model, ENTROPY).dropna().iloc[0] for model in rows["model"]]
    percent = 100 * float((rows["value"].to_numpy() / firsts).mean())
    return f" or {percent:.1f} %".replace("-", "−")


def _resuscitation(tried: Mapping[str, pd.DataFrame], downstream: pd.DataFrame) -> str:
    rows = pd.concat(list(tried.values()))
    changes = [f"{RESUSCITATION[claim][0]} by {_effect(each)}" for claim, each in tried.items()]
    cost = _cost(rows, downstream)
    if len(cost):
        changes.append(f"P after learning by {_effect(cost)}")
    paper = " and ".join(RESUSCITATION[claim][1] for claim in tried)
    variants = ", ".join(rows["variant"].unique())
    return f"resuscitation ({variants}) changed {_and(changes)}; the paper reports {paper}."


def _and(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _effect(rows: pd.DataFrame) -> str:
    """Return one effect, or of several the mean and on which side of zero their intervals lie."""
    known = rows.dropna(subset="value")
    if known.empty:
        return "what is not known"
    directions = _directions(known)
    sides = [
        f"{side} zero in {_so_many(directions[sign], len(known))}"
        for sign, side in ((1, "above"), (-1, "below"), (0, "maybe"))
        if directions[sign]
    ]
    if len(known) > 1:
        return f"{_size(known).removesuffix(')')}; {', '.join(sides)})"
    return _size(known) + (", which may be zero" if directions[0] else "")


def _cost(rows: pd.DataFrame, downstream: pd.DataFrame) -> pd.DataFrame:
    """Return how P after learning differs from the original's, at the last stage of each."""
    keys = ["model", "recipe", "variant"]
    found = downstream.merge(rows[keys].drop_duplicates(), on=keys).sort_values("step")
    names = {"change": "value", "change_low": "low", "change_high": "high"}
    last = found.groupby(keys, sort=False).tail(1)
    return last[list(names)].rename(columns=names).assign(unit="points")


def _predictions(rows: pd.DataFrame) -> str:
    told = []
    for verdict, number in counted(rows["verdict"]).items():
        statements = rows.loc[rows["verdict"] == verdict, "statement"]
        names = [statement.partition(":")[0] for statement in statements]
        more = f" and {number - MAX_NAMED} more" if number > MAX_NAMED else ""
        told.append(f"{number} {verdict} ({', '.join(names[:MAX_NAMED])}{more})")
    noun = "prediction that was" if len(rows) == 1 else "predictions that were"
    return f"of {len(rows)} {noun} written down before the study ran: {', '.join(told)}."


def _of_families(rows: pd.DataFrame, families: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows that are of families, the means over their runs; without such, all."""
    own = rows[rows["model"].isin(set(families.values()))]
    return own if len(own) else rows


def _causes(moved: Mapping[str, pd.DataFrame]) -> str:
    parts = []
    for claim, rows in moved.items():
        tested = rows[rows["verdict"] != NOT_TESTED]
        size = "not tested" if tested.empty else f"by {_effect(tested)}"
        parts.append(f"{CAUSES[claim]}, {size}")
    return (
        f"what changes K after learning when it alone is set: {'; '.join(parts)}. The paper does"
        " not separate these."
    )
