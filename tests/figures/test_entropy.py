"""Figures of entropies show the summary: by stage, layer, corpus and measure."""

from __future__ import annotations

import pytest

from ke_steps.figures.panels import Tables
from tests.invented.figures import MODEL, ByStage, Drawn, check_line, check_stages, means
from tests.invented.study import CORPUS

BY_STAGE = [
    ByStage("entropy_by_stage", 0, "", "entropy_nats"),
    ByStage("entropy_by_measure", 0, "", "entropy_nats"),
    ByStage("entropy_by_measure", 1, "", "positive_entropy_nats"),
    ByStage("entropy_by_measure", 2, "", "relu_gate_entropy_nats"),
    ByStage("entropy_by_measure", 3, "", "contribution_entropy_nats"),
    ByStage("entropy_by_measure", 4, "", "attribution_entropy_nats"),
    ByStage("entropy_by_corpus", 0, CORPUS, "entropy_nats"),
    ByStage("entropy_by_corpus", 0, "c4", "entropy_nats", "c4/model"),
    ByStage("attention_and_next_token_entropy", 0, "", "attention_entropy_nats"),
    ByStage("attention_and_next_token_entropy", 1, "", "next_token_entropy_nats"),
]


@pytest.mark.parametrize("line", BY_STAGE, ids=lambda line: f"{line.figure}-{line.quantity}")
def test_lines_over_stages_are_the_summary(drawn: Drawn, tables: Tables, line: ByStage) -> None:
    check_stages(drawn, tables, line)


def test_changes_count_from_the_first_trained_stage(drawn: Drawn, tables: Tables) -> None:
    level = means(tables.summary, "step", "value", model="olmo", quantity="entropy_nats", **MODEL)
    drop = level[2000] - level[400]
    lines = drawn["entropy_by_corpus"].axes[1].lines
    assert any(list(line.get_ydata()) == pytest.approx([0, drop]) for line in lines)
    lines = drawn["entropy_by_measure"].axes[5].lines
    assert any(list(line.get_ydata()) == pytest.approx([0, drop / level[400]]) for line in lines)


def test_layers_of_the_main_corpus_alone_are_drawn(drawn: Drawn, tables: Tables) -> None:
    axis = drawn["entropy_by_layer"].axes[0]
    layers = {
        layer: means(
            tables.summary, "step", "value", model="olmo", quantity="entropy_nats",
            group=f"layer {layer}", variant="original",
        )[2000]
        for layer in (0, 1)
    }  # fmt: skip
    check_line(axis, "step 2,000", layers)


def test_distributions_are_the_table(drawn: Drawn, tables: Tables) -> None:
    where = {"model": "olmo", "variant": "original", "layer": 1, "step": 400}
    curve = means(tables.distributions, "quantile", "relative_activity", **where)
    check_line(drawn["coefficient_distributions"].axes[1], "400", curve)
