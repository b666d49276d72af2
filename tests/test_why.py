"""The reason of each pending job, in plain words, from what Snakemake says of it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ke_steps._errors import UserError
from ke_steps._pending import Pending, read_dry_run
from ke_steps.why import lines, main

ROOT = Path(__file__).parent.parent
STUDY = str(ROOT / "config/smoke.yaml")
CHANGED = "Params have changed since last execution: Union of exclusive params before and now "
CODE = ("'0123456789abcdef'", "'fedcba9876543210'")


def job(rule, reason, *, wildcards="", outputs="results/x", indent=""):
    """What a dry run says of a job."""
    return "".join(
        f"{indent}{line}\n"
        for line in (
            "[Sun Nov 22 21:39:08 2026]",
            f"rule {rule}:",
            "    input: results/a/step1/manifest.json",
            f"    output: {outputs}",
            "    jobid: 3",
            f"    reason: {reason}",
            *([f"    wildcards: {wildcards}"] if wildcards else []),
            "    resources: tmpdir=/tmp, gpu=1",
        )
    )


def changed(before, now):
    return f"{CHANGED}across all output: before: {before} now: {now} "


def settings(**values):
    return repr(json.dumps(values, separators=(",", ":")))


def said(reason):
    """The last word of a line about one job."""
    (line, number) = lines(read_dry_run(job("summarize", reason)))
    assert number == "1 job"
    return line.removeprefix("summarize").strip()


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Missing output files: results/x", "not there yet"),
        ("Forced execution", "unfinished, or of unknown origin"),
        (
            "Updated input files: data/a.json, data/b.json",
            "an input changed: data/a.json, data/b.json",
        ),
        ("Updated input files: a, b, c, d, e", "an input changed: a, b, c and 2 more"),
        ("Set of input files has changed since last execution", "other inputs than before"),
        ("Code has changed since last execution", "its command changed"),
        (
            "Input files updated by another job: results/a/step1/manifest.json",
            "follows results/a/step1/manifest.json",
        ),
        (changed(settings(a=1, b=2), settings(a=1, b=3)), "settings changed: b 2 → 3"),
        (changed(settings(a=1), settings(a=1, b="x y")), 'settings changed: b none → "x y"'),
        (
            changed(settings(a={"b": [1]}), settings(a={"b": [1, 2]})),
            "settings changed: a.b [1] → [1, 2]",
        ),
        (
            changed(settings(a=1, b=1, c=1, d=1), settings(a=2, b=2, c=2, d=2)),
            "settings changed: a 1 → 2, b 1 → 2, c 1 → 2 and 1 more",
        ),
        (
            changed(settings(a="' now: '"), settings(a="it's")),
            """settings changed: a "' now: '" → "it's\"""",
        ),
        (changed(settings(a="x" * 99), settings(a=0)), f'settings changed: a "{"x" * 38}… → 0'),
        (changed(*CODE), "code changed"),
        (
            changed(f"{CODE[0]},{settings(a=1)}", f"{settings(a=2)},{CODE[1]}"),
            "settings and code changed: a 1 → 2",
        ),
        (changed("'--tables a'", "'--tables b'"), "settings changed"),
        (changed("<nothing exclusive>", settings(a=1)), "settings changed: a none → 1"),
        (
            "Missing output files: results/x; Params have changed since last execution",
            "not there yet",
        ),
        ("Something new: whatever", "something new"),
    ],
)
def test_reasons_in_plain_words(reason, words):
    assert said(reason) == words


def test_a_job_follows_the_rules_that_make_its_inputs():
    dry_run = job(
        "fetch_checkpoint", "Missing output files: m", outputs="m, n", wildcards="model=a, step=10"
    )
    dry_run += job("train_tokenizer", "Missing output files: t", outputs="t")
    dry_run += job("summarize", "Input files updated by another job: n, t, m")
    assert read_dry_run(dry_run)[-1].detail == "fetch_checkpoint, train_tokenizer"


def test_places_are_said_in_words_and_in_order():
    wildcards = "model=olmo, step={}, variant=boost, recipe=baseline, seed=1"
    dry_run = job("all", "Input files updated by another job: x")
    for step in (1000, 20):
        dry_run += job(
            "inject_knowledge", "Missing output files: x", wildcards=wildcards.format(step)
        )
    assert lines(read_dry_run(dry_run)) == [
        "inject_knowledge  olmo step 20 boost baseline seed 1    not there yet",
        "inject_knowledge  olmo step 1000 boost baseline seed 1  not there yet",
        "2 jobs",
    ]


def test_jobs_of_a_group_are_read_too():
    dry_run = "[Mon Nov 23 01:12:16 2026] Group job tables (jobs in lexicogr. order):\n\n"
    dry_run += job("fit_decay", "Missing output files: x", wildcards="seed=0", indent="    ")
    dry_run += job("fit_decay", "Missing output files: x", wildcards="seed=1", indent="    ")
    assert read_dry_run(dry_run) == [
        Pending("fit_decay", "seed 0", "not there yet", ""),
        Pending("fit_decay", "seed 1", "not there yet", ""),
    ]


def test_nothing_to_do_is_said(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Nothing to be done (all requested files …)"))
    main([STUDY])
    assert capsys.readouterr().out == "Nothing to be done: everything is there.\n"


def test_what_is_no_dry_run_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Error: no Snakefile\n"))
    with pytest.raises(SystemExit, match="no dry run: Error: no Snakefile"):
        main([STUDY])
    with pytest.raises(UserError):
        read_dry_run("")


def test_a_wrong_study_is_refused_before_its_dry_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Error: whatever\n"))
    (tmp_path / "study.yaml").write_text("seeds: [0]")
    with pytest.raises(SystemExit, match="models: missing; this key is required"):
        main([str(tmp_path / "study.yaml")])


def test_asking_loads_no_heavy_package():
    heavy = "{'torch', 'transformers', 'datasets', 'snakemake'}"
    code = f"import sys, ke_steps.why; sys.exit(str({heavy} & set(sys.modules)) != 'set()')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
