"""Bring a whole study together: one tidy table, correlations, claims, curves and rankings.

Reads every result of the study; which model, step, variant, corpus, recipe and seed a file belongs
to is read from its path (``_places``). Writes eleven tables of ``_schemas``; those whose data the
study lacks have no rows:

- summary: one row per model, step, variant, recipe, seed, group and quantity, with unit and
  interval; recipe and seed are null for what is measured before learning. Groups: ``model`` and
  ``layer 3`` for entropies and updates, with ``c4/`` before it on another corpus than the main one;
  ``paraphrase/semantic`` (or ``all``) for probes; a task, ``mean`` (P) or ``held_out`` for
  retention; a corpus for its median perplexity. Quantities: ``_quantities``.
- runs: steps, first and last loss, and where a run diverged (``_divergence``). The summary and the
  curves keep such runs; means over seeds, correlations, claims and figures leave them out.
- correlations of entropy with learning over the stages; claims with their verdicts.
- curves: K in nats (per-token log probability; mean over a passage's probes, then over passages).
- distributions: 101 quantiles of mean |c| relative to the layer's mean; novelty: of perplexity.
- checkpoints: where each is from, and which hold the same weights.
- rankings: how the order of memories by mean |c| changes between checkpoints.
- memories, retained: the tables of all checkpoints or runs, as one.

    python -m ke_steps.summarize --manifests … --entropies … --settings '{…}' --output-summary …
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ke_steps import _cli, _schemas, _tables
from ke_steps._claims import claims
from ke_steps._coefficient_tables import read_activity
from ke_steps._correlations import correlations
from ke_steps._curves import curve_rows, distribution_rows, novelty_quantiles
from ke_steps._duplicates import checkpoint_table
from ke_steps._places import corpus_of, identify
from ke_steps._rankings import Array, ranking_table
from ke_steps._runs import converged, run_table
from ke_steps._summary_rows import Part, collect, summary_table
from ke_steps.settings import ORIGINAL, SummarizeJob


def stage_activities(coefficients: Iterable[Path]) -> dict[str, dict[int, Array]]:
    """Return mean |c| (num_layers, m) of the original checkpoints by model and step."""
    stages: dict[str, dict[int, Array]] = {}
    for path in coefficients:
        identity = identify(path)
        if identity.variant == ORIGINAL:
            stages.setdefault(identity.model, {})[identity.step] = read_activity(path)
    return dict(sorted(stages.items()))


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
    update_statistics: list[Path],
    decays: list[Path],
    retained: list[Path],
    memories: list[Path],
    novelties: list[Path],
    output_summary: Path,
    output_runs: Path,
    output_correlations: Path,
    output_claims: Path,
    output_curves: Path,
    output_distributions: Path,
    output_checkpoints: Path,
    output_memories: Path,
    output_rankings: Path,
    output_novelty: Path,
    output_retained: Path,
    settings: SummarizeJob,
) -> None:
    """Write the tables of a whole study; results that a study lacks are empty lists."""
    results = {
        "manifests": manifests,
        "entropies": entropies,
        "novelties": novelties,
        "knowledge": knowledge,
        "training": training,
        "update_statistics": update_statistics,
        "decays": decays,
        "retention_before": retention_before,
        "retention_after": retention_after,
    }
    summary = summary_table(results, settings)
    _tables.write_table(output_summary, summary, _schemas.SUMMARY)
    runs = run_table(training)
    _tables.write_table(output_runs, runs, _schemas.RUNS)
    counted = converged(summary, runs)
    pairs = pd.DataFrame(correlations(counted, settings), columns=_schemas.CORRELATIONS.names)
    _tables.write_table(output_correlations, pairs, _schemas.CORRELATIONS)
    findings = pd.DataFrame(claims(counted, pairs, settings))
    _tables.write_table(output_claims, findings, _schemas.CLAIMS)
    _tables.write_table(output_checkpoints, checkpoint_table(manifests), _schemas.CHECKPOINTS)

    main = [path for path in coefficients if corpus_of(path) == settings.corpus]
    quantiles = ((identify(path), distribution_rows(read_activity(path))) for path in main)
    _write(output_distributions, quantiles, _schemas.DISTRIBUTIONS)
    rankings = ranking_table(stage_activities(main), settings.turnover_fraction)
    _tables.write_table(output_rankings, rankings, _schemas.RANKINGS)

    curves = ((identify(path), curve_rows(path)) for path in probe_scores)
    _write(output_curves, curves, _schemas.CURVES)
    perplexities = ((identify(path), novelty_quantiles(path)) for path in novelties)
    _write(output_novelty, perplexities, _schemas.NOVELTY_QUANTILES)
    _join(memories, _schemas.MEMORIES, output_memories, _schemas.MEMORY_TABLE)
    _join(retained, _schemas.RETAINED, output_retained, _schemas.RETAINED_CURVES)


def _write(output: Path, parts: Iterable[Part], schema: pa.Schema) -> None:
    _tables.write_table(output, collect(parts, schema.names), schema)


def _join(paths: list[Path], schema: pa.Schema, output: Path, joined: pa.Schema) -> None:
    _write(output, ((identify(path), _tables.read_frame(path, schema)) for path in paths), joined)


if __name__ == "__main__":
    _cli.main(run)
