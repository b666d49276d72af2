"""Saved states of trainings that a study no longer has.

A recipe, a seed or a stage may come back, and its training then goes on from there, so nothing
removes them: the plan says that they are there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ke_steps.artefacts.places import CHECKPOINT, RUN, STATES, WILDCARD
from ke_steps.settings.study import Study
from ke_steps.study.places import folder_of, places

UNFINISHED = "unfinished"
"""Beside a training's first output; ``training.resuming`` writes it, and loads torch."""


def idle_states_line(study: Study) -> Iterator[str]:
    """Say how much lies where in states that no run of a study would take up, if any does."""
    idle = sorted(_idle(study))
    if idle:
        num_bytes = sum(path.stat().st_size for each in idle for path in each.rglob("*"))
        yield (
            f"Disk: {num_bytes / 1e9:,.1f} GB of saved states of trainings that the study no longer"
            f" has ({len(idle)}, such as {idle[0]}): remove these folders to make room"
        )


def _idle(study: Study) -> Iterator[Path]:
    there = places(study)
    yield from _beside(study, "inject_knowledge", RUN, UNFINISHED, map(folder_of, there.runs))
    branched = map(folder_of, there.branched_checkpoints)
    yield from _beside(study, "branch_checkpoint", CHECKPOINT, UNFINISHED, branched)
    yield from _beside(study, "pretrain_nursery", "{model}", STATES, study.nurseries)


def _beside(study: Study, rule: str, pattern: str, name: str, own: Iterable[str]) -> Iterator[Path]:
    """Yield the folders of a name in a rule's places, without those that the study has."""
    folder = Path(study.results_dir, rule)
    kept = {folder / place for place in own}
    for path in folder.glob(f"{re.sub(WILDCARD, '*', pattern)}/{name}"):
        if path.parent not in kept:
            yield path
