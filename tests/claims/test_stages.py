"""One rule for courses over the stages: what it decides, how often wrongly, and on which stage."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ke_steps.claims.findings import DECIDED, Part, decide
from ke_steps.claims.learning import goes_with_entropy, later_stages_learn_less
from ke_steps.claims.stages import line_through
from ke_steps.formulas.bootstrap import bootstrap_weights
from ke_steps.formulas.uncertainty import Sampled, contrast, spread_beside_seeds
from tests.invented.claims import Invented, answers, finding_of, passages, stages

KNOWLEDGE = (later_stages_learn_less, "knowledge_after_falls")


def test_the_line_through_stages_is_their_change_from_first_to_last():
    for num_stages in (2, 3, 7):
        coefficients = line_through(num_stages)
        course = 5.0 - 0.3 * np.arange(num_stages)
        assert coefficients @ course == pytest.approx(course[-1] - course[0])
        assert coefficients.sum() == pytest.approx(0)
        values = np.random.default_rng(0).normal(size=num_stages)
        slope, _ = np.polyfit(np.arange(num_stages), values, 1)
        assert coefficients @ values == pytest.approx(slope * (num_stages - 1))


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        ([-5.0, -5.1, -5.2, -5.3, -5.4], "supported"),
        ([-5.4, -5.3, -5.2, -5.1, -5.0], "not supported"),
        ([-5.0, -5.01, -4.99, -5.0, -5.005], "inconclusive"),
        ([-5.0, -5.2, -5.4], "not tested"),
    ],
)
def test_what_falls_and_what_does_not(course, expected):
    assert finding_of(stages(course), *KNOWLEDGE).verdict == expected


def test_one_stage_may_decide():
    hangs = finding_of(
        stages([-5.0, -5.02, -5.0, -5.01, -5.9], noise=0.01),
        later_stages_learn_less,
        "knowledge_after_falls",
    )
    assert hangs.verdict == "supported"
    assert hangs.decided_by_step == 500
    assert "Without step 500 it would be inconclusive." in hangs.evidence
    steady = finding_of(stages([-5.0, -5.2, -5.4, -5.6, -5.8]), *KNOWLEDGE)
    assert steady.decided_by_step is None


def test_passages_that_differ_more_than_stages_do_not_hide_a_course():
    """Unpaired, the interval of K alone is wider than the whole course."""
    found = finding_of(
        stages([-5.0, -5.05, -5.1, -5.15], noise=0.005),
        later_stages_learn_less,
        "knowledge_after_falls",
    )
    assert found.verdict == "supported"
    assert found.estimate.value == pytest.approx(-0.15, abs=0.02)
    assert found.estimate.high - found.estimate.low < 0.1


def test_courses_without_any_change_are_rarely_decided():
    """2,000 courses whose stages differ by the noise of runs alone, at a nominal 5 %."""
    generator = np.random.default_rng(0)
    coefficients = line_through(5).tolist()
    weights = bootstrap_weights(40, 200, seed=0)
    decided = []
    for _ in range(2000):
        of_passages = generator.normal(size=40)
        runs = generator.normal(size=(1, 3)) + 0.1 * generator.normal(size=(5, 3))
        samples = [
            [
                Sampled(of_passages.mean() + run, weights @ of_passages + run, 0.0, "")
                for run in stage
            ]
            for stage in runs
        ]
        found = contrast(coefficients, samples, spread_beside_seeds(pd.DataFrame(runs)), 0.95)
        decided.append(decide([Part(found)], 0.95).verdict in DECIDED)
    assert 0.035 <= np.mean(decided) <= 0.065


def test_curves_that_share_a_clock_are_never_decided():
    """Independent monotone curves of H and A: r is near ±1 in most, and no verdict follows."""
    generator = np.random.default_rng(0)
    correlations = []
    for number in range(12):
        found = stages(
            np.sort(generator.normal(size=5))[:: generator.choice([-1, 1])].tolist(),
            generator_seed=number,
        )
        entropies = np.sort(generator.normal(size=5))
        for place, entropy in enumerate(entropies):
            groups = {"model": 20 + entropy + 0.01 * generator.normal(size=16)}
            found.entropies(100 * (place + 1), groups)
        shown = list(goes_with_entropy(found.measured()))
        assert {finding.verdict for finding in shown} <= {"descriptive", "not tested"}
        correlations.append(abs(shown[0].estimate.value))
    assert np.mean(np.array(correlations) > 0.88) > 0.5


def test_forgetting_is_judged_above_chance():
    """F calls the later stages the worse ones; of what they knew they lose less."""
    found = Invented()
    generator = np.random.default_rng(0)
    of_passages = passages(generator, -5.0)
    before, after = [0.30, 0.45, 0.60, 0.80], [0.25, 0.32, 0.44, 0.62]
    for place, (known, kept) in enumerate(zip(before, after, strict=True)):
        found.accuracy(100 * (place + 1), answers(known, 4000), chance=0.25)
        for seed in (0, 1):
            noise = 0.002 * generator.normal()
            knowledge = of_passages, of_passages + 1
            found.run(100 * (place + 1), seed, knowledge, answers(kept + noise, 4000))
    finding = finding_of(found, later_stages_learn_less, "forgetting_rises")
    assert finding.verdict == "not supported"
    values = [
        float(part.split(" %")[0]) for part in finding.evidence.split("chance: ")[1].split("; ")
    ]
    ratios = [(p - q) / (p - 0.25) for p, q in zip(before, after, strict=True)]
    assert values == pytest.approx([100 * ratio for ratio in ratios], abs=4)


def test_evidence_tells_some_of_very_many_stages():
    course = list(-5.0 - 0.01 * np.arange(40))
    told = finding_of(stages(course), *KNOWLEDGE).evidence
    assert told.count(" at step ") == 12
    assert "at step 100;" in told
    assert "at step 4,000 (12 of 40 stages). Along the line" in told
    assert "stages)" not in finding_of(stages(course[:12]), *KNOWLEDGE).evidence
