"""Results that are curves: probes over a run, perplexity over texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ke_steps.artefacts.learning_schemas import PROBE_SCORES
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.text_schemas import NOVELTY
from ke_steps.formulas.quantiles import QUANTILES


def curve_rows(path: Path) -> pd.DataFrame:
    """Return K at every moment of a run, by condition and over all passages."""
    scores = read_frame(path, PROBE_SCORES)
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
