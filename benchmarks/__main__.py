"""Runs every benchmark, each in a process of its own, the ones with goals first.

Defaults fit what is there: on a GPU OLMo-1B's whole width, in bf16 where learning runs are; on a
CPU a part of it, in about half an hour on two cores. Options are passed on to each.

Example::

    python -m benchmarks                  # all numbers of docs/benchmarks.md
    python -m benchmarks --device cuda    # the same on a GPU; ends where there is none
"""

from __future__ import annotations

import subprocess
import sys
import time

COMPARED = ("extraction", "training", "evaluation", "extraction_parts")


def main() -> None:
    """Run them, each to its end, and fail where one failed."""
    failed = []
    for name in COMPARED:
        command = [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]
        print(f"\n=== {' '.join(command[1:])}", flush=True)
        started = time.perf_counter()
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        print(f"--- {name}: {time.perf_counter() - started:.0f} s", flush=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
