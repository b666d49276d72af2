"""Titles, captions and alternative texts tell of this study, and of nothing that is not drawn."""

from __future__ import annotations

import re

import pytest

from ke_steps.figures.panels import Tables
from ke_steps.figures.telling import words_of
from tests.invented.figures import FIGURES, MAIN, Drawn, means


def olmo(tables: Tables, quantity: str, group: str, recipe: str | None) -> dict[float, float]:
    where = {"model": "olmo", "variant": "original", "group": group, "recipe": recipe}
    return means(tables.summary, "step", "value", quantity=quantity, **where)


@pytest.mark.parametrize("name", [name for name in FIGURES if name != "entropy_and_learning"])
def test_every_figure_tells_a_finding_with_a_number(drawn: Drawn, name: str) -> None:
    words = words_of(name, drawn[name], 0.9)
    assert words.title != name.replace("_", " ").capitalize()
    assert re.search(r"\d", words.title)
    assert not words.title.endswith(".")
    assert "nan" not in words.title + words.caption + words.alt
    assert words.alt.startswith(f"{words.title}. ")
    assert len(words.alt) > len(words.title) + 20
    has_bars = any("low" in m.rows and m.rows["low"].notna().any() for m in drawn[name].marks)
    assert ("Bars are 90 % intervals" in words.caption) == has_bars
    has_change = any("change_since_step" in mark.rows for mark in drawn[name].marks)
    assert ("Changes take" in words.caption) == has_change


def test_where_nothing_can_be_said_the_title_is_what_it_shows(drawn: Drawn) -> None:
    """Two trained stages are too few for r."""
    assert words_of("entropy_and_learning", drawn["entropy_and_learning"], 0.95).title == (
        "Entropy and learning"
    )


def test_titles_have_the_numbers_of_the_summary(drawn: Drawn, tables: Tables) -> None:
    h = olmo(tables, "entropy_nats", "model", None)
    title = words_of("entropy_by_stage", drawn["entropy_by_stage"], 0.95).title
    verb = "falls" if h[2000] < h[400] else "rises"
    expected = f"H {verb} from {h[400]:.3f} to {h[2000]:.3f} nats over the stages of pretraining"
    assert title == expected
    f = olmo(tables, "forgetting", "mean", MAIN)
    title = words_of("acquisition_and_forgetting", drawn["acquisition_and_forgetting"], 0.95).title
    assert f"from {100 * f[400]:.1f} to {100 * f[2000]:.1f} %" in title


def test_a_caption_says_models_recipes_and_samples(drawn: Drawn) -> None:
    caption = words_of("performance_by_stage", drawn["performance_by_stage"], 0.95).caption
    assert "Model: olmo. Recipe: baseline." in caption
    assert caption.count("K: mean log probability") == caption.count("P: accuracy, mean") == 1
    assert "Forgetting F" not in caption
    assert re.search(r"bootstrap over \d+ passages and 2 seeds; ", caption)
    assert re.search(r"bootstrap over \d+ items and 2 seeds\.", caption)
    assert "thin dots the seeds" in caption
    assert "Dotted: uniform, −10.820 nats" in caption
    assert "chance, 10.0 %" in caption
    assert "gap" not in caption


def test_the_alternative_text_has_both_ends_of_each_line(drawn: Drawn, tables: Tables) -> None:
    alt = words_of("performance_by_stage", drawn["performance_by_stage"], 0.95).alt
    k = olmo(tables, "performance_after", "all/all", MAIN)
    ends = f"{k[0]:.3f} nats at step 0 to {k[2000]:.3f} nats at step 2,000".replace("-", "−")
    assert f"probe performance K, after learning: {ends}" in alt
