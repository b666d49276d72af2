"""Figures of resuscitation and of attention's temperature."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ke_steps.figures import strengths
from ke_steps.figures.panels import Tables
from ke_steps.figures.resuscitation import best_resuscitation, widest_resuscitations
from ke_steps.figures.strengths import resuscitation_by_boost
from tests.invented.figures import (
    FIGURES,
    INPUTS,
    MAIN,
    VARIANTS,
    ByStage,
    Drawn,
    check_line,
    check_stages,
    drawing_job,
    means,
    plotted,
    title,
)
from tests.invented.study import SyntheticStudy

BY_STAGE = [
    ByStage("resuscitation_by_stage", 0, "original", "entropy_nats"),
    ByStage(
        "resuscitation_by_stage", 1, "boost_p50_q2", "acquisition", "all/all", MAIN,
        "boost_p50_q2",
    ),
    ByStage(
        "resuscitation_by_stage", 4, "boost_p50_q2", "accuracy_after", "mean", MAIN,
        "boost_p50_q2",
    ),
]  # fmt: skip


@pytest.mark.parametrize("line", BY_STAGE, ids=lambda line: f"{line.figure}-{line.quantity}")
def test_lines_over_stages_are_the_summary(drawn: Drawn, tables: Tables, line: ByStage) -> None:
    check_stages(drawn, tables, line)


@pytest.mark.parametrize(
    ("figure", "strengths", "shared"),
    [
        ("resuscitation_by_boost", {1.0: "boost_p50_q1", 2.0: "boost_p50_q2"}, "p = 50 %"),
        ("resuscitation_by_quantile", {0.25: "boost_p25_q2", 0.5: "boost_p50_q2"}, "q = 2"),
    ],
)
def test_sweeps_are_drawn_at_stages_with_two_strengths(
    drawn: Drawn,
    tables: Tables,
    figure: str,
    strengths: dict[float, str],
    shared: str,
) -> None:
    panels = [
        ("knowledge entropy H", "entropy_nats", "model", None),
        ("acquisition A", "acquisition", "all/all", MAIN),
        ("forgetting F", "forgetting", "mean", MAIN),
        ("K after learning", "performance_after", "all/all", MAIN),
        ("P after learning", "accuracy_after", "mean", MAIN),
    ]
    for axis, (name, quantity, group, recipe) in zip(drawn[figure].axes, panels, strict=False):
        where = {"model": "olmo", "quantity": quantity, "group": group, "recipe": recipe}
        values = {
            variant: means(tables.summary, "step", "value", variant=variant, **where)[2000]
            for variant in ("original", *strengths.values())
        }
        assert title(axis).endswith(name)
        assert set(plotted(axis)) == {"2,000"}, "step 400 has one strength alone"
        check_line(axis, "2,000", {x: values[variant] for x, variant in strengths.items()})
        marks = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
        assert ([0], [pytest.approx(values["original"])]) in marks
        assert axis.get_xticklabels()[0].get_text() == "none"
    assert title(drawn[figure].axes[0]) == f"{shared}\nknowledge entropy H"


def test_temperatures_are_drawn_from_the_original_and_beside_the_best_resuscitation(
    drawn: Drawn, tables: Tables
) -> None:
    where = {"model": "olmo", "quantity": "performance_after", "group": "all/all"}
    where |= {"recipe": "baseline"}
    values = {
        variant: means(tables.summary, "step", "value", variant=variant, **where)[2000]
        for variant in ("original", *VARIANTS)
    }
    axis = drawn["attention_temperature"].axes[3]
    names = {1.0: "original", 1.5: "temperature1.5", 2.0: "temperature2"}
    check_line(axis, "2,000", {x: values[variant] for x, variant in names.items()})
    best = max((name for name in VARIANTS if name.startswith("boost")), key=values.__getitem__)
    assert best_resuscitation(tables, "olmo", MAIN) == best
    marks = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
    assert ([2.5], [pytest.approx(values[best])]) in marks
    legend = drawn["attention_temperature"].axes[5].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["2,000", "original", best]


def test_the_best_resuscitation_gains_most_over_the_original_at_the_tempered_stages() -> None:
    # raised: K of -4 at step 2 is the highest, but only 1 above its original; spared: 2 above.
    rows = [
        ("original", 1, -8.0), ("original", 2, -5.0), ("temperature2", 1, -8.0),
        ("temperature2", 2, -5.0), ("boost_p50_q1", 2, -4.0), ("boost_p50_q2", 1, -6.0),
        ("boost_p50_q3", 3, 0.0),
    ]  # fmt: skip
    summary = pd.DataFrame(rows, columns=["variant", "step", "value"]).assign(
        model="m", recipe="r", seed=0, group="all/all", quantity="performance_after",
        low=np.nan, high=np.nan, is_trained=True,
    )  # fmt: skip
    study = SyntheticStudy(
        Path("unused"), variants={row[0]: (1,) for row in rows[2:]}, recipes=("r",)
    )
    nothing = {name: schema.empty_table().to_pandas() for name, schema in INPUTS.items()}
    settings = drawing_job(study, FIGURES)
    tables = Tables(
        **(nothing | {"summary": summary, "estimates": summary}),
        diverged_curves=nothing["curves"], confidence=settings.confidence,
        main_corpora=study.main_corpora, variants=settings.variants, recipes=settings.recipes,
    )  # fmt: skip
    assert best_resuscitation(tables, "m", "r") == "boost_p50_q2"
    assert widest_resuscitations(tables, "m", "r") == [
        "boost_p50_q1", "boost_p50_q2", "boost_p50_q3",
    ]  # fmt: skip


def test_of_very_many_stages_some_are_drawn(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strengths, "MAX_LINES", 1)
    later = [
        pd.concat([table, table[table["step"] == 2000].assign(step=3000)], ignore_index=True)
        for table in (tables.summary, tables.estimates)
    ]
    figure = resuscitation_by_boost(replace(tables, summary=later[0], estimates=later[1]))
    assert all(set(plotted(axis)) == {"2,000"} for axis in figure.axes[:5])
    assert figure.notes == ["Drawn are 1 of 2 stages; the table of variants has all."]
