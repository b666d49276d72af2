"""Every kind of result as rows of the summary: group, quantity, value, low, high."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.parts import Part, collect, identities, one_by_one, read_all
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


def entropy_rows(paths: Sequence[Path], main_corpora: Mapping[str, str]) -> pd.DataFrame:
    """Return the entropies of checkpoints: the whole model first, then its layers (from 0).

    The paper's measure, mean |c|, and the main corpus go without saying in quantity and group.
    """
    table = _first_the_model(read_all(paths, ENTROPY))
    prefixes = [_prefix(path, main_corpora) for path in paths]
    named = zip(table.index.tolist(), table["group"], strict=True)
    groups = [prefixes[file] + group for file, group in named]
    names = map(quantity_of_measure, table["measure"], table["quantity"])
    return table.assign(group=groups, quantity=list(names))


def _prefix(path: Path, main_corpora: Mapping[str, str]) -> str:
    corpus = corpus_of(path)
    return "" if corpus == main_corpora[identify(path).model] else f"{corpus}/"


def update_rows(paths: Sequence[Path]) -> pd.DataFrame:
    """Return how runs changed the memories: memory vectors and keys, whole model and layers."""
    table = _first_the_model(read_all(paths, UPDATE_STATISTICS))
    return table.assign(quantity=table["vector"] + "_" + table["quantity"])


def _first_the_model(table: pd.DataFrame) -> pd.DataFrame:
    by = ["file", "layer"]
    table = table.rename_axis("file").sort_values(by, na_position="first", kind="stable")
    layers = [None if pd.isna(layer) else int(layer) for layer in table["layer"]]
    groups = list(map(group_of_layer, layers))
    return table.assign(group=groups).drop(columns="layer")


def knowledge_rows(paths: Sequence[Path]) -> pd.DataFrame:
    """Return K, A and exact match of runs by condition and kind."""
    table = read_all(paths, KNOWLEDGE)
    return table.assign(group=table["condition"] + "/" + table["kind"])


def decay_rows(paths: Sequence[Path]) -> pd.DataFrame:
    """Return how the new knowledge of runs faded, by condition and over all kinds of probes."""
    table = read_all(paths, DECAY)
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


def retention_rows(paths: Sequence[Path], moment: str) -> pd.DataFrame:
    """Return accuracies and bits per token, named for the moment: before or after learning.

    Chance, which learning does not change, is told once, before it.
    """
    table = read_all(paths, RETENTION)
    is_chance = table["quantity"] == CHANCE.quantity
    names = table["quantity"].where(is_chance, table["quantity"] + f"_{moment}")
    table = table.assign(group=table["task"], quantity=names)
    return table if moment == "before" else table[~is_chance]


def training_rows(paths: Sequence[Path]) -> pd.DataFrame:
    """Return the final training loss of runs and its fall over the first steps, in nats.

    NaN where a loss was no finite number, the fall also of a run of no more steps. The loss of a
    step is that of its batch before it: the first less that after ``EARLY_STEPS`` steps. The two
    are of different text, which is the same for all checkpoints of a recipe and seed. With a dose
    of entropy also that entropy, over the same last steps as the final loss.
    """
    rows = [
        (file, WHOLE_MODEL, quantity, value)
        for file, path in enumerate(paths)
        for quantity, value in _ends_of(read_frame(path, TRAINING)).items()
    ]
    return pd.DataFrame(rows, columns=["file", "group", "quantity", "value"]).set_index("file")


def _ends_of(table: pd.DataFrame) -> dict[str, float]:
    losses = table["loss_nats"].where(np.isfinite(table["loss_nats"]))
    num_last = max(1, round(FINAL_FRACTION * len(table)))
    final = losses.tail(num_last).mean(skipna=False)
    has_early = len(losses) > EARLY_STEPS
    fall = losses.iloc[0] - losses.iloc[EARLY_STEPS] if has_early else np.nan
    values = {"training_loss": final, EARLY_LOSS_FALL.quantity: fall}
    entropy = table["contribution_normalized_entropy"].tail(num_last).mean()
    if not np.isnan(entropy):
        values[LEARNING_ENTROPY.quantity] = entropy
    return values


def rival_rows(paths: Sequence[Path]) -> pd.DataFrame:
    """Return what else could explain how checkpoints learn and forget."""
    return read_all(paths, RIVALS).drop(columns="draws")


def _order(main_corpora: Mapping[str, str], path: Path) -> tuple[bool, str]:
    """Sort entropies by corpus, those of a model's main one first."""
    corpus = corpus_of(path)
    return corpus != main_corpora[identify(path).model], corpus


def summary_table(
    results: Mapping[str, list[Path]], replicates: Replicates, settings: SummarizeJob
) -> pd.DataFrame:
    """Return SUMMARY; ``results`` names the lists of files as ``summarize.run`` does."""
    confidence = settings.confidence
    readers: dict[str, Callable[[Sequence[Path]], pd.DataFrame]] = {
        "manifests": partial(one_by_one, read=checkpoint_rows),
        "entropies": partial(entropy_rows, main_corpora=settings.main_corpora),
        "rivals": rival_rows,
        "novelties": partial(one_by_one, read=partial(novelty_rows, confidence=confidence)),
        "knowledge": knowledge_rows,
        "training": training_rows,
        "update_statistics": update_rows,
        "decays": decay_rows,
    }
    main_first = sorted(results["entropies"], key=partial(_order, settings.main_corpora))
    files = {**results, "entropies": main_first}
    parts: list[Part] = [
        (identities(files[name]), read(files[name])) for name, read in readers.items()
    ]
    parts.extend(_retention_parts(results))
    runs = dict.fromkeys(map(identify, [*results["knowledge"], *results["retention_after"]]))
    parts.append((list(runs), one_by_one(runs, replicates.compared_rows)))
    table = collect(parts, SUMMARY.names)
    return mark_trained(table, settings.untrained).assign(
        unit=table["quantity"].map(unit_of), num_items=table["num_items"].astype("Int64")
    )


def _retention_parts(results: Mapping[str, list[Path]]) -> Iterator[Part]:
    before, after = results["retention_before"], results["retention_after"]
    states = [Identity(*identify(path)[:3], None, None) for path in before]
    yield states, retention_rows(before, "before")
    runs = identities(after)
    known = set(states)
    for path, run in zip(after, runs, strict=True):
        if run._replace(recipe=None, seed=None) not in known:
            raise UserError(f"{path}: --retention-before has no file of the same checkpoint")
    yield runs, retention_rows(after, "after")
