"""Paths tell the model, step, variant, recipe, seed and corpus."""

from __future__ import annotations

from pathlib import Path

import pytest

from ke_steps.artefacts.places import Identity, corpus_of, identify
from ke_steps.job.errors import UserError


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "results/evaluate_knowledge/olmo/step738020/original/lr1e-4/seed3/knowledge.parquet",
            Identity("olmo", 738020, "original", "lr1e-4", 3),
        ),
        (
            "/a/step1/b/x/aggregate_entropy/m/step0/boost_p50_q2/entropy.parquet",
            Identity("m", 0, "boost_p50_q2", None, None),
        ),
        (
            "/a/step1/b/aggregate_entropy/m/step0/original/c4/entropy.parquet",
            Identity("m", 0, "original", None, None),
        ),
        ("fetch_checkpoint/m/step7/manifest.json", Identity("m", 7, "original", None, None)),
        ("describe_memories/m/step7/memories.parquet", Identity("m", 7, "original", None, None)),
    ],
)
def test_identity_is_read_from_the_right_end(path: str, expected: Identity) -> None:
    assert identify(Path(path)) == expected


def test_a_path_without_identity_is_refused() -> None:
    with pytest.raises(UserError, match="no model and step"):
        identify(Path("results/summarize/summary.parquet"))


def test_a_corpus_is_read_from_the_last_folder() -> None:
    assert corpus_of(Path("x/m/step5/original/c4/coefficients.parquet")) == "c4"
    with pytest.raises(UserError, match="no corpus"):
        corpus_of(Path("x/m/step5/original/coefficients.parquet"))
