"""Which runs of pretraining can be compared by one of their settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Levels = dict[float, dict[int, str]]
"""Models by the value of a setting, then by seed of pretraining; alike in everything else."""


def strata_of(
    models: Sequence[str], nurseries: Mapping[str, Mapping[str, object]], setting: str
) -> list[Levels]:
    """Return the models in groups that differ in a setting, and beside it in the seed alone.

    Those for which there is no other value of the setting are in none.

    Args:
        models: that are compared.
        nurseries: the settings of each, the seed of pretraining among them.
        setting: a number among these.
    """
    strata: dict[str, Levels] = {}
    for model in models:
        alike = dict(nurseries[model])
        seed, level = alike.pop("seed"), alike.pop(setting)
        levels = strata.setdefault(json.dumps(alike, sort_keys=True), {})
        levels.setdefault(float(str(level)), {})[int(str(seed))] = model
    return [dict(sorted(levels.items())) for levels in strata.values() if len(levels) > 1]
