"""Whether disks have room for what a study writes."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from huggingface_hub.constants import HF_HUB_CACHE

from ke_steps.planning.planned_jobs import PlannedJob
from ke_steps.settings.checkpoints import HubSource
from ke_steps.settings.study import Study


def disk_lines(
    study: Study, planned: Sequence[PlannedJob], to_do: Mapping[str, int] | None
) -> Iterator[str]:
    """Say how much goes to which folder, and warn of each disk that has too little room for it.

    Args:
        study: the study.
        planned: its jobs.
        to_do: how many jobs of a rule a run would do now; None for all.
    """
    needs = _needs(study, planned, to_do)
    passing = max((job.passing_bytes for job in planned if _share(job, to_do, 1)), default=0.0)
    for folder, needed in needs.items():
        free = _free_bytes(folder)
        yield f"Disk: {needed / 1e9:,.1f} GB to be written to {folder}, {free / 1e9:,.0f} GB free."
    if passing:
        needs[Path(study.results_dir)] += passing
        yield (
            f"Disk: {passing / 1e9:,.1f} GB more for each training while it runs, for saved states"
            f" and the model; keep_models: {study.keep_models}."
        )
    by_disk: dict[int, list[Path]] = {}
    for folder in needs:
        by_disk.setdefault(_existing(folder).stat().st_dev, []).append(folder)
    for folders in by_disk.values():
        needed, free = sum(needs[folder] for folder in folders), _free_bytes(folders[0])
        if needed > free:
            yield (
                f"WARNING: too little disk for {' and '.join(map(str, folders))}:"
                f" {needed / 1e9:,.1f} GB are needed, {free / 1e9:,.1f} GB are free; make room, or"
                f" set {_setting(study, folders)} to a folder on another disk"
            )


def _needs(
    study: Study, planned: Sequence[PlannedJob], to_do: Mapping[str, int] | None
) -> dict[Path, float]:
    """Return the bytes that each folder gets: the hub's cache its weights, the rest results."""
    results, cache = Path(study.results_dir), Path(HF_HUB_CACHE)
    number = Counter(job.rule for job in planned)
    needs = {results: 0.0}
    for job in planned:
        share = _share(job, to_do, number[job.rule])
        folder = cache if _is_from_hub(study, job) else results
        needs[folder] = needs.get(folder, 0.0) + share * job.disk_bytes
    return needs


def _share(job: PlannedJob, to_do: Mapping[str, int] | None, number: int) -> float:
    """Return the share of a rule's jobs, so many in all, that a run would do."""
    return 1.0 if to_do is None else to_do.get(job.rule, 0) / number


def _is_from_hub(study: Study, job: PlannedJob) -> bool:
    if job.rule != "fetch_checkpoint":
        return False
    model = job.place.partition("/")[0]
    return isinstance(study.models[model].source, HubSource)


def _setting(study: Study, folders: Sequence[Path]) -> str:
    names = {Path(study.results_dir): "results_dir", Path(HF_HUB_CACHE): "HF_HOME"}
    return " or ".join(names[folder] for folder in folders)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
