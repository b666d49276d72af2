r"""Say what a study costs before it starts: jobs, downloads, disk, training tokens, GPU-hours.

Starts no job and asks nothing of the network. What is there already is not downloaded again; with
Snakemake's command it also says what a run would do now::

    PYTHONPATH=workflow/logger python -m ke_steps.planning.plan config/olmo_1b.yaml -- \\
        snakemake --configfile config/olmo_1b.yaml

``planning.why`` says why. Snakemake works that out while the rest is printed. Where no result is
there it has nothing to work out: a run would do all jobs. Then it is only asked to read the study.

CPU minutes are those of one core if there is no GPU: as long as the jobs of a rule took before, by
their records in the results folder, else as ``planning.durations`` states.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from ke_steps.job.errors import UserError
from ke_steps.planning.costs import Cost, costs_by_rule, jobs
from ke_steps.planning.disk import disk_lines
from ke_steps.planning.durations import CORE_FLOPS, Measured, on_this_cpu
from ke_steps.planning.gpu_time import (
    LARGE_UTILISATION,
    UTILISATION,
    Utilisation,
    longest_minutes,
    usual_utilisation,
)
from ke_steps.planning.idle_states import idle_states_line
from ke_steps.planning.machines import machine_lines, machine_table
from ke_steps.planning.measured import measured_before
from ke_steps.planning.memory import needs
from ke_steps.planning.model_sizes import UNKNOWN, ModelSize, find_size
from ke_steps.planning.planned_jobs import PlannedJob
from ke_steps.planning.tables import cost_table, new_table
from ke_steps.planning.to_do import ToDo
from ke_steps.settings.study import Study
from ke_steps.study.going_on import going_on, in_words
from ke_steps.study.local_files import missing_files
from ke_steps.study.reading import read_study_file

WIDTH = 132
"""Characters of a line at least: a narrower table would lose numbers."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the plan of a study; a wrong study is refused as a run would refuse it."""
    options = _parser().parse_args(arguments)
    try:
        study = read_study_file(options.study, need_files=False)
        said = options.training_utilisation, options.forward_utilisation
        _print_plan(study, said, options.command)
    except UserError as error:
        sys.exit(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ke_steps.planning.plan", description=main.__doc__
    )
    parser.add_argument("study", type=Path, help="a config file")
    for kind, default in UTILISATION._asdict().items():
        parser.add_argument(
            f"--{kind}-utilisation",
            type=_share,
            metavar="SHARE",
            help=f"share of its peak that a GPU reaches, default {default}"
            + (f" ({LARGE_UTILISATION} of large models)" if kind == "training" else ""),
        )
    parser.add_argument("command", nargs="*", help="after --: Snakemake's command for this study")
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}, not a share above 0 and up to 1")
    return value


def _print_plan(study: Study, said: Sequence[float | None], command: Sequence[str]) -> None:
    """Print what a study costs, and then, once Snakemake knows it, what a run would do."""
    missing = list(missing_files(study))
    asked = ToDo(study, command) if command and not missing else None
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    sizes = {name: find_size(study, name) for name in study.models}
    planned = list(jobs(study, {name: size or UNKNOWN for name, size in sizes.items()}))
    _print_costs(console, study, sizes, planned, said)
    to_do = asked.numbers(planned) if asked else None
    for line in (
        *disk_lines(study, planned, to_do),
        *idle_states_line(study),
        *(f"{key}: {message}: a run would refuse this study" for key, message in missing),
    ):
        console.print(line, soft_wrap=True)
    if asked is not None and to_do is not None:
        _print_to_do(console, to_do, asked.is_begun)
        if models := going_on(study):
            console.print(f"These at most. {in_words(models)}", soft_wrap=True)
        if refusal := asked.refusal(to_do):
            console.print(f"{refusal}: a run would refuse this study", soft_wrap=True)


def _print_costs(
    console: Console,
    study: Study,
    sizes: Mapping[str, ModelSize | None],
    planned: Sequence[PlannedJob],
    said: Sequence[float | None],
) -> None:
    known = {name: size or UNKNOWN for name, size in sizes.items()}
    usual = usual_utilisation(study, known)
    utilisation = Utilisation(*(own or value for own, value in zip(said, usual, strict=True)))
    costs = costs_by_rule(planned)
    measured = measured_before(Path(study.results_dir), planned, without_gpu=True)
    minutes = cpu_minutes(planned, measured)
    needed = needs(study, known)
    longest = longest_minutes(study, planned, utilisation)
    table = cost_table(costs, minutes, utilisation)
    console.width = max(console.width, _whole_width(console, table))
    console.print(table)
    console.print(machine_table(study.cluster, needed, longest))
    for line in (
        _cpu_line(study, costs, minutes, measured),
        _gpu_line(utilisation),
        *_size_lines(sizes),
        *machine_lines(study.cluster, needed, longest),
    ):
        console.print(line, soft_wrap=True)


def _whole_width(console: Console, table: Table) -> int:
    """Return how many characters of a line a table takes if nothing of it is cut off."""
    unlimited = console.options.update(width=10**6)
    return Measurement.get(console, unlimited, table).maximum


def cpu_minutes(planned: Sequence[PlannedJob], measured: Sequence[Measured]) -> dict[str, float]:
    """Return by rule how many minutes of one core its jobs take where there is no GPU."""
    paces = {n: on_this_cpu(measured, n) for n in {job.num_cores for job in planned}}
    minutes: dict[str, float] = {}
    for job in planned:
        seconds = paces[job.num_cores].seconds(job) or 0.0
        minutes[job.rule] = minutes.get(job.rule, 0.0) + seconds * job.num_cores / 60
    return minutes


def _cpu_line(
    study: Study,
    costs: Mapping[str, Cost],
    minutes: Mapping[str, float],
    measured: Sequence[Measured],
) -> str:
    num_measured = len({each.job.rule for each in measured})
    beside = sum(minutes[rule] for rule, cost in costs.items() if not cost.flops)
    return (
        f"CPU minutes: of one core, where there is no GPU; where there is one, the {beside:,.1f} of"
        f" rules without FLOPs remain. By records in {study.results_dir} for {num_measured} of"
        f" {len(costs)} rules; assumed for the others: {CORE_FLOPS:.0e} FLOPs a second, small jobs"
        " as in the embedded study."
    )


def _gpu_line(utilisation: Utilisation) -> str:
    return (
        f"GPU-hours: at {utilisation.training:.0%} of the peak that NVIDIA states in training and"
        f" {utilisation.forward:.0%} in forward passes. Where it is not said, training's comes from"
        " the bytes and operations of a step on an H100, the other is assumed; neither was"
        " measured. OPTIONS='--training-utilisation 0.3' sets another."
    ).replace("%", " %")


def _size_lines(sizes: Mapping[str, ModelSize | None]) -> Iterator[str]:
    for name, size in sizes.items():
        if size is None:
            yield (
                f"{name}: size unknown before it is fetched; nothing above counts its weights or"
                " its arithmetic"
            )
        else:
            yield f"{name}: {size.shape.num_parameters:,} parameters ({size.place})"


def _print_to_do(console: Console, to_do: Counter[str], is_begun: bool) -> None:
    if not to_do:
        console.print("A run would have nothing to do: everything is there.")
        return
    if not is_begun:
        console.print(f"Nothing is there yet: a run would do all {to_do.total()} jobs.")
        return
    table = new_table("What a run would do now (make why says why)", "rule")
    table.add_column("jobs", justify="right")
    for rule, number in to_do.items():
        table.add_row(rule, str(number))
    table.add_section()
    table.add_row("in all", str(to_do.total()), style="bold")
    console.print(table)


if __name__ == "__main__":
    main()
