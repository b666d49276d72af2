r"""How well a run learned its new knowledge: K before and after, and acquisition A.

Reads the probe scores of one training run. Writes the knowledge table: condition (paraphrase, once,
all) × kind of probe (memorization, semantic, compositional, all), with

- ``performance_before``, ``performance_after``: K at the start and at the end, in nats,
- ``acquisition``: A = 1 - K_after / K_before,
- ``exact_match_before``, ``…_after``: fraction of probes whose whole target is ranked first,
- ``first_token_log_probability_before``, ``…_after``: of the target's first token, in nats,

each as a mean over the probes of a passage, then over passages (FACTS, section 3), with a bootstrap
interval over passages. A condition or kind without passages has no rows.

Writes as well, over all kinds of probes, the bootstrap replicates of K (``artefacts.replicates``).

    python -m ke_steps.evaluate_knowledge --probe-scores …/probe_scores.parquet \
        --output-knowledge …/knowledge.parquet --output-replicates …/replicates.parquet \
        --settings '{…}'
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ke_steps.artefacts.learning_schemas import CONDITIONS, KNOWLEDGE, PROBE_SCORES
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.replicates import REPLICATES, Resampled, name_of_units
from ke_steps.formulas.bootstrap import (
    AT_MOST_ONE,
    NOT_POSITIVE,
    PROPORTION,
    Bounds,
    bootstrap_weights,
    sampling_interval,
    unresolved_proportion,
)
from ke_steps.formulas.ratios import acquisition
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import EvaluateKnowledge

KINDS = ("memorization", "semantic", "compositional", "all")


BOUNDS: dict[str, Bounds] = {
    "performance_before": NOT_POSITIVE,
    "performance_after": NOT_POSITIVE,
    "acquisition": AT_MOST_ONE,
    "exact_match_before": PROPORTION,
    "exact_match_after": PROPORTION,
    "first_token_log_probability_before": NOT_POSITIVE,
    "first_token_log_probability_after": NOT_POSITIVE,
}
KEPT = ("performance_before", "performance_after")
"""Quantities whose replicates are kept."""


class Measured(NamedTuple):
    """A quantity of the probes of one condition and kind."""

    condition: str
    kind: str
    quantity: str
    found: Resampled

    def row(self, confidence: float) -> dict[str, Any]:
        """Return the row of ``KNOWLEDGE``."""
        value, replicates, num_passages, _, unresolved = self.found
        low, high = sampling_interval(
            value, replicates, unresolved, confidence, BOUNDS[self.quantity]
        )
        return {
            "condition": self.condition,
            "kind": self.kind,
            "quantity": self.quantity,
            "value": value,
            "low": low,
            "high": high,
            "num_items": num_passages,
        }


def measured(scores: pd.DataFrame, settings: EvaluateKnowledge) -> Iterator[Measured]:
    """Yield every quantity of a frame of ``learning_schemas.PROBE_SCORES``."""
    before, after = (scores[scores["moment"] == moment] for moment in ("start", "end"))
    if before.empty or set(before["probe_id"]) != set(after["probe_id"]):
        raise UserError("probe scores: every probe needs a score at the start and at the end")
    for condition in CONDITIONS:
        for kind in KINDS:
            means_before, means_after = (
                passage_means(frame, condition, kind, settings.score) for frame in (before, after)
            )
            if len(means_before):
                for quantity, found in quantities(means_before, means_after, settings):
                    yield Measured(condition, kind, quantity, found)


def passage_means(scores: pd.DataFrame, condition: str, kind: str, score: str) -> pd.DataFrame:
    """Return one row per passage: the mean over its probes of the given kind.

    Columns: ``performance`` (the log probability that ``score`` names), ``exact_match``,
    ``first_token_log_probability``; the index is the passage_id.
    """
    chosen = scores[
        (scores["condition"].eq(condition) | (condition == "all"))
        & (scores["kind"].eq(kind) | (kind == "all"))
    ]
    columns = {
        f"log_probability_{score}": "performance",
        "exact_match": "exact_match",
        "log_probability_first_token": "first_token_log_probability",
    }
    values = chosen[list(columns)].rename(columns=columns).astype(float)
    return values.groupby(chosen["passage_id"]).mean()


def quantities(
    before: pd.DataFrame, after: pd.DataFrame, settings: EvaluateKnowledge
) -> Iterator[tuple[str, Resampled]]:
    """Yield every quantity by name, from ``passage_means`` before and after."""
    # The same resampled passages serve before and after, so that their ratio is paired.
    num_passages = len(before)
    weights = bootstrap_weights(num_passages, settings.num_bootstrap, settings.seed)
    units = name_of_units(before.index.tolist(), settings.num_bootstrap, settings.seed)
    unresolved = unresolved_proportion(num_passages, settings.confidence)
    for name in before.columns:
        for moment, means in (("before", before), ("after", after)):
            values = means[name].to_numpy()
            found = Resampled(float(values.mean()), weights @ values, num_passages, units)
            is_proportion = BOUNDS[f"{name}_{moment}"] == PROPORTION
            yield (
                f"{name}_{moment}",
                found._replace(unresolved=unresolved) if is_proportion else found,
            )
    k_before, k_after = before["performance"].to_numpy(), after["performance"].to_numpy()
    yield (
        "acquisition",
        Resampled(
            float(acquisition(k_before.mean(), k_after.mean())),
            acquisition(weights @ k_before, weights @ k_after),
            num_passages,
            units,
        ),
    )


def run(
    *,
    probe_scores: Path,
    output_knowledge: Path,
    output_replicates: Path,
    settings: EvaluateKnowledge,
) -> None:
    """Write the knowledge table of one run, and the replicates of its K."""
    found = list(measured(read_frame(probe_scores, PROBE_SCORES), settings))
    rows = [each.row(settings.confidence) for each in found]
    replicates = [
        each.found.row(each.quantity, f"{each.condition}/{each.kind}")
        for each in found
        if each.quantity in KEPT and each.kind == "all"
    ]
    write_table(output_knowledge, rows, KNOWLEDGE)
    write_table(output_replicates, replicates, REPLICATES)


if __name__ == "__main__":
    main(run)
