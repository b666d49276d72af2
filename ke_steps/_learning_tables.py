"""Tables of the report on what was measured beside H, A and F, where a study has it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ke_steps._quantities import MEASURES, VECTORS
from ke_steps._report_tables import Column, Heading, Table, measured_table, runs_and_states

ENTROPIES = ("entropy_nats", *(f"{measure}_entropy_nats" for measure in MEASURES))
OF_TOKENS = ("attention_entropy_nats", "next_token_entropy_nats")


ENTROPY = Heading(
    "entropies",
    "Entropy by measure and corpus",
    "Sums over layers, in nats; next-token entropy of the predictions. No rescaling of a memory"
    " and its key can change the entropies of contributions and attributions. ± is half the"
    " bootstrap interval.",
)
UPDATES = Heading(
    "updates",
    "What learning changed",
    "Δ is the change of a memory vector v or of the rows k that produce its coefficient. H: entropy"
    " of the distribution of ‖Δ‖ over memories, in nats, summed over layers; mean relative change"
    " in percent; r: rank correlation with mean |c| before learning; means over layers. ± is half"
    " the range between seeds.",
)
DECAY = Heading(
    "decay",
    "How new knowledge fades",
    "After the last injection. Effectivity in nats, retainability in percent; decay constants of a"
    " power law and, per step, of an exponential, each with its R². ± is half the range between"
    " seeds; with one seed half the interval.",
)
NOVELTY = Heading(
    "novelty",
    "Novelty of the corpora",
    "Median perplexity of a document under the last checkpoint. ± is half the interval of order"
    " statistics.",
)
_SYMBOLS = dict(zip(VECTORS, ("v", "k"), strict=True))
UPDATE_COLUMNS = [
    Column(label.format(symbol), f"{vector}_update_{quantity}", "model")
    for vector, symbol in _SYMBOLS.items()
    for label, quantity in (
        ("H of ‖Δ{}‖", "entropy_nats"),
        ("‖Δ{0}‖ / ‖{0}‖", "mean_relative"),
        ("r(‖Δ{}‖, |c|)", "correlation_spearman"),
    )
]
DECAY_COLUMNS = [
    Column("effectivity", "effectivity", "all/all"),
    Column("retainability", "retainability", "all/all"),
    Column("power law", "power_law_decay", "all/all"),
    Column("R² (power law)", "power_law_r_squared", "all/all"),
    Column("exponential", "exponential_decay_per_step", "all/all"),
    Column("R² (exponential)", "exponential_r_squared", "all/all"),
]


def further_tables(summary: pd.DataFrame) -> Iterator[Table]:
    """Yield the tables of entropies by measure and corpus, updates, decay, and novelty."""
    for heading, columns in (
        (ENTROPY, _entropy_columns(summary)),
        (UPDATES, UPDATE_COLUMNS),
        (DECAY, DECAY_COLUMNS),
        (NOVELTY, _novelty_columns(summary)),
    ):
        measured = summary[summary["quantity"].isin({column.quantity for column in columns})]
        if len(measured):
            yield measured_table(heading, measured, columns, runs_and_states(measured))


def _entropy_columns(summary: pd.DataFrame) -> list[Column]:
    """Return every model-wide entropy, by corpus; none when only the paper's was measured."""
    is_model = (summary["group"] == "model") | summary["group"].str.endswith("/model")
    found = summary[is_model & summary["quantity"].isin((*ENTROPIES, *OF_TOKENS))]
    labels = {
        quantity: "H"
        if quantity == "entropy_nats"
        else quantity.removesuffix("_entropy_nats").replace("_", " ")
        for quantity in (*ENTROPIES, *OF_TOKENS)
    }
    columns = [
        Column(f"{labels[quantity]}{_on(group)}", quantity, group)
        for group in found["group"].unique()
        for quantity in labels
        if ((found["group"] == group) & (found["quantity"] == quantity)).any()
    ]
    return columns if len(columns) > 1 else []


def _on(group: str) -> str:
    corpus = group.rpartition("/")[0]
    return f", {corpus}" if corpus else ""


def _novelty_columns(summary: pd.DataFrame) -> list[Column]:
    groups = summary.loc[summary["quantity"] == "median_perplexity", "group"].unique()
    return [Column(corpus, "median_perplexity", corpus) for corpus in groups]
