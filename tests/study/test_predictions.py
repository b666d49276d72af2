"""Predictions that no run could decide are refused in one line, before any run."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ke_steps.job.errors import UserError
from ke_steps.settings.study import Study
from ke_steps.settings.telling import Prediction
from ke_steps.study.jobs import settings_for
from ke_steps.study.predictions import prediction_faults
from ke_steps.study.reading import read_study
from tests.invented.configs import changed
from tests.invented.project import ROOT

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
MORE = "entropy_falls_more_after_saturation"
NURSERIES: dict[str, dict[str, Any]] = {
    "a": {"weight_decay": 0.1, "seed": 1},
    "b": {"weight_decay": 1.0, "seed": 1},
    "c": {"weight_decay": 1.0, "seed": 2, "hidden_size": 64},
}
FAMILIES = {"a": "little", "b": "much", "c": "narrow"}


def prediction(**changes: Any) -> dict[str, Any]:
    return {
        "name": "P1",
        "claim": "entropy_falls_after_saturation",
        "families": ["little", "much"],
        **changes,
    }


def study_of(*predictions: dict[str, Any], **changes: Any) -> Study:
    """Return a study of three nurseries and a model from outside."""
    sources = {name: {"kind": "nursery", **said} for name, said in NURSERIES.items()}
    sources["outside"] = {"kind": "directory", "path": "/m_{step}"}
    models = {
        name: {"source": source, "family": FAMILIES.get(name, name), "steps": [4, 8]}
        for name, source in sources.items()
    }
    told = {"predictions": list(predictions)}
    return Study.model_validate(SMOKE | {"models": models, "summarize": told} | changes)


def faults(*predictions: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    return list(prediction_faults(study_of(*predictions, **changes)))


def test_predictions_that_runs_can_decide_are_taken() -> None:
    assert faults() == []
    more = prediction(name="P2", claim=MORE, setting="weight_decay")
    assert faults(prediction(), more, prediction(name="P3", families=["outside"])) == []


@pytest.mark.parametrize(
    ("changes", "key", "says"),
    [
        ({"families": ["litle"]}, "families", "no family 'litle'; known: little, much, narrow"),
        (
            {"claim": MORE, "setting": "decay"},
            "setting",
            "'decay' is no number of a nursery; known: warmup_fraction, min_learning_rate_ratio,",
        ),
        ({"claim": MORE, "setting": "seed"}, "setting", "'seed' is no number of a nursery"),
        ({"claim": MORE, "setting": "corpus"}, "setting", "'corpus' is no number of a nursery"),
        (
            {"claim": MORE, "setting": "weight_decay", "families": ["little", "narrow"]},
            "setting",
            "no two runs of little, narrow differ in weight_decay and are alike in all other",
        ),
        (
            {"claim": MORE, "setting": "weight_decay", "families": ["little", "outside"]},
            "setting",
            "outside: no nursery, whose settings would be known",
        ),
    ],
)
def test_what_nothing_could_decide_is_refused(changes: dict[str, Any], key: str, says: str) -> None:
    ((place, fault),) = faults(prediction(**changes))
    assert place == f"summarize.predictions[0].{key}"
    assert fault.startswith(says)


def test_two_predictions_have_two_names() -> None:
    found = faults(prediction(), prediction())
    assert found[0] == ("summarize.predictions[0].name", "must not repeat, got 'P1' twice")


def test_without_recall_nothing_saturates() -> None:
    found = faults(prediction(), evaluate_retention=None)
    assert found == [("evaluate_retention", "missing, but summarize.predictions need recall")]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"claim": "entropy_falls"}, "summarize.predictions[0].claim: got 'entropy_falls'"),
        ({"claim": MORE}, f"summarize.predictions[0]: setting: missing, but needed by {MORE}"),
        ({"setting": "weight_decay"}, f"summarize.predictions[0]: setting is for {MORE}"),
        ({"families": []}, "summarize.predictions[0].families: got []"),
        ({"families": ["a", "a"]}, "summarize.predictions[0]: families must not repeat"),
        ({"families": ["zipf"]}, "summarize.predictions[0].families: no family 'zipf'"),
    ],
)
def test_a_wrong_prediction_is_refused_in_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as refusal:
        read_study(changed("summarize/predictions", [prediction(**changes)]))
    assert says in str(refusal.value).splitlines()[0]


def test_the_summary_is_told_the_predictions_and_the_nurseries() -> None:
    study = study_of(prediction())
    settings = settings_for(study, "summarize", {})
    assert [Prediction.model_validate(each) for each in settings["predictions"]] == (
        study.summarize.predictions
    )
    told = settings["nurseries"]
    assert list(told) == list(NURSERIES)
    assert told["b"].items() >= NURSERIES["b"].items()
    assert told["b"]["corpus"] == "pretraining"  # whole, also what only the section says
