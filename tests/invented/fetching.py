"""Checkpoints, fetched from where a test has put them."""

from ke_steps import fetch_checkpoint
from ke_steps.settings.checkpoints import FetchCheckpoint


def fetch(source, manifest, *, step):
    """Run the step; return the manifest of what it fetched."""
    settings = FetchCheckpoint.model_validate({"source": source, "step": step})
    fetch_checkpoint.run(output=manifest, settings=settings)
    return manifest


def fetch_local(path, manifest, kind="directory", step=3):
    return fetch({"kind": kind, "path": str(path)}, manifest, step=step)
