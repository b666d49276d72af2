"""K after learning, passage by passage: what a learning rate is chosen on and judged by."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import pandas as pd

from ke_steps.artefacts.learning_schemas import PROBE_SCORES
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.places import Identity, identify
from ke_steps.settings.learning import Score


def knowledge_by_passage(
    probe_scores: Iterable[Path], recipes: Collection[str], score: Score
) -> dict[Identity, pd.Series]:
    """Return K after learning of every passage, in the order of their ids, by run.

    Args:
        probe_scores: of all runs.
        recipes: whose runs are read.
        score: which log probability K is the mean of.
    """
    runs = {identify(path): path for path in probe_scores}
    return {
        run: _at_end(path, f"log_probability_{score}")
        for run, path in runs.items()
        if run.recipe in recipes
    }


def _at_end(path: Path, column: str) -> pd.Series:
    scores = read_frame(path, PROBE_SCORES)
    return scores[scores["moment"] == "end"].groupby("passage_id")[column].mean()
