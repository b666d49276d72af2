"""A whole study's results, invented: known trends, no model. Shared by the tests that tell."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ke_steps import _tables, summarize
from ke_steps._metrics import acquisition
from ke_steps.settings import Summarize

SETTINGS = Summarize(confidence=0.95, num_bootstrap=200, min_points=4, seed=0)
CONDITIONS = ("paraphrase", "once")
KINDS = ("memorization", "semantic", "compositional")
INPUTS = (
    "manifests",
    "entropies",
    "coefficients",
    "knowledge",
    "probe_scores",
    "retention_before",
    "retention_after",
    "training",
)
TASKS = ("sciq", "piqa")


@dataclass
class SyntheticStudy:
    """Six stages, two seeds, two variants; entropy, A fall and F rises with the stage."""

    root: Path
    models: tuple[str, ...] = ("nursery",)
    steps: tuple[int, ...] = (0, 100, 400, 800, 1200, 2000)
    seeds: tuple[int, ...] = (0, 1)
    variants: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"boost_p50_q2": (1200, 2000)}
    )
    recipe: str = "baseline"
    num_layers: int = 4

    def build(self) -> dict[str, Path]:
        """Write every result and summarise it; return the five tables."""
        files: dict[str, list[Path]] = {name: [] for name in INPUTS}
        for model in self.models:
            for position, step in enumerate(self.steps):
                place = f"{model}/step{step}"
                manifest = self.root / "checkpoints" / place / "manifest.json"
                _tables.write_json(manifest, {"num_layers": self.num_layers, "num_memories": 384})
                files["manifests"].append(manifest)
                for variant in self.variants_at(step):
                    lift = 0.0 if variant == "original" else 1.5
                    self._write(files, f"{place}/{variant}", position - lift)
        return self.summarise(files)

    def variants_at(self, step: int) -> list[str]:
        return ["original", *(name for name, steps in self.variants.items() if step in steps)]

    def summarise(self, files: dict[str, list[Path]]) -> dict[str, Path]:
        names = ("summary", "correlations", "claims", "curves", "distributions")
        tables = {name: self.root / "summarize" / f"{name}.parquet" for name in names}
        outputs = {f"output_{name}": path for name, path in tables.items()}
        summarize.run(**files, **outputs, settings=SETTINGS)
        return tables

    def _write(self, files: dict[str, list[Path]], place: str, age: float) -> None:
        generator = np.random.default_rng(zlib.crc32(place.encode()))
        before = self._write_before(files, place, age, generator)
        for seed in self.seeds:
            run = f"{place}/{self.recipe}/seed{seed}"
            noise = generator.normal(scale=[0.05, 0.03, 0.01])
            self._write_knowledge(files, run, age, noise)
            after = self.root / "evaluate_retention" / run / "retention.parquet"
            accuracy = before * (1 - 0.05 - 0.03 * age + noise[2])
            _tables.write_table(after, retention(accuracy, 1.4 + 0.05 * age), _tables.RETENTION)
            files["retention_after"].append(after)

    def _write_before(
        self,
        files: dict[str, list[Path]],
        place: str,
        age: float,
        generator: np.random.Generator,
    ) -> float:
        path = self.root / "aggregate_entropy" / place / "entropy.parquet"
        _tables.write_table(path, entropy(age, self.num_layers), _tables.ENTROPY)
        files["entropies"].append(path)
        path = self.root / "extract_coefficients" / place / "coefficients.parquet"
        spread = 0.5 + 0.1 * age
        rows = [
            {
                "layer": layer,
                "memory": memory,
                "mean_absolute": float(np.exp(spread * generator.standard_normal())),
                "mean": 0.0,
                "mean_square": 1.0,
                "active_fraction": 0.5,
                "group_mean_absolute": [1.0, 1.0],
            }
            for layer in range(self.num_layers)
            for memory in range(384)
        ]
        _tables.write_table(path, rows, _tables.coefficients_schema(2))
        files["coefficients"].append(path)
        path = self.root / "evaluate_retention" / place / "retention.parquet"
        accuracy = 0.3 + 0.1 * age
        _tables.write_table(path, retention(accuracy, 3 - 0.3 * age), _tables.RETENTION)
        files["retention_before"].append(path)
        return accuracy

    def _write_knowledge(
        self, files: dict[str, list[Path]], run: str, age: float, noise: np.ndarray
    ) -> None:
        ends = {"paraphrase": -4.5 - 0.1 * age + noise[0], "once": -8.6 - 0.1 * age + noise[1]}
        path = self.root / "evaluate_knowledge" / run / "knowledge.parquet"
        _tables.write_table(path, knowledge(-8.2, ends), _tables.KNOWLEDGE)
        files["knowledge"].append(path)
        path = self.root / "inject_knowledge" / run / "probe_scores.parquet"
        _tables.write_table(path, probe_scores(-8.2, ends), _tables.PROBE_SCORES)
        files["probe_scores"].append(path)
        path = self.root / "inject_knowledge" / run / "training.parquet"
        _tables.write_table(path, training(), _tables.TRAINING)
        files["training"].append(path)


def estimate(value: float, half_width: float) -> dict[str, float]:
    return {"value": value, "low": value - half_width, "high": value + half_width}


def entropy(age: float, num_layers: int) -> list[dict[str, object]]:
    falls = [0.01 * age * (1 + 3 * (layer == num_layers - 1)) for layer in range(num_layers)]
    rows: list[dict[str, object]] = [
        {"layer": layer, "quantity": "entropy_nats", **estimate(5.5 - fall, 0.002)}
        for layer, fall in enumerate(falls)
    ]
    total = sum(5.5 - fall for fall in falls)
    rows.append({"layer": None, "quantity": "entropy_nats", **estimate(total, 0.01)})
    rows.append({"layer": None, "quantity": "gini", **estimate(0.3, 0.01)})
    return rows


def retention(accuracy: float, bits: float) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {
            "task": task,
            "quantity": "accuracy",
            "num_items": 200,
            **estimate(accuracy + 0.02 * index, 0.005),
        }
        for index, task in enumerate(TASKS)
    ]
    overall = estimate(accuracy + 0.01, 0.004)
    rows.append({"task": "mean", "quantity": "accuracy", "num_items": 400, **overall})
    held_out = {"task": "held_out", "quantity": "bits_per_token", "num_items": 64}
    rows.append({**held_out, **estimate(bits, 0.02)})
    return rows


def knowledge(before: float, ends: dict[str, float]) -> list[dict[str, object]]:
    values = {**ends, "all": (ends["paraphrase"] + ends["once"]) / 2}
    rows: list[dict[str, object]] = []
    for condition, after in values.items():
        for index, kind in enumerate(("all", *KINDS)):
            end = after - 0.1 * index
            key = {"condition": condition, "kind": kind}
            gained = float(acquisition(before, end))
            rows += [
                {**key, "quantity": "performance_before", **estimate(before, 0.02)},
                {**key, "quantity": "performance_after", **estimate(end, 0.02)},
                {**key, "quantity": "acquisition", **estimate(gained, 0.003)},
            ]
    return rows


def probe_scores(before: float, ends: dict[str, float]) -> list[dict[str, object]]:
    """Five injections, ten steps apart; three passages per condition, one probe of each kind."""
    moments = [("start", None, 0)]
    for injection in range(1, 6):
        moments += [("before", injection, 10 * injection - 1), ("after", injection, 10 * injection)]
    moments.append(("end", None, 60))
    rows: list[dict[str, object]] = []
    for moment, injection, step in moments:
        for number, condition in enumerate(CONDITIONS):
            progress = min(step, 50) / 50
            jump = 0.6 if moment == "after" and condition == "paraphrase" else 0.0
            for passage in range(3):
                for probe, kind in enumerate(KINDS):
                    score = before + (ends[condition] - before) * progress + jump - 0.05 * probe
                    rows.append(
                        {
                            "moment": moment,
                            "injection": injection,
                            "train_step": step,
                            "probe_id": 9 * number + 3 * passage + probe,
                            "passage_id": 3 * number + passage,
                            "condition": condition,
                            "kind": kind,
                            "num_target_tokens": 2,
                            "log_probability_sum": 2 * score,
                            "log_probability_per_token": score,
                            "log_probability_reference_padded": score / 10,
                            "log_probability_first_token": score,
                            "exact_match": False,
                        }
                    )
    return rows


def training() -> list[dict[str, object]]:
    return [
        {
            "train_step": step,
            "loss_nats": 3.0 - 0.01 * step,
            "learning_rate": 1e-3,
            "gradient_norm": 1.0,
            "num_injected_sequences": 5 if step % 10 == 0 else 0,
        }
        for step in range(1, 61)
    ]
