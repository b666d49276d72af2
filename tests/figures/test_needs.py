"""Which figures a study has data for: its config alone decides."""

from __future__ import annotations

import subprocess
import sys
import typing
from typing import Any

import pytest
import yaml

from ke_steps.figures.needs import NEEDS, available, missing
from ke_steps.settings.study import Study
from ke_steps.settings.telling import FigureName
from tests.invented.project import ROOT

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
NURSERY = {"source": {"kind": "nursery"}, "steps": [0, 8]}
ONE_STEP = {"source": {"kind": "nursery"}, "steps": [8]}
OTHER = {"source": {"kind": "directory", "path": "/other_{step}"}, "steps": [8, 9]}
RECIPE = SMOKE["recipes"]["baseline"] | {"variants": None, "steps": None, "models": None}
LATER = RECIPE | {"probe_interval_steps": 1}


def boost(boost: float = 2.0, quantile: float = 0.5, **more: Any) -> dict[str, Any]:
    return {"kind": "resuscitate", "quantile": quantile, "boost": boost, **more}


def control(**changes: Any) -> dict[str, Any]:
    """A control of ``boost()`` at the trained checkpoint, but for the changes."""
    return boost(steps=[8]) | {"kind": "permuted", "of": "resuscitate", "num_draws": 1} | changes


def crossed(**changes: dict[str, Any]) -> dict[str, Any]:
    """Gauge, function and resuscitation at the trained checkpoint, but for the changes, by kind."""
    kinds = ("gauge", "function", "resuscitate")
    return {kind: boost(steps=[8]) | {"kind": kind} | changes.get(kind, {}) for kind in kinds}


def families(*num_trained: int) -> dict[str, Any]:
    """Models of a family each, of so many trained checkpoints beside the untrained one."""
    return {
        f"model{number}": OTHER | {"family": f"family{number}", "steps": list(range(steps + 1))}
        for number, steps in enumerate(num_trained)
    }


def rates(*learning_rates: float, **more: Any) -> dict[str, Any]:
    """Recipes that differ in their learning rate alone."""
    return {
        f"rate{number}": RECIPE | {"learning_rate": rate} | more
        for number, rate in enumerate(learning_rates)
    }


WARM = {"kind": "temper_attention", "temperature": 2.0}
LEAN = {
    "models": {"tiny": NURSERY},
    "variants": {},
    "recipes": {"baseline": RECIPE},
    "evaluate_novelty": None,
    "measure_rivals": None,
    "extract_coefficients": SMOKE["extract_coefficients"]
    | {"other_corpora": [], "num_attention_sequences": 0, "num_next_token_sequences": 0},
}
ALWAYS = {
    "entropy_by_stage",
    "entropy_by_layer",
    "entropy_by_measure",
    "acquisition_and_forgetting",
    "performance_by_stage",
    "probe_curves",
    "knowledge_by_injection",
    "entropy_and_learning",
    "coefficient_distributions",
    "update_map",
    "ranking_changes",
}


LEARNING = {
    "acquisition_and_forgetting",
    "performance_by_stage",
    "probe_curves",
    "knowledge_by_injection",
    "entropy_and_learning",
    "update_map",
}


def study(**changes: Any) -> Study:
    """A study with the least data, but for the changes; ``extract`` changes that section."""
    extract = LEAN["extract_coefficients"] | changes.pop("extract", {})
    return Study.model_validate(SMOKE | LEAN | {"extract_coefficients": extract} | changes)


def test_the_least_study_has_the_figures_that_every_study_has() -> None:
    assert set(available(study())) == ALWAYS


def test_a_study_that_learns_nothing_has_figures_of_what_it_measures() -> None:
    measuring = study(recipes={}, knowledge=None, evaluate_retention=None)
    assert set(available(measuring)) == ALWAYS - LEARNING


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({"extract": {"other_corpora": ["continual"]}}, {"entropy_by_corpus"}),
        ({"extract": {"num_attention_sequences": 4}}, {"attention_and_next_token_entropy"}),
        ({"extract": {"num_next_token_sequences": 4}}, {"attention_and_next_token_entropy"}),
        ({"evaluate_novelty": SMOKE["evaluate_novelty"]}, {"novelty_by_corpus"}),
        ({"measure_rivals": SMOKE["measure_rivals"]}, {"rivals_by_stage"}),
        ({"variants": {"a": boost(steps=[8])}}, {"variants"}),
        ({"variants": {"a": boost()}}, {"variants", "resuscitation_by_stage"}),
        ({"variants": {"warm": WARM}}, {"variants", "attention_temperature"}),
        (
            {"variants": {"warm": WARM | {"kind": "rescale_queries"}}},
            {"variants", "attention_temperature"},
        ),
        (
            {"variants": {"a": boost(1, steps=[8]), "b": boost(2, steps=[8])}},
            {"variants", "resuscitation_by_boost"},
        ),
        (
            {"variants": {"a": boost(steps=[8]), "b": boost(quantile=0.9, steps=[8])}},
            {"variants", "resuscitation_by_quantile"},
        ),
        # No sweep: the strengths never meet at one stage, or something else differs as well.
        ({"variants": {"a": boost(1, steps=[0]), "b": boost(2, steps=[8])}}, {"variants"}),
        (
            {"variants": {"a": boost(1, steps=[8]), "b": boost(2, 0.9, steps=[8])}},
            {"variants"},
        ),
        (
            {
                "variants": {
                    "a": boost(1, steps=[8]),
                    "b": boost(2, steps=[8], max_multiplier=3.0),
                }
            },
            {"variants"},
        ),
        ({"variants": crossed()}, {"variants", "gauge_and_function"}),
        ({"variants": crossed(gauge={"boost": 3.0})}, {"variants"}),
        ({"variants": crossed(gauge={"steps": [0]})}, {"variants"}),
        ({"variants": {"a": boost(steps=[8]), "b": control()}}, {"variants", "gauge_and_function"}),
        ({"variants": {"a": boost(steps=[8]), "b": control(of="gauge")}}, {"variants"}),
        ({"variants": {"a": boost(steps=[8]), "b": control(quantile=0.9)}}, {"variants"}),
        ({"recipes": {"baseline": RECIPE, "other": RECIPE}}, {"learning_by_recipe"}),
        ({"recipes": rates(1e-3, 2e-3, 3e-3)}, {"learning_by_recipe"}),
        ({"recipes": rates(1e-3, 2e-3, 2e-3, 3e-3)}, {"learning_by_recipe"}),
        (
            {"recipes": rates(1e-3, 2e-3, 3e-3, 4e-3)},
            {"learning_by_recipe", "learning_frontiers"},
        ),
        # Step 0 is the untrained model, and without P there is nothing to set K against.
        ({"recipes": rates(1e-3, 2e-3, 3e-3, 4e-3, steps=[0])}, {"learning_by_recipe"}),
        (
            {"recipes": rates(1e-3, 2e-3, 3e-3, 4e-3), "evaluate_retention": None},
            {"learning_by_recipe"},
        ),
        ({"models": {"tiny": NURSERY, "other": OTHER}}, {"learning_by_model"}),
        ({"models": families(4, 4)}, {"learning_by_model", "entropy_by_phase"}),
        # Step 0 is the untrained model: three trained checkpoints are no course.
        ({"models": families(4, 3)}, {"learning_by_model"}),
        ({"models": families(4, 4), "evaluate_retention": None}, {"learning_by_model"}),
        (
            {"recipes": {"baseline": LATER}},
            {"retention_over_time"},
        ),
    ],
)
def test_what_a_study_adds_brings_its_figures(changes: dict[str, Any], figures: set[str]) -> None:
    assert set(available(study(**changes))) - ALWAYS == figures


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"models": {"tiny": ONE_STEP}}, {"ranking_changes"}),
        (
            {
                "variants": {"a": boost()},
                "recipes": {"baseline": RECIPE | {"variants": ["a"]}},
            },
            LEARNING,
        ),
    ],
)
def test_what_a_study_leaves_out_takes_its_figures(changes: dict[str, Any], lost: set[str]) -> None:
    assert ALWAYS - set(available(study(**changes))) == lost


def test_variants_that_no_recipe_is_run_on_have_no_figures() -> None:
    measured_only = study(
        variants={"a": boost(1), "b": boost(2), "warm": WARM},
        recipes={"baseline": RECIPE | {"variants": ["original"]}},
    )
    assert set(available(measured_only)) == ALWAYS


def test_recipes_of_different_models_are_not_compared() -> None:
    apart = study(
        models={"tiny": NURSERY, "other": OTHER},
        recipes={"one": RECIPE | {"models": ["tiny"]}, "two": RECIPE | {"models": ["other"]}},
    )
    assert set(available(apart)) - ALWAYS == {"learning_by_model"}


def seeds(families: str, steps: tuple[int, ...] = (0, 8)) -> dict[str, Any]:
    """A model for each letter, which is its family; a dot is for none."""
    return {
        f"m{number}": NURSERY
        | {"steps": list(steps)}
        | ({} if letter == "." else {"family": letter})
        for number, letter in enumerate(families)
    }


@pytest.mark.parametrize(
    ("models", "is_there"),
    [
        (seeds("aaaabbbb"), True),
        (seeds("aabbccdd.e"), True),
        (seeds("aaaaaaab"), False),
        (seeds("aaaaaaa."), False),
        (seeds("aaaaaaaa", steps=(0,)), False),
        (seeds("aaaaaaaa") | {"m7": OTHER | {"steps": [9], "family": "a"}}, False),
    ],
    ids=["eight", "and two alone", "one alone", "seven", "untrained", "no stage in common"],
)
def test_runs_of_pretraining_are_compared_where_eight_share_a_stage(models, is_there) -> None:
    figure = "entropy_and_learning_between_runs"
    assert (figure in available(study(models=models))) == is_there
    apart = {
        name: RECIPE | {"models": [model for model in models if model not in without]}
        for name, without in (("one", ["m0"]), ("two", ["m1"]))
    }
    if len(models) == 8:
        assert figure not in available(study(models=models, recipes=apart))


def test_a_sweep_counts_under_the_main_recipe_of_its_variants() -> None:
    # The figure draws the first recipe, which meets one boost only.
    crossed = study(
        variants={"a": boost(1, steps=[8]), "b": boost(2, steps=[8])},
        recipes={"one": RECIPE | {"variants": ["a"]}, "two": RECIPE},
    )
    assert "resuscitation_by_boost" not in available(crossed)


def test_figures_come_in_the_order_of_the_report_each_with_a_reason_where_missing() -> None:
    names = typing.get_args(FigureName)
    assert set(NEEDS) <= set(names)
    lean = study()
    there = available(lean)
    assert there == sorted(there, key=names.index)
    for figure in names:
        reason = missing(lean, figure)
        assert (reason is None) == (figure in there)
        assert reason is None or len(reason) > 10


def test_the_config_is_judged_without_matplotlib_or_torch() -> None:
    code = (
        "import sys, ke_steps.figures.needs;"
        "sys.exit(bool({'matplotlib', 'torch', 'pandas'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
