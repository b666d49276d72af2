"""How figures are laid out: side by side, and on a phone one below the other."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.text import Text

from ke_steps.figures import style
from ke_steps.figures.layout import MAX_LEGEND_STEPS, blocks, named_steps, panels
from ke_steps.figures.marks import draw_reference
from tests.invented.figures import FIGURES, Drawn

PHONE_PIXELS = 350
"""What 390 leave a figure, between margins of 20."""
MIN_PIXELS = 9


@pytest.mark.parametrize("name", FIGURES)
def test_on_a_phone_panels_are_stacked_and_text_can_be_read(drawn: Drawn, name: str) -> None:
    figure = drawn.draw(name, style.NARROW_INCHES)
    assert figure.get_figwidth() == style.NARROW_INCHES
    assert len({round(axis.get_position().x0, 6) for axis in figure.axes}) == 1
    scale = PHONE_PIXELS / (72 * figure.get_figwidth())
    sizes = [text.get_fontsize() * scale for text in figure.findobj(Text) if text.get_text()]
    assert min(sizes) >= MIN_PIXELS
    wide = drawn[name]
    told = [each.data().drop(columns="panel") for each in (figure, wide)]
    first, second = (each.sort_values(list(each)).reset_index(drop=True) for each in told)
    pd.testing.assert_frame_equal(first, second)


def test_a_row_that_shares_an_axis_shares_it_when_stacked() -> None:
    style.use_style(style.NARROW_INCHES)
    _, (block,) = blocks(1, 4, 2, sharey=True)
    block[0].plot([0, 1], [0, 5])
    block[3].plot([0, 1], [7, 9])
    assert block[0].get_ylim() == block[1].get_ylim()
    assert block[2].get_ylim() == block[3].get_ylim() != block[0].get_ylim()


def test_a_legend_names_some_of_very_many_steps_and_says_so() -> None:
    style.use_style()
    figure, _ = panels(1, 1)
    few = [str(step) for step in range(MAX_LEGEND_STEPS)]
    assert named_steps(figure, few) == few
    assert figure.notes == []
    many = [str(step) for step in range(34)]
    assert named_steps(figure, many) == [str(step) for step in range(0, 34, 3)]
    assert figure.notes == ["The legend names 12 of 34 steps."]


def test_rows_are_read_one_after_the_other() -> None:
    style.use_style(style.NARROW_INCHES)
    _, axes = panels(2, 3)
    heights = [axis.get_position().y0 for axis in axes.flat]
    assert heights == sorted(heights, reverse=True)


@pytest.mark.parametrize("value", [-100.0, 100.0])
def test_what_lies_far_off_is_told_inside_its_panel(value: float) -> None:
    """Above the panel it would be written over the title."""
    style.use_style()
    figure, ((axis,),) = panels(1, 1)
    axis.plot([0, 1], [0, 1])
    axis.set_title("knowledge entropy H")
    draw_reference(axis, "upper bound", value)
    figure.draw_without_rendering()
    (told,) = axis.texts
    box, panel = told.get_window_extent(), axis.get_window_extent()
    assert panel.y0 <= box.y0
    assert box.y1 <= panel.y1
