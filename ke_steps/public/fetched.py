"""A model that lies somewhere: which source of a study it is, and its way through the steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError

from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.extract_coefficients import run as extract_coefficients
from ke_steps.fetch_checkpoint import run as fetch_checkpoint
from ke_steps.job.errors import UserError
from ke_steps.models import ranks
from ke_steps.models.devices import choose_device
from ke_steps.public.sampling import Sample
from ke_steps.public.steps import checked, run_step
from ke_steps.settings.checkpoints import (
    EndOfText,
    FetchCheckpoint,
    FetchedSource,
)
from ke_steps.settings.texts import HubRepo
from ke_steps.settings.types import StepPlace

MAIN = "main"


class Place(NamedTuple):
    """Where a model is."""

    model: str
    """A folder, a GGUF file or a repository of the hub; ``{step}`` stands for the step."""

    revision: str = MAIN
    """Pattern of a branch or tag of the repository."""

    step: int = 0
    tied_head: bool = False
    """Of a GGUF file, see ``GgufSource``."""

    def source(self) -> FetchedSource:
        """Return the source of a study that this is.

        Raises:
            UserError: it is nothing that is there, nor a repository's name.
        """
        source: FetchedSource = checked(FetchedSource, self._values(), where="model")
        return source

    def _values(self) -> dict[str, Any]:
        checked(StepPlace, self.model, where="model")
        is_gguf = self.model.lower().endswith(".gguf")
        if is_gguf or Path(self.model.format(step=self.step)).is_dir():
            if self.revision != MAIN:
                raise UserError(
                    f"revision: {self.model} has none, only a repository on the hub has"
                )
            kind = (
                {"kind": "gguf", "tied_head": self.tied_head} if is_gguf else {"kind": "directory"}
            )
            return kind | {"path": self.model}
        if not _is_repo(self.model):
            raise UserError(
                f"model: {self.model!r} is no folder that is there, no .gguf file and no owner/name"
                " of a repository on the hub"
            )
        return {"kind": "hub", "repo": self.model, "revision": self.revision}


def fetch(place: Place, end_of_text: EndOfText, folder: Path) -> Path:
    """Take a model as ``fetch_checkpoint`` does; return its manifest, which is in ``folder``.

    Raises:
        UserError: it is not there, or not whole.
    """
    if ranks.num_ranks() > 1:
        raise UserError("model: several processes measure one that is loaded, a path takes one")
    manifest = folder / "checkpoint" / "manifest.json"
    settings = FetchCheckpoint(source=place.source(), step=place.step, end_of_text=end_of_text)
    run_step(fetch_checkpoint, settings, output=manifest)
    return manifest


def provenance_of(manifest: Path) -> dict[str, Any]:
    """Return where a fetched model is from, with the hashes of its files."""
    content = read_checkpoint_manifest(manifest)
    return content["provenance"] | {key: content[key] for key in ("source", "files")}


def name_of(source: Mapping[str, Any]) -> str:
    """Return what a fetched model is called in what is printed, by its manifest's source."""
    return f"{source['repo']}@{source['revision']}" if "repo" in source else str(source["path"])


def extract(checkpoint: Path, sample: Sample, precision: str | None) -> None:
    """Measure a checkpoint as ``extract_coefficients`` does, in fp32 on CPUs and bf16 on GPUs."""
    usual = "fp32" if choose_device().type == "cpu" else "bf16"
    run_step(
        extract_coefficients,
        sample.extraction(precision or usual, torch.get_num_threads()),
        checkpoint=checkpoint,
        sequences=sample.table("sequences"),
        intervention=None,
        output_coefficients=sample.table("coefficients"),
        output_token_entropies=sample.table("token_entropies"),
    )


def _is_repo(name: str) -> bool:
    try:
        TypeAdapter(HubRepo).validate_python(name)
    except ValidationError:
        return False
    return True
