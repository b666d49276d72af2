"""An improvement is one only where nothing that could be harmed ends worse."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from ke_steps.claims.resuscitation import (
    resuscitation_beats_temperature,
    resuscitation_gains_downstream,
    resuscitation_improves_acquisition,
    resuscitation_lowers_forgetting,
    resuscitation_raises_entropy,
)
from tests.invented.claims import Invented, answers, finding_of, passages

KINDS = {"boost": "resuscitate", "warm": "temper_attention", "warmer": "temper_attention"}
SEEDS = (0, 1, 2)


def learned(variants, *, noise=0.01, num_items=2000, **settings):
    """One checkpoint as it is and as variants: K before and after, P before and after of each."""
    found = Invented(variant_kinds=KINDS, **settings)
    generator = np.random.default_rng(0)
    of_passages = passages(generator, 0.0)
    for variant, (before, after, known, kept) in variants.items():
        found.accuracy(400, answers(known, num_items), variant=variant)
        for seed in SEEDS:
            moved = of_passages + after + noise * generator.normal()
            right = answers(kept, num_items)
            found.run(400, seed, (of_passages + before, moved), right, variant=variant)
    return found


ORIGINAL = (-10.0, -7.0, 0.8, 0.6)


def test_a_gain_without_harm_is_supported():
    found = learned({"original": ORIGINAL, "boost": (-10.0, -6.5, 0.8, 0.62)})
    for rule in (
        resuscitation_improves_acquisition,
        resuscitation_lowers_forgetting,
        resuscitation_gains_downstream,
    ):
        assert finding_of(found, rule).verdict == "supported"


def test_a_model_that_was_damaged_first_gains_nothing():
    """A is 36 % in place of 30 %, as K before was damaged; K after lies lower, hardly for sure."""
    found = learned({"original": ORIGINAL, "boost": (-11.2, -7.2, 0.8, 0.6)}, noise=0.08)
    finding = finding_of(found, resuscitation_improves_acquisition)
    assert finding.estimate.low > 0
    assert finding.verdict != "supported"
    assert "A* at step 400" in finding.evidence
    assert "K after at step 400" in finding.evidence


def test_what_is_surely_worse_is_not_supported():
    found = learned({"original": ORIGINAL, "boost": (-14.0, -7.5, 0.8, 0.6)})
    finding = finding_of(found, resuscitation_improves_acquisition)
    assert finding.estimate.low > 0
    assert finding.verdict == "not supported"


def test_old_knowledge_that_is_lost_is_harm_as_well():
    found = learned({"original": ORIGINAL, "boost": (-10.0, -6.5, 0.8, 0.5)})
    assert finding_of(found, resuscitation_improves_acquisition).verdict == "not supported"


def test_less_forgetting_of_less_is_no_gain():
    """F falls from 25 to 5 % because P before was damaged; P after is lower."""
    found = learned({"original": ORIGINAL, "boost": (-10.0, -7.0, 0.6, 0.57)})
    finding = finding_of(found, resuscitation_lowers_forgetting)
    assert finding.estimate.high < 0
    assert finding.verdict == "not supported"


def test_the_margin_is_a_setting():
    variants = {"original": ORIGINAL, "boost": (-10.0, -6.5, 0.8, 0.58)}
    for margin, expected in ((0.01, "not supported"), (0.05, "supported")):
        found = learned(variants, non_inferiority_margin=margin)
        assert finding_of(found, resuscitation_improves_acquisition).verdict == expected


def test_without_a_variant_nothing_is_claimed():
    found = learned({"original": ORIGINAL}).measured()
    for rule in (
        resuscitation_raises_entropy,
        resuscitation_improves_acquisition,
        resuscitation_lowers_forgetting,
        resuscitation_gains_downstream,
        resuscitation_beats_temperature,
    ):
        assert not list(rule(found))


@pytest.mark.parametrize(
    ("rise", "expected"),
    [(0.5, "supported"), (0.01, "not supported"), (-0.5, "not supported"), (0.04, "inconclusive")],
)
def test_a_rise_of_entropy_is_of_interest_from_a_size_on(rise, expected):
    """Four layers, so 0.04 nats in all; sequences differ by far more than the states do."""
    found = Invented(variant_kinds=KINDS)
    noise = np.random.default_rng(0).normal(size=(2, 16))
    for variant, lift in (("original", 0.0), ("boost", rise)):
        own = 0.005 * noise[1] if variant == "boost" else 0.0
        groups = {"model": 20 + noise[0] + own + lift}
        groups |= {f"layer {layer}": groups["model"] / 4 for layer in range(4)}
        found.entropies(400, groups, variant)
    assert finding_of(found, resuscitation_raises_entropy).verdict == expected


def test_the_better_of_several_is_chosen_after_looking():
    variants = {"original": ORIGINAL, "boost": (-10.0, -6.5, 0.8, 0.62), "warm": ORIGINAL}
    found = learned(variants)
    contests = list(resuscitation_beats_temperature(found.measured()))
    assert [finding.verdict for finding in contests] == ["supported", "supported"]
    assert not any(finding.chosen_after_looking for finding in contests)
    found = learned(variants | {"warmer": ORIGINAL})
    several = list(resuscitation_beats_temperature(found.measured()))
    assert all(finding.chosen_after_looking for finding in several)
    assert all(two.p_value >= one.p_value for one, two in zip(contests, several, strict=True))


def test_differences_are_paired():
    """Passages' K differs by 2 nats, the change is the same for all: nothing hides it."""
    estimates = []
    for change in (0.0, 0.05, 0.1):
        found = learned(
            {"original": ORIGINAL, "boost": (-10.0, -7.0 + change, 0.8, 0.6)}, noise=0.001
        )
        estimates.append(finding_of(found, resuscitation_improves_acquisition).estimate)
    widths = [estimate.high - estimate.low for estimate in estimates]
    assert max(widths) < 0.01
    assert all(lower.high < higher.low for lower, higher in pairwise(estimates))
