"""Which nurseries are trained before all else, as what follows them may be there already.

Asked for another set of steps, a nursery trains what is missing of them and ends with the bytes
that it had. Snakemake learns that from files alone: in a run that trains the nursery itself it does
all that follows again. So such nurseries have a run of their own first, if that can spare work.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterable
from pathlib import Path

from ke_steps.artefacts.places import PRETRAINED
from ke_steps.job.records import files_of, read_record
from ke_steps.settings.study import Study
from ke_steps.study.jobs import settings_for
from ke_steps.study.places import TRAINED

MARKS = Path(".snakemake/incomplete")
"""Snakemake's folder of a file for each output that is being made, named by it in base64."""


def in_words(models: Iterable[str]) -> str:
    """Say which nurseries go first, and what becomes of the rest."""
    return f"Trained first: {', '.join(models)}; what follows is done again only where that changes"


def training_table(study: Study, model: str) -> str:
    """Return where a nursery's training table lies, as the workflow writes it."""
    return f"{study.results_dir}/{TRAINED.format(model=model)}"


def going_on(study: Study) -> list[str]:
    """Return the nurseries that have checkpoints, and will be trained again for other steps.

    Also those whose training was cut off: their tables are gone, or unfinished.
    """
    cut_off = unfinished()
    return [
        model
        for model in study.nurseries
        if _has_checkpoints(study, model)
        and (
            training_table(study, model) in cut_off
            or not Path(training_table(study, model)).is_file()
            or _last_steps(study, model) != _steps(study, model)
        )
    ]


def _has_checkpoints(study: Study, model: str) -> bool:
    return any(Path(study.results_dir).glob(PRETRAINED.format(model=model, step="*")))


def _steps(study: Study, model: str) -> object:
    return settings_for(study, "pretrain_nursery", {"model": model})["steps"]


def _last_steps(study: Study, model: str) -> object:
    """Return what the last training was asked for; None if nothing tells."""
    record = files_of(Path(study.results_dir), "pretrain_nursery", model).record
    told = read_record(record) if record.is_file() else {}
    return told.get("settings", {}).get("steps")


def unfinished() -> set[str]:
    """Return the outputs that Snakemake will make again, as nobody saw their jobs end."""
    files = (path for path in MARKS.rglob("*") if path.is_file())
    names = ("".join(path.relative_to(MARKS).parts).replace("@", "") for path in files)
    return {urlsafe_b64decode(name).decode() for name in names}
