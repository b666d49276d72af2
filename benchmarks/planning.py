"""What ``make plan`` and ``make why`` take for a large study, beside Snakemake's own dry run.

The study is the paper's on OLMo-1B with many stages, three variants of each and three seeds, of
which nothing is there yet. Prints seconds by the clock and of CPU (a busy machine stretches the
former far more), and how many times less of these than ``snakemake --dry-run`` takes.

Example, from the project's folder::

    python -m benchmarks.planning --num-stages 155
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.comparison import ratios, told
from ke_steps.planning.costs import jobs
from ke_steps.planning.model_sizes import UNKNOWN
from ke_steps.study.reading import read_study_file

MAKE = ("make", "--silent", "--assume-old=.venv/ready")


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--num-stages", type=int, default=155)
    parser.add_argument("--num-repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "study.yaml")
        file.write_text(yaml.safe_dump(_study(options.num_stages, f"{folder}/results")))
        study = read_study_file(file)
        num_jobs = len(list(jobs(study, dict.fromkeys(study.models, UNKNOWN))))
        commands = {
            "snakemake --dry-run": ("snakemake", "--dry-run", "--cores=1", f"--configfile={file}"),
            "make plan": (*MAKE, "plan", f"STUDY={file}"),
            "make why": (*MAKE, "why", f"STUDY={file}"),
        }
        clock: dict[str, list[float]] = {name: [] for name in commands}
        cpu: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.num_repeats):
            for name, command in commands.items():
                began = time.monotonic()
                cpu[name].append(_cpu_seconds(command))
                clock[name].append(time.monotonic() - began)
    print(
        f"{num_jobs:,} jobs\n{'':20}  clock s   CPU s   per 1,000 jobs   times less than a dry run"
    )
    for name, found in cpu.items():
        median, by_clock = statistics.median(found), statistics.median(clock[name])
        less = told(ratios(cpu["snakemake --dry-run"], found))
        print(f"{name:20} {by_clock:8.1f} {median:7.1f} {1000 * median / num_jobs:16.2f}   {less}")


def _study(num_stages: int, results_dir: str) -> dict[str, Any]:
    study: dict[str, Any] = yaml.safe_load(Path("config/olmo_1b.yaml").read_text())
    kinds = ("boost_p50_q0.5", "boost_p50_q2", "gauge_p50_q2")
    variants = {name: study["variants"][name] for name in kinds}
    for variant in variants.values():
        del variant["steps"]
    study["models"]["olmo-1b"]["steps"] = [4700 * (n + 1) for n in range(num_stages)]
    study["extract_coefficients"]["other_corpora"] = []
    recipes = {"baseline": study["recipes"]["baseline"]}
    return study | {
        "results_dir": results_dir,
        "seeds": [0, 1, 2],
        "variants": variants,
        "recipes": recipes,
        "evaluate_novelty": None,
    }


def _cpu_seconds(command: tuple[str, ...]) -> float:
    """Return what a command and all that it starts take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
