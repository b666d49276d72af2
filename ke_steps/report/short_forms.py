"""A study on a page as text: ``summary.md``, and lines for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from ke_steps.claims.findings import BEYOND, NOT_TESTED, PAPER, PREDICTION
from ke_steps.report.key_cells import (
    cell_of,
    label_of,
    range_of,
    sampled,
    shown_rows,
    spread_out,
    subject_of,
)
from ke_steps.report.overview import Counts, Headline, Overview

WIDTH = 100
"""Characters of a terminal's line."""

ORIGINS = {PAPER: "The paper's claims", BEYOND: "Beyond the paper", PREDICTION: "Predictions"}
UNTESTED = {PAPER: "of the paper's", BEYOND: "beyond the paper", PREDICTION: "predictions"}
"""What is counted by whose claim it is: what was tested, and what was not."""


def scope_of(overview: Overview) -> str:
    """Say what the numbers rest on."""
    scope = overview.scope
    stages = set(scope.num_stages.values())
    number_of = f"{range_of(stages)} stage{'s' * (stages != {1})}"
    told = [_count(len(scope.models), "model"), f"{number_of} each"]
    if len(scope.models) == 1:
        told = [scope.models[0], number_of]
    for number, noun in (
        (scope.num_variants, "intervention"),
        (scope.num_recipes, "recipe"),
        (scope.num_seeds, "seed"),
        (scope.num_runs, "run"),
    ):
        if number:
            told.append(_count(number, noun) + " of learning" * (noun in ("seed", "run")))
    if scope.num_diverged:
        told.append(f"{scope.num_diverged} of them diverged")
    words = ", ".join(told)
    return f"{words}; n = {units}" if (units := sampled(overview.key_table)) else words


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def tallies(overview: Overview) -> list[tuple[str, Counts]]:
    """Return the counts of what was tested by whose claim it is, then of what was not."""
    tested = [
        (ORIGINS[origin], {verdict: n for verdict, n in counts.items() if verdict != NOT_TESTED})
        for origin, counts in overview.verdicts.items()
    ]
    untested = {
        UNTESTED[origin]: counts[NOT_TESTED]
        for origin, counts in overview.verdicts.items()
        if NOT_TESTED in counts
    }
    return [each for each in [*tested, ("Not tested", untested)] if each[1]]


def correction(overview: Overview) -> str:
    """Say how many verdicts are corrected for their number; empty for none."""
    number = overview.num_corrected
    return f"{_count(number, 'verdict')} corrected for their number, by Holm." if number else ""


def in_words(counts: Counts) -> str:
    """Return counts as a list."""
    return ", ".join(f"{number} {word}" for word, number in counts.items())


def markdown(overview: Overview) -> str:
    """Return the whole page as Markdown."""
    return "\n".join(_markdown(overview)) + "\n"


def _markdown(overview: Overview) -> Iterator[str]:
    yield f"# {_escaped(overview.title)}"
    if overview.description:
        yield f"\n{_escaped(overview.description)}"
    yield "\n## Findings\n"
    for finding in overview.findings:
        yield f"- {_escaped(finding.sentence)} *{judged_in_words(finding)}.*"
    table = overview.key_table
    yield f"\n## Key numbers\n\n{_escaped(note_of(overview))}\n"
    steps = [f"step {step:,}" for step in table.steps]
    yield f"| | {' | '.join(steps)} |\n|---|{'---:|' * len(steps)}"
    for row in shown_rows(table):
        cells = [label_of(row, table), *(cell_of(row, point) for point in row.points)]
        yield f"| {' | '.join(map(_escaped, cells))} |"
    yield f"\nMeasured: {_escaped(scope_of(overview))}."
    yield "\n## Verdicts\n"
    for name, counts in tallies(overview):
        yield f"- {name}: {in_words(counts)}"
    if words := correction(overview):
        yield f"\n{words}"
    if overview.warnings:
        yield "\n## Warnings\n"
    for caution in overview.warnings:
        models = f"{caution.models}: " if caution.models else ""
        yield f"- {_escaped(models + caution.warning)}"


def _escaped(text: str) -> str:
    """Return text in which Markdown sees nothing of its own."""
    for mark in "\\`*_|<[":
        text = text.replace(mark, f"\\{mark}")
    return text


def judged_in_words(finding: Headline) -> str:
    """Return the verdicts of a finding."""
    told = []
    for part in finding.parts:
        is_one = sum(part.counts.values()) == 1
        words = next(iter(part.counts)) if is_one else in_words(part.counts)
        told.append(f"{part.words}: {words}" if part.words else words)
    words = "; ".join(told)
    return words[:1].upper() + words[1:]


def note_of(overview: Overview) -> str:
    """Say what the key table is of."""
    table = overview.key_table
    return f"{subject_of(table)}. ± is half the {100 * overview.confidence:g} % interval."


def terminal(overview: Overview) -> Iterator[str]:
    """Yield key table and verdicts as lines of plain text."""
    table = overview.key_table
    lines = [["step", *(f"{step:,}" for step in table.steps)]]
    for row in shown_rows(table):
        cells = [cell_of(row, point).replace(" ± ", "±") for point in row.points]
        lines.append([label_of(row, table), *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    places = spread_out(table.steps, len(table.steps))
    while len(places) > 1 and sum(widths[place + 1] + 2 for place in places) > WIDTH - widths[0]:
        places = spread_out(table.steps, len(places) - 1)
    yield from textwrap.wrap(f"Key numbers: {note_of(overview)}", WIDTH)
    for label, *line in lines:
        shown = [f"  {line[place]:>{widths[place + 1]}}" for place in places]
        yield label.ljust(widths[0]) + "".join(shown)
    if len(places) < len(table.steps):
        yield f"{len(places)} of {len(table.steps)} stages; the report has all."
    yield from textwrap.wrap(f"Measured: {scope_of(overview)}.", WIDTH)
    yield ""
    for name, counts in tallies(overview):
        yield f"{name}: {in_words(counts)}"
    number = len(overview.warnings)
    if number:
        yield f"{_count(number, 'warning')}: in the report, above its verdicts"
