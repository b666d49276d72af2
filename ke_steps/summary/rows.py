"""Every kind of result as rows of the summary: group, quantity, value, low, high."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
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
from ke_steps.artefacts.summary_schemas import SUMMARY
from ke_steps.artefacts.text_schemas import NOVELTY
from ke_steps.formulas.ratios import forgetting
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACCURACY_BEFORE,
    ENTROPY_BOUND,
    FORGETTING,
    WHOLE_MODEL,
    unit_of,
)

FINAL_FRACTION = 0.1
"""The final training loss is the mean over this last part of the steps: one batch is noisy."""

Part = tuple[Identity, pd.DataFrame]


def checkpoint_rows(manifest: Path) -> pd.DataFrame:
    """Return the upper bound L·ln m of the model's entropy, from the sizes of a checkpoint."""
    sizes = json.loads(manifest.read_text())
    bound = sizes["num_layers"] * np.log(sizes["num_memories"])
    return pd.DataFrame([{**ENTROPY_BOUND._asdict(), "value": bound}])


def entropy_rows(path: Path, main_corpus: str) -> pd.DataFrame:
    """Return a checkpoint's entropies: the whole model first, then its layers (from 0).

    The paper's measure, mean |c|, and the main corpus go without saying in quantity and group.
    """
    table = _first_the_model(read_frame(path, ENTROPY))
    corpus = corpus_of(path)
    prefix = "" if corpus == main_corpus else f"{corpus}/"
    measures = table["measure"].map(lambda name: "" if name == "absolute" else f"{name}_")
    return table.assign(group=prefix + table["group"], quantity=measures + table["quantity"])


def update_rows(path: Path) -> pd.DataFrame:
    """Return how a run changed the memories: memory vectors and keys, whole model and layers."""
    table = _first_the_model(read_frame(path, UPDATE_STATISTICS))
    return table.assign(quantity=table["vector"] + "_" + table["quantity"])


def _first_the_model(table: pd.DataFrame) -> pd.DataFrame:
    table = table.sort_values("layer", na_position="first", kind="stable")
    groups = [WHOLE_MODEL if pd.isna(layer) else f"layer {int(layer)}" for layer in table["layer"]]
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
        rows.append((corpus, "median_perplexity", np.exp(losses.median()), low, high))
    return pd.DataFrame(rows, columns=["group", "quantity", "value", "low", "high"])


def retention_rows(path: Path, moment: str) -> pd.DataFrame:
    """Return accuracies and bits per token, named for the moment: before or after learning."""
    table = read_frame(path, RETENTION)
    return table.assign(group=table["task"], quantity=table["quantity"] + "_" + moment)


def forgetting_rows(before: pd.DataFrame, after: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return F by task and over tasks, from the retention rows before and after one run.

    The interval propagates the two bootstrap errors as if they were independent. Both answer the
    same items, so it is too wide rather than too narrow.
    """
    pairs = before[before["quantity"] == ACCURACY_BEFORE.quantity].merge(
        after[after["quantity"] == ACCURACY_AFTER.quantity],
        on="group",
        suffixes=("_before", "_after"),
    )
    start, end = pairs["value_before"].to_numpy(float), pairs["value_after"].to_numpy(float)
    value = forgetting(start, end)
    normal = stats.norm.ppf((1 + confidence) / 2)
    start_error = (pairs["high_before"] - pairs["low_before"]).to_numpy(float) / (2 * normal)
    end_error = (pairs["high_after"] - pairs["low_after"]).to_numpy(float) / (2 * normal)
    with np.errstate(divide="ignore", invalid="ignore"):  # F itself is NaN where P was 0
        half_width = normal * np.hypot(end_error / start, start_error * end / start**2)
    return pd.DataFrame(
        {
            "group": pairs["group"],
            "quantity": FORGETTING.quantity,
            "value": value,
            "low": np.where(np.isnan(value), np.nan, value - half_width),
            "high": np.where(np.isnan(value), np.nan, value + half_width),
        }
    )


def training_rows(path: Path) -> pd.DataFrame:
    """Return a run's final training loss in nats; NaN where a loss was no finite number."""
    losses = read_frame(path, TRAINING)["loss_nats"]
    last = losses.tail(max(1, round(FINAL_FRACTION * len(losses))))
    final = last.where(np.isfinite(last)).mean(skipna=False)
    return pd.DataFrame({"group": [WHOLE_MODEL], "quantity": ["training_loss"], "value": [final]})


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


def summary_table(results: Mapping[str, list[Path]], settings: SummarizeJob) -> pd.DataFrame:
    """Return SUMMARY; ``results`` names the lists of files as ``summarize.run`` does."""
    readers: dict[str, Callable[[Path], pd.DataFrame]] = {
        "manifests": checkpoint_rows,
        "entropies": lambda path: entropy_rows(path, settings.corpus),
        "novelties": lambda path: novelty_rows(path, settings.confidence),
        "knowledge": knowledge_rows,
        "training": training_rows,
        "update_statistics": update_rows,
        "decays": decay_rows,
    }
    main_first = sorted(
        results["entropies"], key=lambda path: (corpus_of(path) != settings.corpus, corpus_of(path))
    )
    files = {**results, "entropies": main_first}
    parts = [(identify(path), read(path)) for name, read in readers.items() for path in files[name]]
    parts.extend(_retention_parts(results, settings.confidence))
    table = collect(parts, SUMMARY.names)
    return table.assign(unit=table["quantity"].map(unit_of))


def _retention_parts(results: Mapping[str, list[Path]], confidence: float) -> Iterable[Part]:
    before = {identify(p)[:3]: retention_rows(p, "before") for p in results["retention_before"]}
    for key, rows in before.items():
        yield Identity(*key, None, None), rows
    for path in results["retention_after"]:
        identity, after = identify(path), retention_rows(path, "after")
        if identity[:3] not in before:
            raise UserError(f"{path}: --retention-before has no file of the same checkpoint")
        yield identity, after
        yield identity, forgetting_rows(before[identity[:3]], after, confidence)
