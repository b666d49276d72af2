"""Tables of the report on what was measured beside H, A and F, where a study has it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ke_steps.report.tables import Column, Heading, Results, Table, measured_table, runs_and_states
from ke_steps.summary.points import by_corpus, by_layer, group_names
from ke_steps.summary.quantities import (
    ACTIVITIES,
    ALL_PROBES,
    ENTROPY,
    VECTORS,
    WHOLE_MODEL,
    Measure,
)

LABELS = {ENTROPY.quantity: "H"} | {
    f"{name}_entropy_nats": name.replace("_", " ")
    for name in (*ACTIVITIES, "attention", "next_token")
}
"""Of the entropies, by quantity."""

ENTROPIES = Heading(
    "entropies",
    "Entropy by measure and corpus",
    "Sums over layers, in nats; next-token entropy of the predictions. No rescaling of a memory"
    " and its key can change the entropies of contributions and attributions.",
)
LAYERS = Heading(
    "entropies_by_layer",
    "Entropy by layer",
    "H of each feed-forward layer, in nats; layers are counted from 0 at the input.",
)
UPDATES = Heading(
    "updates",
    "What learning changed",
    "Δ is the change of a memory vector v or of the rows k that produce its coefficient. H: entropy"
    " of the distribution of ‖Δ‖ over memories, in nats, summed over layers; mean relative change"
    " in percent; r: rank correlation with mean |c| before learning; means over layers.",
)
DECAY = Heading(
    "decay",
    "How new knowledge fades",
    "After the last injection. Effectivity in nats, retainability in percent; decay constants of a"
    " power law and, per step, of an exponential, common to all probes, each of which has its own"
    " level; R² is within probes.",
)
NOVELTY = Heading(
    "novelty",
    "Novelty of the corpora",
    "Median perplexity of a document under the last checkpoint.",
)
_SYMBOLS = dict(zip(VECTORS, ("v", "k"), strict=True))
UPDATE_COLUMNS = [
    Column(label.format(symbol), Measure(f"{vector}_update_{quantity}", WHOLE_MODEL))
    for vector, symbol in _SYMBOLS.items()
    for label, quantity in (
        ("H of ‖Δ{}‖", "entropy_nats"),
        ("‖Δ{0}‖ / ‖{0}‖", "mean_relative"),
        ("r(‖Δ{}‖, |c|)", "correlation_spearman"),
    )
]
DECAY_COLUMNS = [
    Column("effectivity", Measure("effectivity", ALL_PROBES)),
    Column("retainability", Measure("retainability", ALL_PROBES)),
    Column("power law", Measure("power_law_decay", ALL_PROBES)),
    Column("R² (power law)", Measure("power_law_r_squared", ALL_PROBES)),
    Column("exponential", Measure("exponential_decay_per_step", ALL_PROBES)),
    Column("R² (exponential)", Measure("exponential_r_squared", ALL_PROBES)),
]


def further_tables(results: Results) -> Iterator[Table]:
    """Yield the tables of entropies by measure, corpus and layer, updates, decay, and novelty."""
    for heading, columns in (
        (ENTROPIES, _entropy_columns(results.summary)),
        (LAYERS, _layer_columns(results.summary)),
        (UPDATES, UPDATE_COLUMNS),
        (DECAY, DECAY_COLUMNS),
        (NOVELTY, _novelty_columns(results.summary)),
    ):
        quantities = {column.measure.quantity for column in columns}
        measured = results.of("quantity", *quantities)
        if len(measured.summary):
            yield measured_table(heading, measured, columns, runs_and_states(measured.summary))


def _entropy_columns(summary: pd.DataFrame) -> list[Column]:
    """Return every model-wide entropy, by corpus; none when only the paper's was measured."""
    found = {quantity: by_corpus(summary, quantity) for quantity in LABELS}
    corpora = dict.fromkeys(corpus for entropies in found.values() for corpus in entropies)
    columns = [
        Column(f"{LABELS[quantity]}, {corpus}".removesuffix(", "), entropies[corpus])
        for corpus in corpora
        for quantity, entropies in found.items()
        if corpus in entropies
    ]
    return columns if len(columns) > 1 else []


def _layer_columns(summary: pd.DataFrame) -> list[Column]:
    layers = by_layer(summary, ENTROPY.quantity)
    return [Column(str(layer), layers[layer]) for layer in sorted(layers)]


def _novelty_columns(summary: pd.DataFrame) -> list[Column]:
    corpora = group_names(summary, "median_perplexity")
    return [Column(corpus, Measure("median_perplexity", corpus)) for corpus in corpora]
