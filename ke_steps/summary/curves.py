"""Results that are curves: probes over a run, perplexity over texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ke_steps.artefacts.learning_schemas import PROBE_SCORES
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.text_schemas import NOVELTY
from ke_steps.formulas.quantiles import QUANTILES
from ke_steps.summary.parts import Part, identities, read_all

FILES_AT_ONCE = 50
"""Scores of a real run are thousands of rows: those of all runs do not lie in memory together."""


def curve_parts(paths: Sequence[Path]) -> Iterator[Part]:
    """Yield K at every moment of the runs, by condition and over all passages."""
    for first in range(0, len(paths), FILES_AT_ONCE):
        some = paths[first : first + FILES_AT_ONCE]
        yield identities(some), _curves(read_all(some, PROBE_SCORES))


def _curves(scores: pd.DataFrame) -> pd.DataFrame:
    scores = scores.rename_axis("file").reset_index()
    keys = ["file", "moment", "train_step", "condition"]
    passages = scores.groupby([*keys, "passage_id"], as_index=False, sort=False)[
        "log_probability_per_token"
    ].mean()
    both = pd.concat([passages, passages.assign(condition="all")])
    means = both.groupby(keys, as_index=False)["log_probability_per_token"].mean()
    means = means.rename(columns={"log_probability_per_token": "performance"})
    moments = scores[["file", "moment"]].drop_duplicates()
    order = moments.groupby("file").cumcount().mask(moments["moment"] == "end", len(moments))
    means = means.merge(moments.assign(order=order), on=["file", "moment"])
    return means.sort_values(["file", "train_step", "order", "condition"]).set_index("file")


def novelty_quantiles(path: Path) -> pd.DataFrame:
    """Return the quantile function of the perplexity of each corpus' documents."""
    documents = read_frame(path, NOVELTY)
    corpora = [
        {
            "corpus": corpus,
            "quantile": QUANTILES,
            "perplexity": np.exp(np.quantile(losses, QUANTILES)),
        }
        for corpus, losses in documents.groupby("corpus", sort=False)["loss_nats"]
    ]
    return pd.concat([pd.DataFrame(columns) for columns in corpora])
