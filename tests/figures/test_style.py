"""How figures look: contrast, a second cue beside colour, ticks at the stages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from ke_steps.figures import style
from tests.invented.figures import FIGURES, STEPS, Drawn

MIN_CONTRAST = 3.0
OTHER_STEPS = ("entropy_by_phase", "learning_frontiers", "gauge_and_function")
"""Figures drawn from tables of other stages."""


def contrast(colour: Any) -> float:
    """The contrast of a colour against white, by the formula of WCAG 2.2; alpha is mixed in."""
    *channels, alpha = to_rgba(colour)
    mixed = np.array(channels) * alpha + (1 - alpha)
    linear = np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4)
    return 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)


def test_the_contrast_of_known_colours() -> None:
    assert contrast("black") == pytest.approx(21)
    assert contrast("white") == 1
    assert contrast("#767676") == pytest.approx(4.54, abs=0.01)
    assert contrast((0, 0, 0, 0.5)) == pytest.approx(3.98, abs=0.01)


def colours_of(figure: Figure) -> Iterator[Any]:
    """The colours of every line, marker, bar and dot."""
    for axis in figure.axes:
        for line in axis.lines:
            if line.get_linestyle() != "None":
                yield line.get_color()
            if line.get_marker() not in ("None", "", None):
                face = line.get_markerfacecolor()
                yield line.get_markeredgecolor() if to_rgba(face) == to_rgba("white") else face
        for lines in axis.collections:
            if isinstance(lines, LineCollection):
                yield from lines.get_colors()
            elif isinstance(lines, PathCollection):
                yield from lines.get_facecolors()


@pytest.mark.parametrize("name", FIGURES)
def test_every_line_and_mark_stands_out_from_white(drawn: Drawn, name: str) -> None:
    colours = list(colours_of(drawn[name]))
    assert colours
    assert min(map(contrast, colours)) >= MIN_CONTRAST


def test_sequential_colours_of_many_stages_stand_out() -> None:
    looks = style.ordered_looks(range(40))
    ratios = [contrast(look["colour"]) for look in looks.values()]
    assert min(ratios) >= MIN_CONTRAST
    assert ratios == sorted(ratios)


@pytest.mark.parametrize("name", FIGURES)
def test_lines_that_differ_in_colour_differ_in_marker_or_dash(drawn: Drawn, name: str) -> None:
    for axis in drawn[name].axes:
        cues: dict[Any, tuple[Any, ...]] = {}
        for line in axis.lines:
            if not str(line.get_label()).startswith("_"):
                cues[line.get_color()] = (line.get_marker(), line.get_linestyle())
        assert len(set(cues.values())) == len(cues)


def test_lines_of_many_names_differ_in_colour_or_marker() -> None:
    looks = style.line_looks(f"variant {number}" for number in range(25))
    assert len({(look["colour"], look["marker"]) for look in looks.values()}) == 25


@pytest.mark.parametrize("name", [name for name in FIGURES if name not in OTHER_STEPS])
def test_panels_over_stages_have_one_axis_with_a_tick_at_each(drawn: Drawn, name: str) -> None:
    panels = [axis for axis in drawn[name].axes if axis.get_xlabel() == "pretraining step"]
    levels = [axis for axis in panels if not axis.get_title(loc="left").startswith("change since")]
    for axis in panels:
        ticks = {*axis.get_xticks(), *axis.get_xticks(minor=True)}
        lines = [line for line in axis.lines if line.get_transform() == axis.transData]
        drawn_at = {float(x) for line in lines for x in np.asarray(line.get_xdata(), float)}
        assert ticks <= set(STEPS)
        assert {x for x in drawn_at if x in STEPS} <= ticks
        assert len(axis.get_xticklabels()) >= 1
    assert len({axis.get_xlim() for axis in levels}) <= 1


def test_close_stages_have_a_tick_and_no_number() -> None:
    from ke_steps.figures.layout import panels

    _, ((axis,),) = panels(1, 1)
    stages = [0, 1, 2, 4, 8, 1000, 5000, 10000]
    style.label_steps([axis], stages)
    numbers = [text.get_text() for text in axis.get_xticklabels()]
    assert numbers == ["0", "1,000", "5,000", "10k"]
    assert sorted([*axis.get_xticks(), *axis.get_xticks(minor=True)]) == stages


def test_strengths_are_labelled_where_there_is_room() -> None:
    style.use_style()
    axis = Figure(figsize=(3, 2)).add_subplot()
    axis.plot([0, 10], [0, 0])
    style.label_ticks(axis, {0: "none", 1.5: "1.5", 2: "2", 5: "5", 10: "10"})
    assert [text.get_text() for text in axis.get_xticklabels()] == ["none", "1.5", "5", "10"]
    assert list(axis.get_xticks(minor=True)) == [2]
