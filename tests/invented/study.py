"""A whole study's results, invented: known trends, no model. Shared by the tests that tell."""

from __future__ import annotations

import inspect
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

import tests.invented.tables as invented
from ke_steps import summarize
from ke_steps.aggregate_entropy import distribution
from ke_steps.artefacts import learning_schemas
from ke_steps.artefacts.activity_schemas import ACTIVITY, DISTRIBUTION
from ke_steps.artefacts.learning_schemas import RETENTION
from ke_steps.artefacts.measure_schemas import ENTROPY, MEMORIES
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.replicates import REPLICATES
from ke_steps.artefacts.rival_schemas import RIVALS
from ke_steps.artefacts.text_schemas import NOVELTY
from ke_steps.job.files import write_json
from ke_steps.settings.telling import SummarizeJob
from tests.invented.claims import variants_of

CORPUS = "pretraining"
INPUTS = inspect.signature(summarize.run).parameters.keys() - {"output_tables", "settings"}


def settings_of(variants: tuple[str, ...] = ("boost_p50_q2",), **changes: object) -> SummarizeJob:
    """Return what ``summarize`` receives.

    Variants named ``temperature…`` temper attention, ``gauge`` and ``function`` are what they are
    called, others resuscitate.
    """
    kinds = dict.fromkeys(variants, "resuscitate") | {
        name: "temper_attention" if name.startswith("temperature") else name
        for name in variants
        if name.startswith("temperature") or name in ("gauge", "function")
    }
    return SummarizeJob.model_validate(
        {
            "confidence": 0.95,
            "num_bootstrap": 200,
            "min_points": 4,
            "turnover_fraction": 0.1,
            "seed": 0,
            "main_corpora": {},
            "score": "per_token",
            "variants": variants_of(kinds),
            **changes,
        }
    )


SETTINGS = settings_of()


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
    recipes: tuple[str, ...] = ("baseline",)
    asks_retention: bool = True
    families: dict[str, str] = field(default_factory=dict)
    """By model."""
    frontiers: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of these recipes, by the first of a group: their learning rates."""
    doses: dict[str, dict[str, float]] = field(default_factory=dict)
    """Recipes that differ in the dose of entropy alone, by the first of them."""
    num_layers: int = 4
    other_corpora: tuple[str, ...] = ("c4",)
    measures: tuple[str, ...] = ("positive", "contribution", "relu_gate", "attribution")
    is_plain: bool = False
    """Without other corpora and measures, memories, novelty, update maps and decay."""
    same_weights: dict[int, int] = field(default_factory=dict)
    """Steps whose weights are those of another step."""
    diverged: dict[str, str] = field(default_factory=dict)
    """How runs diverged, ``stopped`` or ``rising``, by ``model/step…/variant/recipe/seed…``."""
    absent: tuple[str, ...] = ()
    """Runs that were never made, likewise."""

    def build(self) -> dict[str, Path]:
        """Write every result and summarise it; return the tables by name."""
        if self.is_plain:
            self.other_corpora, self.measures = (), ()
        files: dict[str, list[Path]] = {name: [] for name in INPUTS}
        for model in self.models:
            for position, step in enumerate(self.steps):
                self._write_checkpoint(files, model, step)
                for variant in self.variants_at(step):
                    lift = 0.0 if variant == "original" else 1.5
                    self._write(files, f"{model}/step{step}/{variant}", position - lift)
            if not self.is_plain:
                path = f"evaluate_novelty/{model}/step{self.steps[-1]}/novelty.parquet"
                self._add(files, "novelties", path, invented.novelty(3.0), NOVELTY)
        return self.summarise(files)

    @property
    def main_corpora(self) -> dict[str, str]:
        return dict.fromkeys(self.models, CORPUS)

    def variants_at(self, step: int) -> list[str]:
        return ["original", *(name for name, steps in self.variants.items() if step in steps)]

    def summarise(self, files: dict[str, list[Path]]) -> dict[str, Path]:
        tables = {name: self.root / "summarize" / f"{name}.parquet" for name in summarize.TABLES}
        settings = settings_of(
            tuple(self.variants),
            untrained=list(self.models),
            families=self.families,
            frontiers=self.frontiers,
            doses=self.doses,
            main_corpora=self.main_corpora,
        )
        summarize.run(**files, output_tables=list(tables.values()), settings=settings)
        return tables

    def _add(self, files, name, path, rows, schema) -> None:
        write_table(self.root / path, rows, schema)
        files[name].append(self.root / path)

    def _add_replicates(self, files, path, rows) -> None:
        beside = Path(path).with_name("replicates.parquet")
        self._add(files, "replicates", str(beside), rows, REPLICATES)

    def _write_checkpoint(self, files: dict[str, list[Path]], model: str, step: int) -> None:
        weights = f"{zlib.crc32(f'{model} {self.same_weights.get(step, step)}'.encode()):064x}"
        manifest = self.root / "checkpoints" / model / f"step{step}" / "manifest.json"
        content = {
            "kind": "checkpoint",
            "step": step,
            "architecture": "OlmoForCausalLM",
            "num_layers": self.num_layers,
            "num_memories": invented.NUM_MEMORIES,
            "vocab_size": 50_000,
            "num_parameters": 1_000_000,
            "source": {"kind": "directory", "path": f"/models/{model}_{step}"},
            "tensors": {"w": {"dtype": "F32", "shape": [2, 3], "sha256": weights}},
        }
        write_json(manifest, content)
        files["manifests"].append(manifest)
        if not self.is_plain:
            path = f"describe_memories/{model}/step{step}/memories.parquet"
            rows = invented.memories(self.num_layers)
            self._add(files, "memories", path, rows, MEMORIES)
            path = f"measure_rivals/{model}/step{step}/rivals.parquet"
            rows = invented.rivals(self.steps.index(step), self.num_layers)
            self._add(files, "rivals", path, rows, RIVALS)

    def _write(self, files: dict[str, list[Path]], place: str, age: float) -> None:
        generator = np.random.default_rng(zlib.crc32(place.encode()))
        self._write_entropies(files, place, age)
        accuracy = 0.3 + 0.1 * age
        if self.asks_retention:
            path = f"evaluate_retention/{place}/retention.parquet"
            rows, kept = invented.retention(accuracy, 3 - 0.3 * age, place)
            self._add(files, "retention_before", path, rows, RETENTION)
            self._add_replicates(files, path, kept)
        for recipe in self.recipes:
            for seed in self.seeds:
                noise = generator.normal(scale=[0.05, 0.03, 0.01])
                run = f"{place}/{recipe}/seed{seed}"
                if run not in self.absent:
                    self._write_run(files, run, age, accuracy, noise)

    def _write_entropies(self, files: dict[str, list[Path]], place: str, age: float) -> None:
        others = self.other_corpora if place.endswith("/original") else ()
        for number, corpus in enumerate((CORPUS, *others)):
            path = f"aggregate_entropy/{place}/{corpus}/entropy.parquet"
            rows, kept = invented.entropy(
                age + number, self.num_layers, self.measures, corpus, place
            )
            self._add(files, "entropies", path, rows, ENTROPY)
            self._add_replicates(files, path, kept)
        generator = np.random.default_rng(zlib.crc32(f"{place}/{CORPUS}".encode()))
        activity = invented.activity(age, self.num_layers, generator)
        measured = f"aggregate_entropy/{place}/{CORPUS}"
        if place.endswith("/original"):
            self._add(files, "activities", f"{measured}/activity.parquet", activity, ACTIVITY)
        columns = distribution(pa.table(activity, schema=ACTIVITY))
        self._add(files, "distributions", f"{measured}/distribution.parquet", columns, DISTRIBUTION)

    def _write_run(
        self,
        files: dict[str, list[Path]],
        run: str,
        age: float,
        accuracy: float,
        noise: np.ndarray,
    ) -> None:
        ends = {"paraphrase": -4.5 - 0.1 * age + noise[0], "once": -8.6 - 0.1 * age + noise[1]}
        after = accuracy * (1 - 0.05 - 0.03 * age + noise[2])
        if run in self.diverged:  # far off, so that a mean over it would show
            ends, after = dict.fromkeys(ends, -30.0), 0.01
        knowledge, of_knowledge = invented.knowledge(-8.2, ends, run)
        self._add_replicates(files, f"evaluate_knowledge/{run}/knowledge.parquet", of_knowledge)
        tables = [
            ("knowledge", "evaluate_knowledge", knowledge),
            ("probe_scores", "inject_knowledge", invented.probe_scores(-8.2, ends)),
            ("training", "inject_knowledge", invented.training(self.diverged.get(run))),
        ]
        if self.asks_retention:
            retention, of_retention = invented.retention(after, 1.4 + 0.05 * age, run)
            path = f"evaluate_retention/{run}/retention.parquet"
            self._add_replicates(files, path, of_retention)
            tables.append(("retention", "evaluate_retention", retention))
        if not self.is_plain:
            aged = age + float(noise[0])
            statistics = invented.update_statistics(aged, self.num_layers)
            tables += [
                ("update_statistics", "aggregate_updates", statistics),
                ("decay", "fit_decay", invented.decay(aged)),
                ("retained", "fit_decay", invented.retained(aged)),
            ]
        lists = {"retention": "retention_after", "decay": "decays"}
        for name, rule, rows in tables:
            schema = getattr(learning_schemas, name.upper())
            path = f"{rule}/{run}/{name}.parquet"
            self._add(files, lists.get(name, name), path, rows, schema)
