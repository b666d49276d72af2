"""A study of thousands of runs: few results are made up, and lie in many places."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.invented.figures import variant_entry
from tests.invented.study import SyntheticStudy, settings_of

QUANTILES, BOOSTS = (25, 50, 75, 90), (1.5, 2, 3, 5, 10)
VARIANTS = [f"boost_p{quantile}_q{boost:g}" for quantile in QUANTILES for boost in BOOSTS]
PLACE = re.compile(r"nursery/step(\d+)(?:/(original|boost[^/]*))?")


@dataclass
class Template(SyntheticStudy):
    """The results that are made up; they are not summarised."""

    def summarise(self, files: dict[str, list[Path]]) -> dict[str, Any]:
        return files


@dataclass
class LargeStudy:
    """A nursery at ``num_steps`` stages, each in twenty-one states with three seeds of learning.

    Attributes:
        root: where its results lie.
        num_steps: of pretraining, a thousand apart; a multiple of ``num_ages``.
        num_ages: stages in a row share their results, so that so many are made up.
    """

    root: Path
    num_steps: int
    num_ages: int

    def __post_init__(self) -> None:
        self.steps = [1000 * number for number in range(self.num_steps)]
        self.seeds = (0, 1, 2)
        self.patterns: dict[str, list[str]] = defaultdict(list)
        self.places: dict[str, list[str]] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """What ``summarize`` receives."""
        settings = settings_of(
            main_corpora={"nursery": "pretraining"},
            variants={name: variant_entry(name) for name in VARIANTS},
            order={"recipes": ["baseline"], "variants": VARIANTS},
            untrained=["nursery"],
            places=self.places,
        )
        return settings.model_dump(mode="json")

    def drawing(self, figures: Sequence[str]) -> dict[str, Any]:
        """Return what ``plot_figures`` receives."""
        return {
            "figures": list(figures),
            "confidence": 0.95,
            "main_corpora": {"nursery": "pretraining"},
            "variants": {name: variant_entry(name) for name in VARIANTS},
            "recipes": ["baseline"],
        }

    def write(self) -> None:
        """Put every result in its place, and name the patterns of all of them."""
        template = Template(
            self.root / "template",
            steps=tuple(range(self.num_ages)),
            seeds=self.seeds,
            variants={"boost_p50_q2": tuple(range(self.num_ages))},
            num_layers=2,
            is_plain=True,
        )
        for name, files in template.build().items():
            for file in files:
                self._spread(name, file, file.relative_to(template.root))

    def _spread(self, name: str, file: Path, made_up: Path) -> None:
        """Link a result to all places that share it; one pattern stands for all of its kind."""
        age, variant = PLACE.search(str(made_up)).groups()
        each = self.num_steps // self.num_ages
        states = [variant] if variant in (None, "original") else VARIANTS
        key = f"{name}_{made_up.parts[0]}"
        pattern = f"{self.root}/{made_up.parts[0]}/{{{key}}}/{made_up.name}"
        if pattern not in self.patterns[name]:
            self.patterns[name].append(pattern)
        for step in self.steps[int(age) * each : (int(age) + 1) * each]:
            for state in states:
                place = f"nursery/step{step}" + (f"/{state}" if state else "")
                folder = PLACE.sub(place, str(Path(*made_up.parts[1:-1])))
                self.places.setdefault(key, []).append(folder)
                target = self.root / made_up.parts[0] / folder / made_up.name
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, target)
