"""Bring a whole study together: one tidy table, correlations, claims, curves and rankings.

Reads every result of the study; which model, step, variant, corpus, recipe and seed a file belongs
to is read from its path (``artefacts.places``). Writes twenty-two tables (``summary_schemas``);
those whose data the study lacks have no rows:

- summary: one row per model, step, variant, recipe, seed, group and quantity, with unit and
  interval, and how many passages, items or sequences were sampled for it; recipe and seed are null
  for what is measured before learning. Groups: ``model`` and ``layer 3`` for entropies and updates,
  with ``c4/`` before it on another corpus than the main one; ``paraphrase/semantic`` (or ``all``)
  for probes; a task, ``mean`` (P) or ``held_out`` for retention; a corpus for its median
  perplexity. Quantities: ``summary.quantities``. A*, F and F above chance compare each run with
  what was before it, paired on what both were asked (``summary.replicates``).
- estimates: the summary's means over seeds, one row per state and measure, with the one error bar
  (``formulas.uncertainty``), kept within the quantity's bounds; ``interval_kind`` says of what.
- families: the means over models that are seeds of one pretraining, by stage, before learning.
- phases: what each pretraining run does from its plateau to saturation, and from there to its end.
- downstream: what each variant gains or loses in P after learning, paired with its original.
- frontiers: new knowledge against old over learning rates, by stage and variant.
- effects: of gauge, function and their interaction, and of variants against their controls.
- doses: what doses of entropy during learning change, against the smallest of them.
- runs: steps, first and last loss, and where a run diverged (``formulas.divergence``). The summary
  and the curves keep such runs; means over seeds, correlations, claims and figures leave them out.
- correlations of entropy with learning over the stages; claims with their verdicts; warnings.
- between_runs: what goes with entropy between runs of pretraining, beside all else that they share.
- contests: how well runs of pretraining are foretold by entropy, by its rivals, and together.
- curves: K in nats (per-token log probability; mean over a passage's probes, then over passages).
- distributions: 101 quantiles of mean |c| relative to the layer's mean; novelty: of perplexity.
- checkpoints: where each is from, and which hold the same weights.
- rankings: how the order of memories by mean |c| changes between checkpoints.
- memory_ranks: of memories by mean |c| at each checkpoint; in large studies of the telling ones.
- memories, retained: the tables of all checkpoints or runs, as one.

    python -m ke_steps.summarize --manifests … --entropies … --settings '{…}' --output-tables …
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from ke_steps.artefacts.activity_schemas import DISTRIBUTION
from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.learning_schemas import RETAINED
from ke_steps.artefacts.measure_schemas import MEMORIES
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.places import identify
from ke_steps.artefacts.summary_schemas import (
    BETWEEN_RUNS,
    CHECKPOINTS,
    CLAIMS,
    CONTESTS,
    CORRELATIONS,
    CURVES,
    DISTRIBUTIONS,
    DOSES,
    DOWNSTREAM,
    EFFECTS,
    ESTIMATES,
    FAMILIES,
    FRONTIERS,
    MEMORY_RANKS,
    MEMORY_TABLE,
    NOVELTY_QUANTILES,
    PHASES,
    RANKINGS,
    RETAINED_CURVES,
    RUNS,
    SUMMARY,
    WARNINGS,
)
from ke_steps.claims.contests import contest_rows, contests
from ke_steps.claims.doses import dose_rows
from ke_steps.claims.downstream import downstream
from ke_steps.claims.effect_rows import effect_rows
from ke_steps.claims.frontier_rows import frontier_rows
from ke_steps.claims.judging import claims
from ke_steps.claims.measured import Measured
from ke_steps.claims.phases import phase_rows
from ke_steps.claims.regressions import regressions, rows_between_runs
from ke_steps.claims.warnings import warnings_of
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.agreements import agreements
from ke_steps.summary.checkpoints import checkpoints_of
from ke_steps.summary.correlations import correlations
from ke_steps.summary.curves import curve_parts, novelty_quantiles
from ke_steps.summary.estimates import estimates_of
from ke_steps.summary.families import families_of
from ke_steps.summary.memory_ranks import memory_ranks
from ke_steps.summary.parts import collect, identities, one_by_one, read_all
from ke_steps.summary.passages import knowledge_by_passage
from ke_steps.summary.points import mark_trained
from ke_steps.summary.rankings import Array, rankings_of
from ke_steps.summary.replicates import Replicates
from ke_steps.summary.rows import summary_table
from ke_steps.summary.runs import converged, runs_of

TABLES: dict[str, pa.Schema] = {
    "summary": SUMMARY,
    "estimates": ESTIMATES,
    "families": FAMILIES,
    "phases": PHASES,
    "downstream": DOWNSTREAM,
    "frontiers": FRONTIERS,
    "effects": EFFECTS,
    "doses": DOSES,
    "runs": RUNS,
    "correlations": CORRELATIONS,
    "between_runs": BETWEEN_RUNS,
    "contests": CONTESTS,
    "claims": CLAIMS,
    "warnings": WARNINGS,
    "curves": CURVES,
    "distributions": DISTRIBUTIONS,
    "checkpoints": CHECKPOINTS,
    "memories": MEMORY_TABLE,
    "rankings": RANKINGS,
    "memory_ranks": MEMORY_RANKS,
    "novelty": NOVELTY_QUANTILES,
    "retained": RETAINED_CURVES,
}
"""By the name of the table's file."""


def stage_activities(activities: Iterable[Path]) -> dict[str, dict[int, Array]]:
    """Return mean |c| (num_layers, m) of the original checkpoints by model and step."""
    stages: dict[str, dict[int, Array]] = {}
    for path in activities:
        identity = identify(path)
        stages.setdefault(identity.model, {})[identity.step] = read_activity(path)
    return dict(sorted(stages.items()))


def run(
    *,
    manifests: list[Path],
    entropies: list[Path],
    activities: list[Path],
    distributions: list[Path],
    knowledge: list[Path],
    probe_scores: list[Path],
    retention_before: list[Path],
    retention_after: list[Path],
    replicates: list[Path],
    training: list[Path],
    update_statistics: list[Path],
    decays: list[Path],
    retained: list[Path],
    memories: list[Path],
    rivals: list[Path],
    novelties: list[Path],
    output_tables: list[Path],
    settings: SummarizeJob,
) -> None:
    """Write the tables of a whole study; results that a study lacks are empty lists."""
    outputs = _by_name(output_tables)
    results = {
        "manifests": manifests,
        "entropies": entropies,
        "rivals": rivals,
        "novelties": novelties,
        "knowledge": knowledge,
        "training": training,
        "update_statistics": update_statistics,
        "decays": decays,
        "retention_before": retention_before,
        "retention_after": retention_after,
    }
    shared = Replicates.read(replicates, settings.main_corpora, settings.confidence)
    summary, runs = summary_table(results, shared, settings), runs_of(training)
    counted = converged(summary, runs)
    estimates = estimates_of(counted, settings)
    pairs = pd.DataFrame(correlations(estimates, settings), columns=CORRELATIONS.names)
    swept = {recipe for rates in settings.frontiers.values() for recipe in rates}
    passages = knowledge_by_passage(probe_scores, swept, settings.score)
    models = [
        Measured.of(
            model,
            summary=counted,
            estimates=estimates,
            replicates=shared,
            correlations=pairs,
            settings=settings,
            passages=passages,
        )
        for model in counted["model"].unique()
    ]
    stages = stage_activities(activities)
    between_runs, contested = regressions(models, runs), contests(models, runs)
    verdicts = pd.DataFrame(claims(models, between_runs, contested), columns=CLAIMS.names).astype(
        {"decided_by_step": "Int64"}
    )
    checkpoints = checkpoints_of(manifests)
    tables = {
        "summary": summary,
        "estimates": estimates,
        "families": families_of(estimates, settings.families, settings),
        "phases": pd.DataFrame(
            [row for measured in models for row in phase_rows(measured)], columns=PHASES.names
        ).astype({"plateau_step": "Int64", "saturation_step": "Int64"}),
        "downstream": pd.DataFrame(
            [row for measured in models for row in downstream(measured)], columns=DOWNSTREAM.names
        ),
        "frontiers": pd.DataFrame(
            [row for measured in models for row in frontier_rows(measured)], columns=FRONTIERS.names
        ).astype({"num_halves_best": "Int64", "reference_step": "Int64"}),
        "effects": pd.DataFrame(
            [row for measured in models for row in effect_rows(measured)], columns=EFFECTS.names
        ).astype({"num_draws": "Int64", "num_beaten": "Int64"}),
        "doses": pd.DataFrame(
            [row for measured in models for row in dose_rows(measured)], columns=DOSES.names
        ),
        "runs": runs,
        "correlations": pairs,
        "between_runs": pd.DataFrame(rows_between_runs(between_runs), columns=BETWEEN_RUNS.names),
        "contests": pd.DataFrame(contest_rows(contested), columns=CONTESTS.names),
        "claims": verdicts,
        "warnings": pd.DataFrame(
            warnings_of(
                models,
                verdicts,
                runs,
                checkpoints,
                list(agreements([*entropies, *retention_before])),
            ),
            columns=WARNINGS.names,
        ),
        "curves": mark_trained(
            collect(curve_parts(probe_scores), CURVES.names), settings.untrained
        ),
        "distributions": _joined(distributions, DISTRIBUTION, DISTRIBUTIONS),
        "checkpoints": checkpoints,
        "memories": _joined(memories, MEMORIES, MEMORY_TABLE),
        "rankings": rankings_of(stages, settings.turnover_fraction, settings.untrained),
        "memory_ranks": memory_ranks(stages, settings.untrained),
        "novelty": collect(
            [(identities(novelties), one_by_one(novelties, novelty_quantiles))],
            NOVELTY_QUANTILES.names,
        ),
        "retained": mark_trained(_joined(retained, RETAINED, RETAINED_CURVES), settings.untrained),
    }
    for name, schema in TABLES.items():
        write_table(outputs[name], tables[name], schema)


def _by_name(paths: Iterable[Path]) -> dict[str, Path]:
    found = {path.stem: path for path in paths}
    if wrong := found.keys() ^ TABLES.keys():
        names = ", ".join(sorted(wrong))
        raise UserError(f"the tables of the summary and --output-tables disagree about: {names}")
    return found


def _joined(paths: Sequence[Path], schema: pa.Schema, joined: pa.Schema) -> pd.DataFrame:
    """Return the rows of all tables of a schema as one table, each under its identity."""
    return collect([(identities(paths), read_all(paths, schema))], joined.names)


if __name__ == "__main__":
    main(run)
