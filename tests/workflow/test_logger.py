"""The logger of studies under Snakemake itself: lines and page, failures, and what stays as is."""

import os
import re
import signal
import subprocess
import time

import pytest

from tests.invented.project import PATH, ROOT, snakemake

SNAKEFILE = """
rule all:
    input:
        expand("results/{name}.txt", name=config["names"].split()),

rule make:
    output:
        "results/{name}.txt",
    log:
        text="results/logs/make/{name}/log.txt",
        record="results/logs/make/{name}/record.json",
    shell:
        "python step.py {wildcards.name} 2> {log.text:q} && touch {output:q}"
"""
STEP = """
import sys, time
name = sys.argv[1]
print("training:  37%|###   | 37/100 [00:10<00:17,  5.8it/s]", end="\\r", file=sys.stderr)
while name == "endless":
    sys.stderr.flush()
    time.sleep(0.05)
if name == "broken":
    print(file=sys.stderr)
    sys.exit("make: results/<b>: no such file; make it first")
"""


class Toy:
    """A workflow of one rule, with the options of the local profile that concern words."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "Snakefile").write_text(SNAKEFILE)
        (folder / "step.py").write_text(STEP)
        self.environment = os.environ | {
            "PATH": PATH,
            "PYTHONPATH": f"{ROOT}:{ROOT / 'workflow/logger'}",
        }

    def command(self, names, *options):
        return [
            *("snakemake", *options, "--cores", "2", "--config", f"names={names}"),
            *("--quiet", "host", "reason", "rules", "--show-failed-logs"),
        ]

    def run(self, names, *options, logger=True):
        _, *arguments = self.command(names, *options)
        return snakemake(self.folder, arguments + ["--logger", "study"] * logger)

    def page(self):
        return (self.folder / "results/status.html").read_text()

    def log(self):
        return max(self.folder.glob(".snakemake/log/*")).read_text()


@pytest.fixture
def toy(tmp_path):
    return Toy(tmp_path)


def test_a_run_is_told_in_lines_in_the_log_and_on_the_page(toy):
    status, said = toy.run("a b c")
    assert status == 0, said
    for words in (r"\d\d:\d\d:\d\d 1 of 3 jobs \(33 %\)", r"3 of 3 jobs \(100 %\)"):
        assert re.search(words, said)
        assert re.search(words, toy.log())
    assert "finished: 3 jobs in" in said
    assert "finished: 3 jobs in" in toy.log()
    assert "finished: 3 jobs in" in toy.page()
    assert "Finished jobid" not in said
    assert "Finished jobid" in toy.log()
    assert "Traceback" not in said
    status, said = toy.run("a b c")
    assert status == 0
    assert "Nothing to be done" in said
    assert "finished: 3 jobs in" in toy.page()


def test_a_failure_is_told_in_one_line_with_its_log(toy):
    status, said = toy.run("a broken", "--keep-going")
    assert status == 1
    assert "failed: make broken: make: results/<b>: no such file; make it first\n" in said
    assert "log: results/logs/make/broken/log.txt" in said
    assert "WorkflowError" in said
    assert "failed: make broken: make: results/<b>: no such file" in toy.log()
    assert re.search(r"failed after .*: 1 of 2 jobs \(50 %\) done, 1 failed", said)
    assert "make: results/&lt;b&gt;: no such file; make it first" in toy.page()
    assert 'class="failed"' in toy.page()


def test_an_error_of_the_workflow_itself_is_shown(toy):
    with (toy.folder / "Snakefile").open("a") as file:
        file.write('\nrule lost:\n    input: "nowhere.txt"\n')
    status, said = toy.run("a", "lost")
    assert status == 1
    assert "MissingInputException" in said
    assert "nowhere.txt" in said


def test_a_dry_run_is_as_without_the_logger(toy):
    def said(*, logger):
        status, words = toy.run("a", "--dry-run", logger=logger)
        assert status == 0
        return re.sub(r"\[.*\d\d:\d\d:\d\d.*\]", "", words)

    assert said(logger=True) == said(logger=False)
    assert not (toy.folder / "results").exists()


def wait_for(is_so, seconds=60):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_shows_running_jobs_and_that_a_run_was_stopped(toy, number):
    with (toy.folder / "out.txt").open("w") as out:
        process = subprocess.Popen(
            [*toy.command("a endless"), "--logger", "study"],
            cwd=toy.folder,
            env=toy.environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    page = toy.folder / "results/status.html"
    try:
        wait_for(lambda: page.is_file() and "training 37 %, 0:17 left" in toy.page())
        assert 'class="running"' in toy.page()
        os.killpg(process.pid, number)
        process.wait(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = (toy.folder / "out.txt").read_text()
    assert re.search("(stopped|failed) after .*: 1 of 2 jobs", said), said
    assert re.search('class="(stopped|failed)"', toy.page())
    assert 'http-equiv="refresh"' not in toy.page()
