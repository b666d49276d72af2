"""What jobs need of their machines, beside what they ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rich import box
from rich.table import Table

from ke_steps.planning.memory import Memory
from ke_steps.settings.cluster import Cluster, Request
from ke_steps.study.requests import request

GPU_GIGABYTES = {"H100 SXM": 80, "A100": 80, "L40S": 48, "RTX 4090": 24}
"""Of memory that those have whose hours are planned; an A100 also comes with 40."""

REFERENCE = "H100 SXM"
"""Whose memory and hours count where the study names no model of GPU, or one not known here."""


class KnownGpu(NamedTuple):
    """A GPU that clusters have."""

    gigabytes: int
    hours_of: str
    """The planned GPU that is as fast."""


KNOWN_GPUS = {
    "h200": KnownGpu(141, "H100 SXM"),
    "h100": KnownGpu(80, "H100 SXM"),
    "a100": KnownGpu(80, "A100"),
    "l40s": KnownGpu(48, "L40S"),
    "4090": KnownGpu(24, "RTX 4090"),
}
"""By what a cluster's name of one has in it, in lower case."""


def gpu_gigabytes(model: str | None) -> int | None:
    """Return the memory of a GPU by the cluster's name of it, such as ``a100`` or ``a100_40gb``.

    A size in the name is believed; None where nothing tells.
    """
    said = re.search(r"(\d+)gb", (model or "").lower())
    if said is not None:
        return int(said[1])
    known = _known(model)
    return known and known.gigabytes


def planned_gpu(model: str | None) -> str:
    """Return the GPU whose hours are those of a cluster's GPU."""
    known = _known(model)
    return known.hours_of if known else REFERENCE


def _known(model: str | None) -> KnownGpu | None:
    name = (model or "").lower()
    return next((gpu for part, gpu in KNOWN_GPUS.items() if part in name), None)


def machine_table(
    cluster: Cluster, needs: Mapping[str, Memory], minutes: Mapping[str, float]
) -> Table:
    """Return what the most demanding job of each rule needs, beside what is asked for it."""
    table = Table(
        title="What one job needs at most, and asks for (cluster.jobs)",
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("rule", no_wrap=True)
    headings = ("\nGPUs", "GB of\neach", "GB of the\nmachine", "\nasked", "GPU\nminutes", "\nasked")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for rule, memory in needs.items():
        asked = request(cluster, rule)
        table.add_row(
            rule,
            str(asked.num_gpus),
            f"{memory.gpu / 1e9:,.1f}" if asked.num_gpus else "",
            f"{memory.host / 1e9:,.1f}",
            f"{asked.memory_gb:,g}",
            f"{minutes[rule]:,.1f}" if asked.num_gpus else "",
            f"{asked.runtime_minutes:,}",
        )
    return table


def machine_lines(
    cluster: Cluster, needs: Mapping[str, Memory], minutes: Mapping[str, float]
) -> Iterator[str]:
    """Say what the table rests on, and warn of each request that is too small."""
    gpus = ", ".join(f"{gpu} {size}" for gpu, size in GPU_GIGABYTES.items())
    yield (
        f"GB of GPUs: {gpus}. Needs are estimates from the models' shapes, GPU minutes those of"
        f" {planned_gpu(cluster.gpu_model)}, shared by the GPUs of a job; neither has been measured"
        " on a GPU."
    )
    for rule, memory in needs.items():
        asked = request(cluster, rule)
        yield from _warnings(cluster, rule, memory, minutes[rule], asked)


def _warnings(
    cluster: Cluster, rule: str, memory: Memory, minutes: float, asked: Request
) -> Iterator[str]:
    key = f"cluster.jobs.{rule}"
    if memory.host / 1e9 > asked.memory_gb:
        yield (
            f"WARNING: {rule} needs {memory.host / 1e9:,.0f} GB of its machine,"
            f" {key}.memory_gb is {asked.memory_gb:g}"
        )
    if not asked.num_gpus:
        return
    size = gpu_gigabytes(cluster.gpu_model) or GPU_GIGABYTES[REFERENCE]
    if memory.gpu / 1e9 > size:
        yield (
            f"WARNING: {rule} needs {memory.gpu / 1e9:,.0f} GB of a GPU,"
            f" {cluster.gpu_model or f'an {REFERENCE}'} has {size}: take larger ones"
            " (cluster.gpu_model), fewer sequences at a time or, in training, more GPUs"
            f" ({key}.num_gpus, cluster.sharding: fsdp)"
        )
    if minutes > asked.runtime_minutes:
        yield (
            f"WARNING: {rule} computes for {minutes:,.0f} minutes on"
            f" {planned_gpu(cluster.gpu_model)}, {key}.runtime_minutes is {asked.runtime_minutes:,}"
        )
