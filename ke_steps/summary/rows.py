"""Every kind of result as rows of the summary: group, quantity, value, low, high."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ke_steps.artefacts.learning_schemas import (
    DECAY,
    KNOWLEDGE,
    RETENTION,
    TRAINING,
    UPDATE_STATISTICS,
)
from ke_steps.artefacts.measure_schemas import ENTROPY
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.places import Identity, corpus_of, identify
from ke_steps.artefacts.replicates import group_of_layer, quantity_of_measure
from ke_steps.artefacts.rival_schemas import RIVALS
from ke_steps.artefacts.summary_schemas import SUMMARY
from ke_steps.artefacts.text_schemas import NOVELTY
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.points import mark_trained
from ke_steps.summary.quantities import (
    CHANCE,
    EARLY_LOSS_FALL,
    ENTROPY_BOUND,
    LEARNING_ENTROPY,
    UNIFORM,
    WHOLE_MODEL,
    unit_of,
)
from ke_steps.summary.replicates import Replicates

FINAL_FRACTION = 0.1
"""The final training loss is the mean over this last part of the steps: one batch is noisy."""

EARLY_STEPS = 5
"""Over which the fall of the training loss tells how fast a checkpoint begins to learn."""

Part = tuple[Identity, pd.DataFrame]


def checkpoint_rows(manifest: Path) -> pd.DataFrame:
    """Return what follows from the sizes of a checkpoint.

    The upper bound L·ln m of its entropy, and the log probability of a token of the uniform
    distribution over its vocabulary.
    """
    sizes = json.loads(manifest.read_text())
    bound = sizes["num_layers"] * np.log(sizes["num_memories"])
    uniform = -np.log(sizes["vocab_size"])
    return pd.DataFrame(
        [{**ENTROPY_BOUND._asdict(), "value": bound}, {**UNIFORM._asdict(), "value": uniform}]
    )


def entropy_rows(path: Path, main_corpora: Mapping[str, str]) -> pd.DataFrame:
    """Return a checkpoint's entropies: the whole model first, then its layers (from 0).

    The paper's measure, mean |c|, and the main corpus go without saying in quantity and group.
    """
    table = _first_the_model(read_frame(path, ENTROPY))
    corpus = corpus_of(path)
    prefix = "" if corpus == main_corpora[identify(path).model] else f"{corpus}/"
    names = map(quantity_of_measure, table["measure"], table["quantity"])
    return table.assign(group=prefix + table["group"], quantity=list(names))


def update_rows(path: Path) -> pd.DataFrame:
    """Return how a run changed the memories: memory vectors and keys, whole model and layers."""
    table = _first_the_model(read_frame(path, UPDATE_STATISTICS))
    return table.assign(quantity=table["vector"] + "_" + table["quantity"])


def _first_the_model(table: pd.DataFrame) -> pd.DataFrame:
    table = table.sort_values("layer", na_position="first", kind="stable")
    layers = [None if pd.isna(layer) else int(layer) for layer in table["layer"]]
    groups = list(map(group_of_layer, layers))
    return table.assign(group=groups).drop(columns="layer")


def knowledge_rows(path: Path) -> pd.DataFrame:
    """Return a run's K, A and exact match by condition and kind."""
    table = read_frame(path, KNOWLEDGE)
    return table.assign(group=table["condition"] + "/" + table["kind"])


def decay_rows(path: Path) -> pd.DataFrame:
    """Return how a run's new knowledge faded, by condition and over all kinds of probes."""
    table = read_frame(path, DECAY)
    return table.assign(group=table["condition"] + "/all")


def novelty_rows(path: Path, confidence: float) -> pd.DataFrame:
    """Return the median perplexity of each corpus' documents, with its distribution-free interval.

    The interval is the one of order statistics (``scipy.stats.quantile_test``): NaN on a side
    where there are too few documents for it.
    """
    rows = []
    for corpus, losses in read_frame(path, NOVELTY).groupby("corpus")["loss_nats"]:
        interval = stats.quantile_test(losses, p=0.5).confidence_interval(confidence)
        low, high = np.exp(np.asarray(interval))
        value = np.exp(losses.median())
        rows.append((corpus, "median_perplexity", value, low, high, len(losses)))
    return pd.DataFrame(rows, columns=["group", "quantity", "value", "low", "high", "num_items"])


def retention_rows(path: Path, moment: str) -> pd.DataFrame:
    """Return accuracies and bits per token, named for the moment: before or after learning.

    Chance, which learning does not change, is told once, before it.
    """
    table = read_frame(path, RETENTION)
    is_chance = table["quantity"] == CHANCE.quantity
    names = table["quantity"].where(is_chance, table["quantity"] + f"_{moment}")
    table = table.assign(group=table["task"], quantity=names)
    return table if moment == "before" else table[~is_chance]


def training_rows(path: Path) -> pd.DataFrame:
    """Return a run's final training loss and its fall over the first steps, in nats.

    NaN where a loss was no finite number, the fall also of a run of no more steps. The loss of a
    step is that of its batch before it: the first less that after ``EARLY_STEPS`` steps. The two
    are of different text, which is the same for all checkpoints of a recipe and seed. With a dose
    of entropy also that entropy, over the same last steps as the final loss.
    """
    table = read_frame(path, TRAINING)
    losses = table["loss_nats"].where(np.isfinite(table["loss_nats"]))
    num_last = max(1, round(FINAL_FRACTION * len(table)))
    final = losses.tail(num_last).mean(skipna=False)
    has_early = len(losses) > EARLY_STEPS
    fall = losses.iloc[0] - losses.iloc[EARLY_STEPS] if has_early else np.nan
    values = {"training_loss": final, EARLY_LOSS_FALL.quantity: fall}
    entropy = table["contribution_normalized_entropy"].tail(num_last).mean()
    if not np.isnan(entropy):
        values[LEARNING_ENTROPY.quantity] = entropy
    return pd.DataFrame(
        {"group": WHOLE_MODEL, "quantity": list(values), "value": list(values.values())}
    )


def rival_rows(path: Path) -> pd.DataFrame:
    """Return what else could explain how a checkpoint learns and forgets."""
    return read_frame(path, RIVALS).drop(columns="draws")


def collect(parts: Iterable[Part], columns: list[str]) -> pd.DataFrame:
    """Join tables under the identity of each, in a stable order: the original variant first.

    Returns the named columns; those that no table has are null, and without tables no rows.
    """
    found = list(parts)
    if not found:
        return pd.DataFrame(columns=columns)
    identities, frames = zip(*found, strict=True)
    places = pd.DataFrame(identities, columns=Identity._fields).astype({"seed": "Int64"})
    places["is_variant"] = places["variant"] != ORIGINAL
    repeats = np.repeat(places.index, [len(frame) for frame in frames])
    table = pd.concat(
        [places.loc[repeats].reset_index(drop=True), pd.concat(frames, ignore_index=True)], axis=1
    )
    keys = ["model", "step", "is_variant", "variant", "recipe", "seed"]
    table = table.sort_values(keys, na_position="first", kind="stable", ignore_index=True)
    return table.reindex(columns=columns)


def _order(main_corpora: Mapping[str, str], path: Path) -> tuple[bool, str]:
    """Sort entropies by corpus, those of a model's main one first."""
    corpus = corpus_of(path)
    return corpus != main_corpora[identify(path).model], corpus


def summary_table(
    results: Mapping[str, list[Path]], replicates: Replicates, settings: SummarizeJob
) -> pd.DataFrame:
    """Return SUMMARY; ``results`` names the lists of files as ``summarize.run`` does."""
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        "manifests": checkpoint_rows,
        "entropies": lambda path: entropy_rows(path, settings.main_corpora),
        "rivals": rival_rows,
        "novelties": lambda path: novelty_rows(path, settings.confidence),
        "knowledge": knowledge_rows,
        "training": training_rows,
        "update_statistics": update_rows,
        "decays": decay_rows,
    }
    main_first = sorted(results["entropies"], key=partial(_order, settings.main_corpora))
    files = {**results, "entropies": main_first}
    parts = [(identify(path), read(path)) for name, read in readers.items() for path in files[name]]
    parts.extend(_retention_parts(results))
    of_runs = map(identify, [*results["knowledge"], *results["retention_after"]])
    parts.extend((run, replicates.compared_rows(run)) for run in dict.fromkeys(of_runs))
    table = collect(parts, SUMMARY.names)
    return mark_trained(table, settings.untrained).assign(
        unit=table["quantity"].map(unit_of), num_items=table["num_items"].astype("Int64")
    )


def _retention_parts(results: Mapping[str, list[Path]]) -> Iterable[Part]:
    before = {identify(p)[:3]: retention_rows(p, "before") for p in results["retention_before"]}
    for key, rows in before.items():
        yield Identity(*key, None, None), rows
    for path in results["retention_after"]:
        identity = identify(path)
        if identity[:3] not in before:
            raise UserError(f"{path}: --retention-before has no file of the same checkpoint")
        yield identity, retention_rows(path, "after")
