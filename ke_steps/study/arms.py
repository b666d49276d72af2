"""Faults of interventions: names that clash, and models that do not allow them, as far as known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ke_steps.checkpoints.allowed_interventions import refuse_intervention
from ke_steps.checkpoints.families import Family, find_family, is_native_olmo, read_family
from ke_steps.job.errors import UserError
from ke_steps.settings.checkpoints import DirectorySource, Model, NurserySource
from ke_steps.settings.study import Study
from ke_steps.settings.types import MAX_NAME_CHARACTERS


class _Known(NamedTuple):
    """What is known of a model before it is fetched or trained."""

    where: str
    family: Family
    config: dict[str, Any]


def arm_faults(study: Study) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for the names of draws, and for what a model does not allow."""
    names = Counter(name for name, _ in study.named_arms())
    for name, arm in study.named_arms():
        if names[name] > 1 and name == arm.variant:
            yield f"variants.{name}", "this name is taken by a draw of another variant"
        if len(name) > MAX_NAME_CHARACTERS:
            yield (
                f"variants.{arm.variant}",
                f"the name of its draws, {name}, should have at most {MAX_NAME_CHARACTERS}"
                " characters",
            )
            break
    known = {name: _known(f"models.{name}", model) for name, model in study.models.items()}
    for name, variant in study.variants.items():
        for model, each in known.items():
            steps = study.models[model].steps
            if each and any(variant.includes(model, step) for step in steps):
                try:
                    refuse_intervention(variant, each.family, each.config, where=each.where)
                except UserError as error:
                    yield f"variants.{name}", str(error)


def _known(key: str, model: Model) -> _Known | None:
    """Return the architecture of a nursery, or of a local folder that is whole; else None."""
    olmo = _Known(key, find_family("OlmoForCausalLM", where=key), {})
    match model.source:
        case NurserySource():
            return olmo
        case DirectorySource(path=path):
            folder = Path(path.format(step=model.steps[0]))
            try:
                if is_native_olmo(folder):
                    return olmo
                return _Known(key, *read_family(folder / "config.json"))
            except UserError:  # told by ``study.local_files``
                return None
    return None
