"""The tables of one invented checkpoint or run: known trends, no model."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ke_steps.aggregate_entropy import Found, replicate_rows, resampling_weights
from ke_steps.artefacts.rival_schemas import THRESHOLDS, at_scale, dormant_at
from ke_steps.evaluate_knowledge import Measured, quantities
from ke_steps.scoring.retention import Answers, measured
from ke_steps.settings.learning import EvaluateKnowledge, EvaluateRetention, Task
from ke_steps.settings.measures import AggregateEntropy
from tests.invented.samples import units

KINDS = ("memorization", "semantic", "compositional")
CONDITIONS = ("paraphrase", "once")
TASKS: tuple[Task, ...] = ("sciq", "piqa")
NUM_MEMORIES = 384
INJECTION_STEPS = 10
NUM_GROUPS = 16
NUM_PASSAGES = 12
NUM_ITEMS = 200

BOOTSTRAP = {"num_bootstrap": 200, "confidence": 0.95, "seed": 0}
ENTROPY_SETTINGS = AggregateEntropy(dormant_ratio=0.1, **BOOTSTRAP)
KNOWLEDGE_SETTINGS = EvaluateKnowledge(**BOOTSTRAP)
RETENTION_SETTINGS = EvaluateRetention(
    tasks=list(TASKS), held_out_corpus="pretraining", batch_size_sequences=1, **BOOTSTRAP
)

Rows = list[dict[str, object]]


def estimate(value: float, half_width: float) -> dict[str, float]:
    return {"value": value, "low": value - half_width, "high": value + half_width}


def entropy(
    age: float, num_layers: int, measures: tuple[str, ...], corpus: str, own: str
) -> tuple[Rows, Rows]:
    """Entropies that fall with age, the last layer's most; attention and next token as well.

    Returns:
        The table and its replicates, over groups of the sequences of a corpus.
    """
    weights = resampling_weights(NUM_GROUPS, ENTROPY_SETTINGS)

    def found(measure: str, layer: int | None, value: float, half_width: float) -> Found:
        groups = units(value, half_width, f"{corpus} {measure} {layer}", own, NUM_GROUPS)
        return Found(measure, layer, "entropy_nats", weights @ groups, NUM_GROUPS)

    def with_model(measure: str, layers: list[Found]) -> list[Found]:
        whole = np.sum([layer.values for layer in layers], axis=0)
        return [*layers, Found(measure, None, "entropy_nats", whole, NUM_GROUPS)]

    falls = [0.01 * age * (1 + 3 * (layer == num_layers - 1)) for layer in range(num_layers)]
    every: list[Found] = []
    for number, measure in enumerate(("absolute", *measures)):
        layers = [5.5 - 0.2 * number - fall for fall in falls]
        of_layers = [found(measure, n, h, 0.002) for n, h in enumerate(layers)]
        every += with_model(measure, of_layers)
        every.append(found(measure, None, 0.3, 0.01)._replace(quantity="gini"))
    if measures:
        layers = [2.0 - 0.05 * age + 0.1 * layer for layer in range(num_layers)]
        heads = [found("attention", n, h, 0.01) for n, h in enumerate(layers)]
        every += with_model("attention", heads)
        every.append(found("next_token", None, 4.0 - 0.3 * age, 0.05))
    rows = [each.row(ENTROPY_SETTINGS.confidence) for each in every]
    return rows, replicate_rows(every, corpus, ENTROPY_SETTINGS)


def activity(age: float, num_layers: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Log-normal activities of memories, broader with age."""
    spread, size = 0.5 + 0.1 * age, num_layers * NUM_MEMORIES
    return {
        "layer": np.repeat(np.arange(num_layers), NUM_MEMORIES),
        "memory": np.tile(np.arange(NUM_MEMORIES), num_layers),
        "mean_absolute": np.exp(spread * generator.standard_normal(size)),
    }


def memories(num_layers: int) -> Rows:
    return [
        {
            "layer": layer,
            "end": end,
            "rank": rank,
            "memory": 10 * layer + rank + (0 if end == "most" else 200),
            "mean_absolute": 0.1 / rank,
            "relative_activity": 5.0 / rank if end == "most" else 0.01 * rank,
            "tokens": [" river", "\n", f"<b>{layer}</b>"],
            "scores": [3.0, 2.0, 1.0],
        }
        for layer in range(num_layers)
        for end in ("most", "least")
        for rank in (1, 2, 3)
    ]


SCALES = (0.1, 0.2)
"""γ of the noise."""


def rivals(age: float, num_layers: int) -> Rows:
    """Memories fall dormant, ranks fall, weights grow and get more sensitive with age."""
    of_layers = {
        **{dormant_at(threshold): threshold + 0.01 * age for threshold in THRESHOLDS},
        "participation_ratio": 40.0 - age,
        "effective_rank": 80.0 - 2 * age,
    }
    rows: Rows = [
        {"group": group, "quantity": quantity, "value": value}
        for quantity, value in of_layers.items()
        for group in ("model", *(f"layer {layer}" for layer in range(num_layers)))
    ]
    rows.append({"group": "model", "quantity": "held_out_loss_nats", "value": 4.0 - 0.3 * age})
    for number, group in enumerate(("model", "embeddings", "attention", "feed_forward"), start=1):
        rows.append({"group": group, "quantity": "weight_norm", "value": (20 + age) / number})
        rows.append(
            {"group": group, "quantity": "gradient_norm", "value": (2 - 0.1 * age) / number}
        )
        for scale in SCALES:
            rise = (1 + age) * scale / number
            rows.append(
                {
                    "group": at_scale(group, scale),
                    "quantity": "sensitivity_nats",
                    **estimate(rise, 0.1 * rise),
                    "num_items": 3,
                    "draws": [0.9 * rise, rise, 1.1 * rise],
                }
            )
    return rows


def novelty(median_nats: float) -> Rows:
    """101 documents whose losses are spread evenly around the median."""
    return [
        {
            "corpus": corpus,
            "document_id": f"{corpus}:{number}",
            "num_tokens": 50,
            "loss_nats": median_nats + shift + 0.02 * (number - 50),
        }
        for corpus, shift in (("pretraining", 0.0), ("continual", 2.0))
        for number in range(101)
    ]


def update_statistics(age: float, num_layers: int) -> Rows:
    """Updates that concentrate with age, and fall mostly on active memories."""
    rows: Rows = []
    for vector, correlation in (("memory", 0.5), ("key", 0.3)):
        layers = [
            {
                "update_entropy_nats": 5.8 - 0.05 * age - 0.01 * layer,
                "update_normalized_entropy": (5.8 - 0.05 * age - 0.01 * layer) / 5.95,
                "update_mean_relative": 0.02 + 0.005 * age,
                "update_correlation_pearson": correlation + 0.02 * age,
                "update_correlation_spearman": correlation + 0.03 * age,
                "update_correlation_p_value": 0.001,
            }
            for layer in range(num_layers)
        ]
        model = {name: sum(layer[name] for layer in layers) / num_layers for name in layers[0]}
        model["update_entropy_nats"] *= num_layers
        rows += [
            {"layer": layer, "vector": vector, "quantity": name, "value": value}
            for layer, values in [*enumerate(layers), (None, model)]
            for name, value in values.items()
        ]
    return rows


def decay(age: float) -> Rows:
    values = {
        "effectivity": (0.6 + 0.02 * age, 0.05),
        "retainability": (0.5 - 0.04 * age, 0.05),
        "power_law_decay": (0.1 + 0.03 * age, 0.01),
        "exponential_decay_per_step": (0.01 + 0.002 * age, 0.001),
        "power_law_r_squared": (0.97, 0.01),
        "exponential_r_squared": (0.9, 0.02),
    }
    return [
        {"condition": condition, "quantity": name, **estimate(*value), "num_items": NUM_PASSAGES}
        for condition in (*CONDITIONS, "all")
        for name, value in values.items()
    ]


def retained(age: float) -> Rows:
    return [
        {
            "condition": condition,
            "steps_since": steps,
            "retained": float((1 + steps) ** -(0.1 + 0.03 * age)),
            "low": float((1 + steps) ** -(0.1 + 0.03 * age)) - 0.05,
            "high": float((1 + steps) ** -(0.1 + 0.03 * age)) + 0.05,
        }
        for condition in (*CONDITIONS, "all")
        for steps in (0, 5, 10, 20, 40)
    ]


def retention(accuracy: float, bits: float, own: str) -> tuple[Rows, Rows]:
    """A table and its replicates; to be right is a matter of degree here, chance one in ten."""
    answers = {
        task: Answers(
            units(accuracy + 0.02 * index, 0.005, task, own, NUM_ITEMS),
            np.full(NUM_ITEMS, 10),
            list(range(NUM_ITEMS)),
        )
        for index, task in enumerate(TASKS)
    }
    held_out = units(bits, 0.02, "held_out", own, 64)
    found = list(measured(answers, held_out, "held_out", RETENTION_SETTINGS))
    rows = [each.row(RETENTION_SETTINGS.confidence) for each in found]
    return rows, [each.found.row(each.quantity, each.task) for each in found]


def knowledge(before: float, ends: dict[str, float], own: str) -> tuple[Rows, Rows]:
    """A table and its replicates: twelve passages of each condition, a third known by heart."""
    rows: Rows = []
    replicates: Rows = []
    for condition in (*CONDITIONS, "all"):
        parts = CONDITIONS if condition == "all" else (condition,)
        for index, kind in enumerate(("all", *KINDS)):
            first = pd.concat([_passages(part, before, "", 0.0) for part in parts])
            last = pd.concat(
                [_passages(part, ends[part] - 0.1 * index, own, 1.0) for part in parts]
            )
            for quantity, found in quantities(first, last, KNOWLEDGE_SETTINGS):
                measured = Measured(condition, kind, quantity, found)
                rows.append(measured.row(KNOWLEDGE_SETTINGS.confidence))
                if kind == "all" and quantity.startswith("performance"):
                    replicates.append(found.row(quantity, f"{condition}/{kind}"))
    return rows, replicates


def _passages(condition: str, performance: float, own: str, known: float) -> pd.DataFrame:
    """The means of a condition's passages, as ``evaluate_knowledge.passage_means`` has them."""
    means = units(performance, 0.03, condition, own, NUM_PASSAGES)
    first = NUM_PASSAGES * CONDITIONS.index(condition)
    return pd.DataFrame(
        {
            "performance": means,
            "exact_match": known * (np.arange(NUM_PASSAGES) % 3 == 0),
            "first_token_log_probability": means / 2,
        },
        index=range(first, first + NUM_PASSAGES),
    )


def probe_scores(before: float, ends: dict[str, float]) -> Rows:
    """Five injections, ten steps apart; three passages per condition, one probe of each kind."""
    moments = [("start", None, 0)]
    for injection in range(1, 6):
        moments += [("before", injection, 10 * injection - 1), ("after", injection, 10 * injection)]
    moments.append(("end", None, 60))
    rows: Rows = []
    for moment, injection, step in moments:
        for number, condition in enumerate(CONDITIONS):
            progress = min(step, 50) / 50
            jump = 0.6 if moment == "after" and condition == "paraphrase" else 0.0
            for passage in range(3):
                for probe, kind in enumerate(KINDS):
                    score = before + (ends[condition] - before) * progress + jump - 0.05 * probe
                    rows.append(
                        {
                            "moment": moment,
                            "injection": injection,
                            "train_step": step,
                            "probe_id": 9 * number + 3 * passage + probe,
                            "passage_id": 3 * number + passage,
                            "condition": condition,
                            "kind": kind,
                            "num_target_tokens": 2,
                            "log_probability_sum": 2 * score,
                            "log_probability_per_token": score,
                            "log_probability_reference_padded": score / 10,
                            "log_probability_first_token": score,
                            "exact_match": False,
                        }
                    )
    return rows


def training(diverged: str | None = None) -> Rows:
    """Sixty steps; ``stopped``: NaN at step 17, the last; ``rising``: the loss ends higher."""
    slope = 0.03 if diverged == "rising" else -0.01
    rows: Rows = [
        {
            "train_step": step,
            "loss_nats": 3.0 + slope * step,
            "learning_rate": 1e-3,
            "gradient_norm": 1.0,
            "num_injected_sequences": 5 if step % 10 == 0 else 0,
        }
        for step in range(1, 18 if diverged == "stopped" else 61)
    ]
    if diverged == "stopped":
        rows[-1] |= {"loss_nats": math.nan, "gradient_norm": math.inf}
    return rows
