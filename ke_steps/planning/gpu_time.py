"""How long GPUs compute: floating-point operations over what a GPU does of them.

That is its peak times a utilisation. Peaks are NVIDIA's, of its data sheets for H100, A100 and
L40S, and of the white paper of the Ada architecture for the RTX 4090: dense bf16 with fp32 sums on
tensor cores, and fp32 on its ordinary cores, which is what torch uses unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ke_steps.planning.costs import Sizes
from ke_steps.planning.machines import planned_gpu
from ke_steps.planning.planned_jobs import PlannedJob, Work
from ke_steps.settings.study import Study
from ke_steps.study.places import places
from ke_steps.study.requests import request

PEAK_FLOPS = {
    "H100 SXM": {"bf16": 989e12, "tf32": 494.5e12, "fp32": 67e12},
    "A100": {"bf16": 312e12, "tf32": 156e12, "fp32": 19.5e12},
    "L40S": {"bf16": 362e12, "tf32": 183e12, "fp32": 91.6e12},
    "RTX 4090": {"bf16": 165e12, "tf32": 82.6e12, "fp32": 82.6e12},
}
"""Operations per second by precision."""


class Utilisation(NamedTuple):
    """The share of its peak that a GPU reaches."""

    training: float
    forward: float


UTILISATION = Utilisation(training=0.34, forward=0.5)
LARGE, LARGE_UTILISATION = 4e9, 0.23
"""That of training by arithmetic: bytes and operations of a step of OLMo-1B, 8 sequences at a time,
and of a model of more parameters than ``LARGE``: OLMo-7B, one at a time. Forward: assumed."""


def gpu_hours(
    flops: Mapping[Work, float], peak: Mapping[str, float], utilisation: Utilisation
) -> float:
    """Return how long one GPU is busy with some arithmetic."""
    seconds = (
        number / (peak[work.precision] * getattr(utilisation, work.kind))
        for work, number in flops.items()
    )
    return sum(seconds) / 3600


def usual_utilisation(study: Study, sizes: Sizes) -> Utilisation:
    """Return what is taken for a study whose largest model that is trained has some size."""
    trained = {*study.nurseries, *study.branches, *(run.model for run in places(study).runs)}
    largest = max((sizes[model].shape.num_parameters for model in trained), default=0)
    return UTILISATION._replace(training=LARGE_UTILISATION) if largest > LARGE else UTILISATION


def longest_minutes(
    study: Study, planned: Sequence[PlannedJob], utilisation: Utilisation
) -> dict[str, float]:
    """Return by rule how long the GPUs of its longest job are busy, which share its arithmetic."""
    peak = PEAK_FLOPS[planned_gpu(study.cluster.gpu_model)]
    longest: dict[str, float] = {}
    for job in planned:
        if job.flops:
            minutes = 60 * gpu_hours(job.flops, peak, utilisation)
            shared = minutes / max(1, request(study.cluster, job.rule).num_gpus)
            longest[job.rule] = max(longest.get(job.rule, 0.0), shared)
    return longest
