"""The plan's tables: how they look, and the one of costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from rich import box
from rich.table import Table

from ke_steps.planning.costs import Cost
from ke_steps.planning.gpu_time import PEAK_FLOPS, Utilisation, gpu_hours
from ke_steps.planning.planned_jobs import Work

MANY_MINUTES = 1e5
"""From so many minutes on they are as long to write as operations are."""


def new_table(title: str, *headings: str) -> Table:
    """Return a table without rows, with such columns, as wide as its title at least."""
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        min_width=len(title),
    )
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def cost_table(
    costs: Mapping[str, Cost], minutes: Mapping[str, float], utilisation: Utilisation
) -> Table:
    """Return what the jobs of each rule cost, and all of them."""
    table = new_table("What the study costs from nothing to its report", "rule")
    headings = ("jobs", "training\ntokens", "\nFLOPs", "download\nGB", "disk\nGB", "CPU\nminutes")
    for heading in (*headings, *(f"{gpu}\nhours" for gpu in PEAK_FLOPS)):
        table.add_column(heading, justify="right", no_wrap=True)
    for rule, cost in costs.items():
        table.add_row(rule, *_cells(cost, minutes[rule], utilisation))
    table.add_section()
    whole = _cells(total(costs.values()), sum(minutes.values()), utilisation)
    table.add_row("in all", *whole, style="bold")
    return table


def total(costs: Iterable[Cost]) -> Cost:
    """Return the sum of costs."""
    parts = list(costs)
    flops: Counter[Work] = Counter()
    for cost in parts:
        flops.update(cost.flops)
    return Cost(
        num_jobs=sum(cost.num_jobs for cost in parts),
        training_tokens=sum(cost.training_tokens for cost in parts),
        flops=flops,
        download_bytes=sum(cost.download_bytes for cost in parts),
        disk_bytes=sum(cost.disk_bytes for cost in parts),
    )


def _cells(cost: Cost, minutes: float, utilisation: Utilisation) -> list[str]:
    flops = sum(cost.flops.values())
    numbers = [
        f"{cost.training_tokens:,}" if cost.training_tokens else "",
        f"{flops:.1e}" if flops else "",
        _amount(cost.download_bytes / 1e9),
        _amount(cost.disk_bytes / 1e9),
        _amount(minutes) if minutes < MANY_MINUTES else f"{minutes:.1e}",
    ]
    hours = (gpu_hours(cost.flops, peak, utilisation) for peak in PEAK_FLOPS.values())
    return [str(cost.num_jobs), *numbers, *map(_amount, hours)]


def _amount(value: float) -> str:
    if not value:
        return ""
    return f"{value:,.1f}" if value >= 0.05 else "< 0.1"
