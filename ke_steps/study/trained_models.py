"""Trained models: where they lie, and the refusal to read those whose weights are gone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ke_steps.artefacts.places import RUN
from ke_steps.job.errors import UserError
from ke_steps.settings.study import Run, Study

TRAINED_MODEL = f"inject_knowledge/{RUN}/manifest.json"
WEIGHTS = "*.safetensors"


def manifest_of(study: Study, run: Run) -> str:
    """Return the manifest of a trained model, which stays when its weights go."""
    return f"{study.results_dir}/{TRAINED_MODEL}".format(**run._asdict())


def without_weights(manifests: Iterable[str]) -> list[str]:
    """Return the manifests beside which no weights lie, or lie any more."""
    return [path for path in manifests if not any(Path(path).parent.glob(WEIGHTS))]


def refuse_missing(study: Study, manifests: Iterable[str]) -> None:
    """Refuse to read models whose weights are gone, before any job starts.

    Args:
        study: says why they are gone.
        manifests: of the models that jobs will read and none will train.

    Raises:
        UserError: names one of them, and how to get its weights back.
    """
    if gone := without_weights(manifests):
        raise UserError(
            f"trained models are to be evaluated again whose weights are gone ({len(gone)}, such as"
            f" {min(gone)}; keep_models: {study.keep_models}): set keep_models: all, delete their"
            " manifest.json and run again, which trains them once more"
        )
