"""Kill the smoke study at seeded moments, run it again, compare; what ``make kills`` runs.

Each time: the results that an undisturbed run had finished shortly before a moment drawn from the
whole run, ``make report``, at that moment a ``kill -9`` of Snakemake and its jobs (odd numbers) or
Ctrl-C (even numbers), then ``make report`` again, alone.
A line per kill goes to ``docs/kills.jsonl`` at once; kills that are there already are passed over,
so that a broken-off series goes on. The table of docs/reliability.md is written from these lines.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from ke_steps.running.leftovers import processes
from tests.invented.project import ROOT, Project

NUM_KILLS = 30
LINES = ROOT / "docs/kills.jsonl"
PAGE = ROOT / "docs/reliability.md"
TABLE = re.compile(r"(?<=<!-- kills -->\n).*?(?=<!-- end of kills -->)", re.DOTALL)
FINISHED = re.compile(r"Finished jobid: \d+ \(Rule: (?!all\))(\w+)\)")
LEAD_SECONDS = 8
"""How long before its kill a run goes on from the undisturbed one's results."""

STARTING_SECONDS = 4
"""What Snakemake takes to start; a run that goes on is given them."""

RESUMED = "going on from the state saved"


def digests(project):
    """Return the sha256 of every table and every model's weights of a study.

    The report, its figures and the records of jobs are left out: they hold times.
    """
    return {
        str(path.relative_to(project.results())): hashlib.sha256(path.read_bytes()).hexdigest()
        for kind in ("parquet", "safetensors")
        for path in sorted(project.results().rglob(f"*.{kind}"))
    }


def start(project, output):
    """Start ``make report``'s command as a terminal would: in a process group of its own."""
    return subprocess.Popen(
        project.run_command(),
        cwd=project.folder,
        env=project.variables(),
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509
    )


def hear_ctrl_c():
    """Undo what a shell does to commands in the background: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def running_jobs(project):
    """Return the steps of the jobs that are running now."""
    found = []
    for process in processes(project.results()):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        modules = [word for word in words if word.startswith("ke_steps.")]
        if words and "python" in Path(words[0]).name and modules:
            found.append(modules[0].removeprefix("ke_steps."))
    return sorted(found)


def kill(project, process, number):
    """Kill -9 all that belongs to a run at once, or press Ctrl-C in its terminal."""
    if number == signal.SIGINT:
        os.killpg(process.pid, signal.SIGINT)
    else:
        family = processes(project.results())
        process.kill()
        for each in family:
            each.kill()
    process.wait()


def finished_jobs(output):
    """Return how many jobs Snakemake said it has finished."""
    return len(FINISHED.findall(output.read_text()))


def resumed_jobs(project):
    """Return the places of training jobs that went on from a saved state."""
    logs = project.results("logs")
    return sorted(
        str(path.parent.relative_to(logs))
        for path in logs.rglob("log.txt")
        if RESUMED in path.read_text()
    )


def num_jobs(project):
    """Return how many jobs a finished study has."""
    return len(list(project.results("logs").rglob("record.json")))


def undisturbed(folder):
    """Run the study once without a kill; return what the others are compared with."""
    said = folder / "undisturbed.json"
    if said.is_file():
        return json.loads(said.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "undisturbed").mkdir(parents=True)
    project = Project(folder / "undisturbed")
    output = folder / "undisturbed.txt"
    started = time.time()
    seconds = run_to_the_end(project, output)
    done = {"started_unix_seconds": started, "seconds": seconds, "digests": digests(project)}
    said.write_text(json.dumps(done))
    return done


def run_to_the_end(project, output):
    """Run the study; return the seconds that it took."""
    started = time.monotonic()
    with output.open("w") as file:
        status = start(project, file).wait()
    assert status == 0, f"status {status}: {output}"
    return round(time.monotonic() - started, 1)


def rewind(project, until_unix_seconds):
    """Remove what jobs wrote that had not ended by then; return how many had."""
    num_kept = 0
    for path in sorted(project.results("logs").rglob("record.json")):
        record = json.loads(path.read_text())
        if record["started_unix_seconds"] + record["wall_seconds"] <= until_unix_seconds:
            num_kept += 1
            continue
        for beside in path.parent.iterdir():
            if beside.is_file():  # folders are of other jobs
                beside.unlink()
        for output in (project.folder / name for name in record["outputs"]):
            if output.name == "manifest.json":  # a checkpoint: its weights go with it
                shutil.rmtree(output.parent, ignore_errors=True)
            else:
                output.unlink(missing_ok=True)
    return num_kept


def run_until_killed(folder, before, moment_seconds, number):
    """Go on shortly before a moment of the undisturbed run and kill; return how that was."""
    shutil.rmtree(folder / "killed", ignore_errors=True)
    (folder / "killed").mkdir()
    project = Project(folder / "killed", source=folder / "undisturbed")
    lead_seconds, num_kept = moment_seconds, 0
    if moment_seconds > LEAD_SECONDS:
        for name in ("results", ".snakemake"):
            shutil.copytree(folder / "undisturbed" / name, project.folder / name)
        num_kept = rewind(project, before["started_unix_seconds"] + moment_seconds - LEAD_SECONDS)
        lead_seconds = LEAD_SECONDS + STARTING_SECONDS
    with (folder / "killed.txt").open("w") as file:
        process = start(project, file)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=lead_seconds)
    line = {"seconds": round(moment_seconds, 1), "signal": signal.Signals(number).name}
    line["running"] = running_jobs(project)
    kill(project, process, number)
    return project, line | {"jobs_before": num_kept + finished_jobs(folder / "killed.txt")}


def kill_once(folder, index, before):
    """Kill the study once, run it again, and return the line that tells of it."""
    share = random.Random(index).random()
    number = signal.SIGKILL if index % 2 else signal.SIGINT
    project, line = run_until_killed(folder, before, share * before["seconds"], number)
    run_to_the_end(project, folder / "again.txt")
    now, then = digests(project), before["digests"]
    jobs_after = finished_jobs(folder / "again.txt")
    return (
        {"kill": index, "share": round(share, 3)}
        | line
        | {
            "jobs_after": jobs_after,
            "jobs_twice": line["jobs_before"] + jobs_after - num_jobs(project),
            "resumed": resumed_jobs(project),
            "different": sorted(
                path for path in now.keys() | then.keys() if now.get(path) != then.get(path)
            ),
            "compared": len(then),
        }
    )


def table(lines):
    """Return the Markdown table of all kills so far."""
    head = (
        "| kill | at | signal | jobs done | jobs running | done by the next run | done twice"
        " | training resumed | files that differ |"
    )
    rows = [
        f"| {line['kill']} | {line['seconds']:.0f} s ({line['share']:.0%}) | {line['signal']}"
        f" | {line['jobs_before']} | {', '.join(line['running']) or 'none'} | {line['jobs_after']}"
        f" | {line['jobs_twice']} | {', '.join(line['resumed']) or 'no'}"
        f" | {len(line['different'])} of {line['compared']} |"
        for line in sorted(lines, key=lambda line: line["kill"])
    ]
    return "\n".join([head, "|---|---|---|---|---|---|---|---|---|", *rows]) + "\n"


def main():
    """Kill as often as asked, write the table; status 1 if a file differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.workflow.kills", description=__doc__)
    parser.add_argument("--first", type=int, default=1, help="number of the first kill, from 1")
    parser.add_argument("--last", type=int, default=NUM_KILLS, help="number of the last kill")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "ke-kills"))
    options = parser.parse_args()
    before = undisturbed(options.folder)
    lines = [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.is_file() else []
    for index in range(options.first, options.last + 1):
        if index not in {line["kill"] for line in lines}:
            lines.append(kill_once(options.folder, index, before))
            with LINES.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            print(lines[-1], flush=True)
    PAGE.write_text(TABLE.sub(lambda _: table(lines), PAGE.read_text()))
    raise SystemExit(any(line["different"] for line in lines))


if __name__ == "__main__":
    main()
