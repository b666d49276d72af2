"""What a claim comes to: the words of verdicts, the one rule that decides, and a finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ke_steps.formulas.uncertainty import Estimate

SUPPORTED, NOT_SUPPORTED, INCONCLUSIVE = "supported", "not supported", "inconclusive"
NOT_TESTED = "not tested"
"""There are no data; *inconclusive* are data that do not decide."""
DESCRIPTIVE = "descriptive"
"""Shown, and never decided: what courses over one run have in common."""
DECIDED = (SUPPORTED, NOT_SUPPORTED)
VERDICTS = (*DECIDED, INCONCLUSIVE, NOT_TESTED, DESCRIPTIVE)
"""In the order in which they are counted."""

PAPER, BEYOND, PREDICTION = "paper", "beyond", "prediction"
"""Whose claim it is: the paper's, one that goes beyond it, or the study's own, made beforehand."""

PAIRED = (
    "Paired: the same resampled passages, items or sequences, and the same seeds, on both sides."
)


def capital(words: str) -> str:
    """Return words as a sentence begins, as where it is the label of a measure or a name."""
    return words[:1].upper() + words[1:]


class Part(NamedTuple):
    """One thing that a claim says: that the true value of an estimate lies above a number."""

    estimate: Estimate
    above: float = 0.0


class Decision(NamedTuple):
    """A verdict, and the two-sided p-value that it rests on."""

    verdict: str
    p_value: float


def decide(parts: Sequence[Part], confidence: float, *, num_tries: int = 1) -> Decision:
    """Decide a claim that says all of its parts.

    Supported when every interval lies above its number, not supported when one lies below, and
    otherwise inconclusive; not tested without parts, or when an interval is not known. For support
    p is the largest (all must hold); against it, the smallest times the number of parts.

    Args:
        parts: at least one for a claim that was tested.
        confidence: of the intervals.
        num_tries: among how many the best was chosen after looking (Bonferroni).
    """
    if not parts or any(math.isnan(part.estimate.low) for part in parts):
        return Decision(NOT_TESTED, math.nan)
    p_values = [part.estimate.p_value(part.above, confidence) for part in parts]
    against = [
        p for p, part in zip(p_values, parts, strict=True) if part.estimate.value < part.above
    ]
    verdict = NOT_SUPPORTED if against else SUPPORTED
    p_value = len(parts) * min(against) if against else max(p_values)
    p_value = min(1.0, num_tries * p_value)
    return Decision(verdict if p_value < 1 - confidence else INCONCLUSIVE, p_value)


class Finding(NamedTuple):
    """One claim decided on one model, and where they apply one recipe and one variant."""

    claim: str
    statement: str
    origin: str
    """``paper`` | ``beyond`` | ``prediction``."""
    rule: str
    evidence: str
    verdict: str
    p_value: float
    """Two-sided, of what the verdict rests on; NaN where nothing was tested."""
    num_points: int
    unit: str
    estimate: Estimate
    recipe: str | None = None
    variant: str | None = None
    chosen_after_looking: bool = False
    decided_by_step: int | None = None
    """The one stage without which the verdict would be another; None where there is none."""
