"""What a study found, in sentences: the direction, the size, the paper's, and no cause."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from ke_steps.report.overview import Headline
from ke_steps.summary.quantities import ENTROPY
from tests.invented.report import claim, courses, overview

CAUSAL = re.compile(r"\b(because|cause[sd]?|due to|leads? to|makes?|lowers?|raises?)\b")


def entropies(*models: str, start: float = 10.0) -> pd.DataFrame:
    course = [start, start - 0.1, start - 0.1, start - 0.2]
    return pd.concat([courses(model, {ENTROPY: course}, None) for model in models or ("nursery",)])


def found(*claims: dict[str, Any], **others: Any) -> list[Headline]:
    models = dict.fromkeys(row["model"] for row in claims if row["claim"] == "entropy_falls")
    return overview(list(claims), entropies(*models), **others).findings


def sentence(*claims: dict[str, Any], **others: Any) -> str:
    (headline,) = found(*claims, **others)
    return headline.sentence


@pytest.mark.parametrize(
    ("value", "verdict", "told"),
    [
        (-0.29, "supported", "H fell over pretraining, by 0.29 ± 0.05 nats or 2.9 %"),
        (0.23, "not supported", "H rose over pretraining, by 0.23 ± 0.05 nats or 2.3 %"),
        (
            -0.02,
            "inconclusive",
            "Whether H fell or rose over pretraining is uncertain: a change of −0.02 ± 0.05 nats or"
            " −0.2 %",
        ),
    ],
)
def test_the_direction_of_h_is_said_beside_the_papers(
    value: float, verdict: str, told: str
) -> None:
    (headline,) = found(claim("entropy_falls", value=value, verdict=verdict))
    assert headline.sentence == f"{told}; the paper reports a fall."
    assert [part.counts for part in headline.parts] == [{verdict: 1}]
    assert headline.judged[0].value == value


@pytest.mark.parametrize(
    ("name", "value", "unit", "told"),
    [
        (
            "knowledge_after_falls",
            -1.2,
            "nats",
            "Later checkpoints end with less new knowledge (K after learning), by 1.20 ± 0.05 nats;"
            " the paper reports less.",
        ),
        (
            "knowledge_after_falls",
            0.4,
            "nats",
            "Later checkpoints end with more new knowledge (K after learning), by 0.40 ± 0.05 nats;"
            " the paper reports less.",
        ),
        (
            "forgetting_rises",
            0.38,
            "points",
            "Later checkpoints forget more of what they knew (F above chance), by 38 ± 5 points;"
            " the paper reports more.",
        ),
    ],
)
def test_what_learning_ends_with_is_said_of_later_checkpoints(
    name: str, value: float, unit: str, told: str
) -> None:
    assert sentence(claim(name, value=value, unit=unit, verdict="supported")) == told


def test_of_several_models_it_says_how_many_agree_and_the_range() -> None:
    agreeing = [
        claim("entropy_falls", model, value=value, verdict="supported")
        for model, value in (("a", -0.2), ("b", -0.3), ("c", -0.4))
    ]
    assert sentence(*agreeing) == (
        "H fell over pretraining in all 3 models, by 0.30 nats in the mean (0.20 to 0.40) or 3.0 %;"
        " the paper reports a fall."
    )
    mixed = [*agreeing[:2], claim("entropy_falls", "c", value=0.2, verdict="not supported")]
    mixed.append(claim("entropy_falls", "d", value=0.01, verdict="inconclusive"))
    (headline,) = found(*mixed)
    assert headline.sentence == (
        "H fell over pretraining in 2 of 4 models, rose in 1, uncertain in 1: a change of −0.07"
        " nats in the mean (−0.30 to 0.20) or −0.7 %; the paper reports a fall."
    )
    assert headline.parts[0].counts == {"supported": 2, "not supported": 1, "inconclusive": 1}


def test_what_was_not_tested_says_why() -> None:
    why = "over pretraining was not tested: 1 pretraining stage; a course needs at least 4."
    (headline,) = found(claim("entropy_falls"))
    assert headline.sentence == f"How H changes {why}"
    assert [(part.words, part.counts) for part in headline.parts] == [("", {"not tested": 1})]
    (headline,) = found(claim("entropy_falls"), claim("knowledge_after_falls"))
    assert headline.sentence == f"How H and K after learning change {why}"
    assert [part.words for part in headline.parts] == ["H", "K after learning"]


RESUSCITATION = {"recipe": "baseline", "variant": "boost"}


def resuscitated(model: str, **values: float) -> list[dict[str, Any]]:
    return [
        claim(name, model, value=value, unit="points", verdict=verdict, **RESUSCITATION)
        for name, value, verdict in (
            ("resuscitation_improves_acquisition", values["gain"], "not supported"),
            ("resuscitation_lowers_forgetting", values["loss"], "inconclusive"),
        )
    ]


def test_resuscitation_is_told_with_what_it_costs() -> None:
    ends = {"change": -0.14, "change_low": -0.17, "change_high": -0.11}
    (headline,) = found(
        *resuscitated("nursery", gain=0.084, loss=-0.03),
        downstream=[{"model": "nursery", "step": 2000, **RESUSCITATION, **ends}],
    )
    assert headline.sentence == (
        "Resuscitation (boost) changed acquisition A by 8 ± 5 points, forgetting F by −3 ± 5"
        " points, which may be zero and P after learning by −14 ± 3 points; the paper reports more"
        " acquisition and less forgetting."
    )
    assert {part.words: part.counts for part in headline.parts} == {
        "more acquisition": {"not supported": 1},
        "less forgetting": {"inconclusive": 1},
    }


def test_resuscitation_of_several_models() -> None:
    claims = resuscitated("a", gain=0.08, loss=0.02) + resuscitated("b", gain=0.12, loss=-0.2)
    assert (
        "acquisition A by 10 points in the mean (8 to 12; above zero in both) and forgetting F by"
        " −9 points in the mean (−20 to 2; below zero in 1 of 2, maybe zero in 1 of 2)"
    ) in sentence(*claims)


def test_resuscitation_that_the_main_recipe_lacks_is_told_by_its_own_first() -> None:
    name = "resuscitation_improves_acquisition"
    values = {"is_primary": False, "unit": "points", "variant": "boost"}
    rows = [
        claim(name, value=0.08, recipe="second", verdict="supported", **values),
        claim(name, value=0.5, recipe="third", verdict="supported", **values),
    ]
    assert "acquisition A by 8 ± 5 points;" in sentence(*rows)


def test_predictions_are_counted_and_named() -> None:
    verdicts = ["supported", "supported", "not supported"]
    rows = [
        claim("any", origin="prediction", is_primary=None, verdict=verdict, statement=f"P{n}: So.")
        for n, verdict in enumerate(verdicts, 1)
    ]
    assert sentence(*rows) == (
        "Of 3 predictions that were written down before the study ran: 2 supported (P1, P2),"
        " 1 not supported (P3)."
    )


def test_causes_are_told_of_families_where_there_are_such() -> None:
    named = {"is_primary": False, "origin": "beyond", "verdict": "not supported"}
    rows = [
        *(claim("entropy_alone_changes_learning", m, value=9.0, **named) for m in ("a", "b")),
        claim("entropy_alone_changes_learning", "kin", value=0.02, **named),
        claim("gauge_changes_learning", "kin", value=3.0, **(named | {"verdict": "not tested"})),
        claim("function_changes_learning", "kin", value=-0.3, **(named | {"verdict": "supported"})),
    ]
    whole = overview(rows, entropies("a", "b"), families={"a": "kin", "b": "kin"})
    (headline,) = whole.findings
    assert headline.sentence == (
        "What changes K after learning when it alone is set: absolute entropy alone, by"
        " 0.02 ± 0.05 nats, which may be zero; the gauge of resuscitation, not tested; the function"
        " of resuscitation, by −0.30 ± 0.05 nats. The paper does not separate these."
    )
    assert [each.model for each in headline.judged] == ["kin"] * 3


def test_no_more_than_six_findings_and_no_cause_of_a_course() -> None:
    primary = ["entropy_falls", "knowledge_after_falls", "forgetting_rises"]
    rows = [
        claim(name, f"m{n}", value=-0.1 * n, verdict="supported")
        for name in primary
        for n in range(28)
    ]
    rows += resuscitated("m0", gain=0.1, loss=0.1)
    rows.append(claim("any", origin="prediction", is_primary=None, statement="P1: So."))
    rows.append(claim("gauge_changes_learning", is_primary=False))
    told = overview(rows, entropies(*(f"m{n}" for n in range(28)))).findings
    assert len(told) == 6
    for headline in told[:3]:
        assert not CAUSAL.search(headline.sentence)
        assert len(headline.sentence) < 200


def test_another_recipe_than_the_first_is_in_no_sentence() -> None:
    first = claim("knowledge_after_falls", value=-1.2, verdict="supported")
    other = first | {"is_primary": False, "value": 5.0, "low": 4.0, "high": 6.0}
    assert sentence(first, other) == sentence(first)
