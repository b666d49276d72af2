"""Faults of predictions that the study's models show, before any of them is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ke_steps.settings.strata import strata_of
from ke_steps.settings.study import Study
from ke_steps.settings.telling import Prediction


def prediction_faults(study: Study) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for every prediction that nothing could decide."""
    told = study.summarize.predictions
    if told and study.evaluate_retention is None:
        yield "evaluate_retention", "missing, but summarize.predictions need recall"
    names = Counter(prediction.name for prediction in told)
    for index, prediction in enumerate(told):
        key = f"summarize.predictions[{index}]"
        if names[prediction.name] > 1:
            yield f"{key}.name", f"must not repeat, got {prediction.name!r} twice"
        unknown = list(_unknown_families(study, prediction))
        for family in unknown:
            known = sorted({model.family for model in study.models.values() if model.family})
            yield f"{key}.families", f"no family {family!r}; known: {', '.join(known) or 'none'}"
        if prediction.setting is not None and not unknown:
            for fault in _setting_faults(study, prediction, prediction.setting):
                yield f"{key}.setting", fault


def _unknown_families(study: Study, prediction: Prediction) -> Iterator[str]:
    known = {model.family for model in study.models.values()}
    return (family for family in prediction.families if family not in known)


def _setting_faults(study: Study, prediction: Prediction, setting: str) -> Iterator[str]:
    """Yield why runs cannot be compared by a setting."""
    models = [name for name, model in study.models.items() if model.family in prediction.families]
    others = [name for name in models if name not in study.nurseries]
    if others:
        yield f"{', '.join(others)}: no nursery, whose settings would be known"
        return
    settings = {name: study.nurseries[name].model_dump(mode="json") for name in models}
    numbers = [
        name
        for name, value in settings[models[0]].items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name != "seed"
    ]
    if setting not in numbers:
        yield f"{setting!r} is no number of a nursery; known: {', '.join(numbers)}"
    elif not strata_of(models, settings, setting):
        yield (
            f"no two runs of {', '.join(prediction.families)} differ in {setting} and are alike in"
            " all other settings of their nurseries but the seed"
        )
