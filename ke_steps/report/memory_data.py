"""The data of the page's own views of layers and memories, which its script reads."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from ke_steps.report.memory_tables import visible

Place = tuple[Hashable, Hashable, Hashable]
"""A model, a layer and a step."""


class Told(NamedTuple):
    """What is told of a layer at a stage: H in nats, and the cells of the table."""

    entropy: float
    cells: list[str]


def models_of(
    layers: Mapping[Place, Told],
    ranks: pd.DataFrame,
    described: pd.DataFrame,
    sizes: Mapping[Any, int],
) -> Iterator[dict[str, Any]]:
    """Yield what the views know of each model, lists of stages in the order of ``steps``.

    ``untrained`` counts the stages that pretraining began with: none, or the first.
    """
    promoted = _promoted(described)
    for name, found in ranks.groupby("model", sort=False):
        steps = sorted(found["step"].unique().tolist())
        yield {
            "model": name,
            "steps": steps,
            "num_memories": sizes[name],
            "untrained": found.loc[~found["is_trained"], "step"].nunique(),
            "layers": [
                {
                    "entropies": [_rounded(each.entropy, 4) for each in told],
                    "told": [each.cells for each in told],
                    **_courses(courses),
                    "tokens": promoted.get((name, layer), {}),
                }
                for layer, courses in found.groupby("layer")
                for told in [[layers[name, layer, step] for step in steps]]
            ],
        }


def _courses(courses: pd.DataFrame) -> dict[str, Any]:
    """Return memories, and by memory and stage their ranks and relative activities."""
    told = ["rank", "relative_activity"]
    by_memory = courses.pivot(index="memory", columns="step", values=told)
    return {
        "memories": by_memory.index.tolist(),
        "ranks": [
            [None if math.isnan(rank) else int(rank) for rank in row]
            for row in by_memory["rank"].to_numpy()
        ],
        "activities": [
            [_rounded(number, 3) for number in row]
            for row in by_memory["relative_activity"].to_numpy()
        ],
    }


def _promoted(described: pd.DataFrame) -> Mapping[Hashable, dict[str, dict[str, list[str]]]]:
    """Return the tokens of described memories by (model, layer), memory and step."""
    found: dict[Hashable, dict[str, dict[str, list[str]]]] = {}
    for row in described.to_dict("records"):
        of_layer = found.setdefault((row["model"], row["layer"]), {})
        of_memory = of_layer.setdefault(str(row["memory"]), {})
        of_memory[str(row["step"])] = list(map(visible, row["tokens"]))
    return found


def _rounded(number: float, num_digits: int) -> float | None:
    return None if math.isnan(number) else float(f"{number:.{num_digits}g}")


def as_content(data: Any) -> str:
    """Write JSON that ends no script element, whatever the tokens are."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
