r"""How well a run learned its new knowledge: K before and after, and acquisition A.

Reads the probe scores of one training run. Writes the knowledge table: condition (paraphrase, once,
all) × kind of probe (memorization, semantic, compositional, all), with

- ``performance_before``, ``performance_after``: K at the start and at the end, in nats,
- ``acquisition``: A = 1 - K_after / K_before,
- ``exact_match_before``, ``…_after``: fraction of probes whose whole target is ranked first,
- ``first_token_log_probability_before``, ``…_after``: of the target's first token, in nats,

each as a mean over the probes of a passage, then over passages (FACTS, section 3), with a bootstrap
interval over passages. A condition or kind without passages has no rows.

    python -m ke_steps.evaluate_knowledge --probe-scores …/probe_scores.parquet \
        --output …/knowledge.parquet --settings '{…}'
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ke_steps.artefacts.learning_schemas import CONDITIONS, KNOWLEDGE, PROBE_SCORES
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.formulas.bootstrap import basic_interval, bootstrap_weights
from ke_steps.formulas.ratios import acquisition
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import EvaluateKnowledge

KINDS = ("memorization", "semantic", "compositional", "all")


def knowledge_rows(scores: pd.DataFrame, settings: EvaluateKnowledge) -> list[dict[str, Any]]:
    """Return the rows of the knowledge table from a frame of ``learning_schemas.PROBE_SCORES``."""
    before, after = (scores[scores["moment"] == moment] for moment in ("start", "end"))
    if before.empty or set(before["probe_id"]) != set(after["probe_id"]):
        raise UserError("probe scores: every probe needs a score at the start and at the end")
    rows = []
    for condition in CONDITIONS:
        for kind in KINDS:
            means_before, means_after = (
                passage_means(frame, condition, kind, settings.score) for frame in (before, after)
            )
            if len(means_before):
                rows += [
                    {"condition": condition, "kind": kind} | row
                    for row in _quantities(means_before, means_after, settings)
                ]
    return rows


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


def _quantities(
    before: pd.DataFrame, after: pd.DataFrame, settings: EvaluateKnowledge
) -> Iterator[dict[str, Any]]:
    # The same resampled passages serve before and after, so that their ratio is paired.
    weights = bootstrap_weights(len(before), settings.num_bootstrap, settings.seed)

    def row(quantity: str, value: float, replicates: NDArray[np.float64]) -> dict[str, Any]:
        low, high = basic_interval(value, replicates, settings.confidence)
        return {"quantity": quantity, "value": value, "low": float(low), "high": float(high)}

    for name in before.columns:
        for moment, means in (("before", before), ("after", after)):
            values = means[name].to_numpy()
            yield row(f"{name}_{moment}", float(values.mean()), weights @ values)
    k_before, k_after = before["performance"].to_numpy(), after["performance"].to_numpy()
    yield row(
        "acquisition",
        float(acquisition(k_before.mean(), k_after.mean())),
        acquisition(weights @ k_before, weights @ k_after),
    )


def run(*, probe_scores: Path, output: Path, settings: EvaluateKnowledge) -> None:
    """Write the knowledge table of one run."""
    scores = read_frame(probe_scores, PROBE_SCORES)
    write_table(output, knowledge_rows(scores, settings), KNOWLEDGE)


if __name__ == "__main__":
    main(run)
