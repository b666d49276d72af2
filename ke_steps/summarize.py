"""Bring a whole study together: one tidy table, correlations, claims, curves, distributions.

Reads every result of the study; which model, step, variant, recipe and seed a file belongs to is
read from its path (``_identity``). Writes the tables SUMMARY, CORRELATIONS, CLAIMS, CURVES and
DISTRIBUTIONS of ``_tables``:

- summary: one row per model, step, variant, recipe, seed, group and quantity, with unit and
  interval; recipe and seed are null for what is measured before learning. Groups: ``model`` and
  ``layer 3`` for entropy; ``paraphrase/semantic`` (or ``all``) for probes; a task, ``mean`` (P) or
  ``held_out`` for retention.
- curves: K in nats (per-token log probability; mean over a passage's probes, then over passages).
- distributions: 101 quantiles of mean |c| relative to the layer's mean.

    python -m ke_steps.summarize --manifests … --entropies … --settings '{…}' --output-summary …
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ke_steps import _cli, _tables
from ke_steps._claims import claims
from ke_steps._correlations import correlations
from ke_steps._errors import UserError
from ke_steps._identity import Identity, identify
from ke_steps._metrics import forgetting
from ke_steps._quantities import unit_of
from ke_steps.settings import ORIGINAL, Summarize

QUANTILES = np.concatenate([[0.001], np.arange(1, 100) / 100, [0.999]])
FINAL_FRACTION = 0.1
"""The final training loss is the mean over this last part of the steps: one batch is noisy."""


def checkpoint_rows(manifest: Path) -> pd.DataFrame:
    """Return the upper bound L·ln m of the model's entropy, from the sizes of a checkpoint."""
    sizes = json.loads(manifest.read_text())
    bound = sizes["num_layers"] * np.log(sizes["num_memories"])
    return pd.DataFrame({"group": ["model"], "quantity": ["entropy_bound_nats"], "value": [bound]})


def entropy_rows(path: Path) -> pd.DataFrame:
    """Return a checkpoint's entropies: the whole model first, then its layers (from 0)."""
    table = _tables.read_frame(path, _tables.ENTROPY)
    table = table.sort_values("layer", na_position="first", kind="stable")
    groups = ["model" if pd.isna(layer) else f"layer {int(layer)}" for layer in table["layer"]]
    return table.assign(group=groups).drop(columns="layer")


def knowledge_rows(path: Path) -> pd.DataFrame:
    """Return a run's K, A and exact match by condition and kind."""
    table = _tables.read_frame(path, _tables.KNOWLEDGE)
    return table.assign(group=table["condition"] + "/" + table["kind"])


def retention_rows(path: Path, moment: str) -> pd.DataFrame:
    """Return accuracies and bits per token, named for the moment: before or after learning."""
    table = _tables.read_frame(path, _tables.RETENTION)
    return table.assign(group=table["task"], quantity=table["quantity"] + "_" + moment)


def forgetting_rows(before: pd.DataFrame, after: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return F by task and over tasks, from the retention rows before and after one run.

    The interval propagates the two bootstrap errors as if they were independent. Both answer the
    same items, so it is too wide rather than too narrow.
    """
    pairs = before[before["quantity"] == "accuracy_before"].merge(
        after[after["quantity"] == "accuracy_after"], on="group", suffixes=("_before", "_after")
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
            "quantity": "forgetting",
            "value": value,
            "low": np.where(np.isnan(value), np.nan, value - half_width),
            "high": np.where(np.isnan(value), np.nan, value + half_width),
        }
    )


def training_rows(path: Path) -> pd.DataFrame:
    """Return a run's final training loss in nats."""
    losses = _tables.read_frame(path, _tables.TRAINING)["loss_nats"]
    final = losses.tail(max(1, round(FINAL_FRACTION * len(losses)))).mean()
    return pd.DataFrame({"group": ["model"], "quantity": ["training_loss"], "value": [final]})


def curve_rows(path: Path) -> pd.DataFrame:
    """Return K at every moment of a run, by condition and over all passages."""
    scores = _tables.read_frame(path, _tables.PROBE_SCORES)
    keys = ["moment", "train_step", "condition"]
    passages = scores.groupby([*keys, "passage_id"], as_index=False, sort=False)[
        "log_probability_per_token"
    ].mean()
    both = pd.concat([passages, passages.assign(condition="all")])
    means = both.groupby(keys, as_index=False)["log_probability_per_token"].mean()
    means = means.rename(columns={"log_probability_per_token": "performance"})
    moments = {moment: order for order, moment in enumerate(scores["moment"].unique())}
    means["order"] = means["moment"].map({**moments, "end": len(moments)})
    return means.sort_values(["train_step", "order", "condition"]).drop(columns="order")


def distribution_rows(path: Path) -> pd.DataFrame:
    """Return the quantile function of each layer's mean |c| relative to the layer's mean."""
    table = _tables.read_frame(path)[["layer", "mean_absolute"]]
    layers = []
    for layer, memories in table.groupby("layer")["mean_absolute"]:
        relative = np.quantile(memories, QUANTILES) / memories.mean()
        columns = {"layer": layer, "quantile": QUANTILES, "relative_activity": relative}
        layers.append(pd.DataFrame(columns))
    return pd.concat(layers)


def collect(parts: Iterable[tuple[Identity, pd.DataFrame]]) -> pd.DataFrame:
    """Join tables under the identity of each, in a stable order: the original variant first."""
    frames = [frame.assign(**identity._asdict()) for identity, frame in parts]
    table = pd.concat(frames, ignore_index=True)
    table["seed"] = table["seed"].astype("Int64")
    table["is_variant"] = table["variant"] != ORIGINAL
    keys = ["model", "step", "is_variant", "variant", "recipe", "seed"]
    return table.sort_values(keys, na_position="first", kind="stable", ignore_index=True)


def summary_table(results: dict[str, list[Path]], confidence: float) -> pd.DataFrame:
    """Return SUMMARY; ``results`` names the lists of files as ``run`` does."""
    readers = {
        "manifests": checkpoint_rows,
        "entropies": entropy_rows,
        "knowledge": knowledge_rows,
        "training": training_rows,
    }
    parts = [
        (identify(path), read(path)) for name, read in readers.items() for path in results[name]
    ]
    before = {identify(p)[:3]: retention_rows(p, "before") for p in results["retention_before"]}
    parts.extend((Identity(*key, None, None), rows) for key, rows in before.items())
    for path in results["retention_after"]:
        identity, after = identify(path), retention_rows(path, "after")
        if identity[:3] not in before:
            raise UserError(f"{path}: --retention-before has no file of the same checkpoint")
        parts.append((identity, after))
        parts.append((identity, forgetting_rows(before[identity[:3]], after, confidence)))
    table = collect(parts)
    return table.assign(unit=table["quantity"].map(unit_of))[_tables.SUMMARY.names]


def run(
    *,
    manifests: list[Path],
    entropies: list[Path],
    coefficients: list[Path],
    knowledge: list[Path],
    probe_scores: list[Path],
    retention_before: list[Path],
    retention_after: list[Path],
    training: list[Path],
    output_summary: Path,
    output_correlations: Path,
    output_claims: Path,
    output_curves: Path,
    output_distributions: Path,
    settings: Summarize,
) -> None:
    """Write the five tables of a whole study; results that a study lacks are empty lists."""
    results: dict[str, list[Path]] = {
        "manifests": manifests,
        "entropies": entropies,
        "knowledge": knowledge,
        "retention_before": retention_before,
        "retention_after": retention_after,
        "training": training,
    }
    summary = summary_table(results, settings.confidence)
    _tables.write_table(output_summary, summary, _tables.SUMMARY)
    pairs = pd.DataFrame(correlations(summary, settings), columns=_tables.CORRELATIONS.names)
    _tables.write_table(output_correlations, pairs, _tables.CORRELATIONS)
    findings = pd.DataFrame(claims(summary, pairs, settings))
    _tables.write_table(output_claims, findings, _tables.CLAIMS)
    curves = collect((identify(path), curve_rows(path)) for path in probe_scores)
    _tables.write_table(output_curves, curves, _tables.CURVES)
    quantiles = collect((identify(path), distribution_rows(path)) for path in coefficients)
    _tables.write_table(output_distributions, quantiles, _tables.DISTRIBUTIONS)


if __name__ == "__main__":
    _cli.main(run)
