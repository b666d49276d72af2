"""Variants alike but for one number make a sweep."""

from __future__ import annotations

from ke_steps.figures.sweeps import sweeps, temperatures, tempered
from ke_steps.settings.telling import PlotFiguresJob
from tests.invented.figures import variant_entry


def test_sweeps_are_alike_but_for_the_number_swept() -> None:
    capped = {"max_multiplier": 20.0}
    variants = {
        "a": variant_entry("boost_p50_q1"),
        "b": variant_entry("boost_p50_q2"),
        "c": variant_entry("boost_p50_q1") | capped,
        "d": variant_entry("boost_p50_q3") | capped,
        "e": variant_entry("boost_p90_q2"),
        "f": variant_entry("boost_p50_q9") | {"rows": "key"},
        "g": variant_entry("temperature2"),
    }
    settings = PlotFiguresJob.model_validate(
        {"figures": [], "main_corpora": {}, "variants": variants, "recipes": [], "confidence": 0.95}
    )
    assert [tuple(sweep) for sweep in sweeps(settings.variants, "boost")] == [
        ("p = 50 %", {"a": 1, "b": 2}),
        ("p = 50 %, at most × 20", {"c": 1, "d": 3}),
    ]
    assert [tuple(sweep) for sweep in sweeps(settings.variants, "quantile")] == [
        ("q = 2", {"b": 0.5, "e": 0.9})
    ]


def test_temperatures_are_apart_by_the_way_in_which_attention_gets_them() -> None:
    warm = variant_entry("temperature2")
    variants = {
        "a": warm,
        "b": variant_entry("boost_p50_q1"),
        "c": warm | {"course": "constant"},
        "d": warm | {"kind": "rescale_queries"},
        "e": variant_entry("temperature3"),
    }
    settings = PlotFiguresJob.model_validate(
        {"figures": [], "main_corpora": {}, "variants": variants, "recipes": [], "confidence": 0.95}
    )
    assert [tuple(sweep) for sweep in temperatures(settings.variants)] == [
        ("decaying to 1 over learning", {"a": 2, "e": 3}),
        ("constant", {"c": 2}),
        ("query weights rescaled", {"d": 2}),
    ]
    assert set(tempered(settings.variants)) == {"a", "c", "d", "e"}
