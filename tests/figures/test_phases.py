"""The figure of phases: a column per family, its means, and where each run is saturated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ke_steps.figures.layout import NothingToShowError
from ke_steps.figures.phases import entropy_by_phase
from tests.invented.figures import plotted, title
from tests.invented.phases import ARMS, RECALL, STEPS, Course, grid, tables_of

FALLS = "entropy_falls_after_saturation"


def of_families(families: list[str], **options: object) -> list:
    return grid([{"name": "P1", "claim": FALLS, "families": families}], **options)


def test_a_column_shows_the_means_of_a_family_and_each_saturation() -> None:
    late = dict(zip(STEPS, (0.25, 0.26, 0.3, 0.6, 0.96, 1.0), strict=True))
    lost = dict.fromkeys(STEPS, 0.25)
    families = [arm.family for arm in ARMS[4:6]]
    changed = {
        f"{families[0]}_s3": Course(recall=late),
        f"{families[0]}_s4": Course(recall=lost),
    }
    runs = of_families(families, changed=changed)
    axes = entropy_by_phase(tables_of(runs)).axes
    assert [title(axis) for axis in axes[:2]] == families
    recall = np.mean([[course[step] for step in STEPS] for course in (RECALL, late, lost)], axis=0)
    x, y = plotted(axes[4])["recall P"]
    assert (x, y) == (list(STEPS), pytest.approx(recall))
    lines = plotted(axes[0])
    assert {"H of |c|", "H of contributions"} <= lines.keys()
    marks = [line.get_xdata()[0] for line in axes[0].lines if line.get_linestyle() == ":"]
    assert sorted(marks) == [500, 1500]
    assert [text.get_text() for text in axes[0].texts] == ["1 of 3 without saturation"]
    assert len(axes[1].texts) == 0
    assert {axis.get_xscale() for axis in axes} == {"log"}
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_one_family_alone_is_nothing_to_compare() -> None:
    with pytest.raises(NothingToShowError):
        entropy_by_phase(tables_of(of_families([ARMS[0].family])))


def test_a_family_that_was_not_asked_for_recall_has_no_column() -> None:
    runs = of_families([arm.family for arm in ARMS[:3]])
    tables = tables_of(runs)
    left = tables.phases[tables.phases["family"] != ARMS[1].family]
    axes = entropy_by_phase(replace(tables, phases=pd.DataFrame(left))).axes
    assert [title(axis) for axis in axes[:2]] == [ARMS[0].family, ARMS[2].family]
