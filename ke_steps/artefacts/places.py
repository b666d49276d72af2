"""The places of results: what the folders of a path are called, and what they say of a result.

A result lies at ``<results_dir>/<rule>/<place>/<file>``. What is written in braces here is a
wildcard of the workflow, whose rules take the patterns from here.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ORIGINAL

CHECKPOINT = "{model}/step{step}"
STATE = f"{CHECKPOINT}/{{variant}}"
MEASUREMENT = f"{STATE}/{{corpus}}"
SHARD = f"{MEASUREMENT}/shard{{shard}}"
SCHEDULE = "{recipe}/seed{seed}"
RUN = f"{STATE}/{SCHEDULE}"
PREPARATION = "{model}/{corpus}"

PRETRAINED = f"pretrain_nursery/{CHECKPOINT}/manifest.json"
STATES = "states"
"""Beside a nursery's training table: its training states, each with its checkpoint. No result."""

FETCHED = f"fetch_checkpoint/{CHECKPOINT}/manifest.json"
SEQUENCES = f"prepare_corpus/{PREPARATION}/sequences.parquet"
PASSAGES = "prepare_knowledge/passages.parquet"
"""Results that others than the rules look for."""

WILDCARD = r"\{(\w+)\}"
NUMBERS = frozenset({"step", "shard", "seed"})
"""Wildcards whose values are natural numbers."""


def state_of(states: Path, step: int) -> Path:
    """Return the folder of the training state after a step; transformers' ``Trainer`` names it."""
    return states / f"checkpoint-{step}"


def kept_checkpoint(state: Path) -> Path:
    """Return the manifest of the checkpoint that a training state holds."""
    return state / "kept" / "manifest.json"


class Identity(NamedTuple):
    """The wildcards of one result; recipe and seed are None for what exists before learning."""

    model: str
    step: int
    variant: str
    recipe: str | None
    seed: int | None


def identify(path: Path) -> Identity:
    """Read the identity of a result from the last folders of its path.

    What was measured on a corpus belongs to a state, and what concerns a checkpoint as it is, to
    the original variant.

    Raises:
        UserError: the path names no model and step.
    """
    for pattern in (RUN, SHARD, CHECKPOINT, STATE, MEASUREMENT):
        if found := _read(pattern, path):
            seed = int(found["seed"]) if "seed" in found else None
            variant = found.get("variant", ORIGINAL)
            return Identity(found["model"], int(found["step"]), variant, found.get("recipe"), seed)
    raise UserError(
        f"{path}: no model and step in this path; expected …/{{model}}/step{{step}}/"
        "[{variant}/[{corpus}/ or {recipe}/seed{seed}/]]<file>"
    )


def corpus_of(path: Path) -> str:
    """Return the corpus of a measurement, whole or a shard.

    Raises:
        UserError: the path names no corpus.
    """
    found = _read(SHARD, path) or _read(MEASUREMENT, path)
    if not found:
        raise UserError(f"{path}: no corpus in this path; expected …/{MEASUREMENT}/<file>")
    return found["corpus"]


def shard_of(path: Path) -> int | None:
    """Return the shard of a result; None for one that is whole."""
    found = _read(SHARD, path)
    return int(found["shard"]) if found else None


def _read(pattern: str, path: Path) -> dict[str, str]:
    """Return the wildcards of a path whose last folders are those of a pattern; else none."""
    found = _expression(pattern).search(path.parent.as_posix())
    return found.groupdict() if found else {}


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    """Return what finds a place at the end of a folder's path."""
    return re.compile(f"(?:^|/){re.sub(WILDCARD, _group, pattern)}$")


def _group(wildcard: re.Match[str]) -> str:
    name = wildcard[1]
    values = r"\d+" if name in NUMBERS else "[^/]+"
    return f"(?P<{name}>{values})"
