"""The reason of each pending job, in plain words, from what Snakemake says of it."""

import json
import subprocess
import sys

import pytest

from ke_steps.job.errors import UserError
from ke_steps.planning.why import MANY, Pending, lines, main, read_dry_run
from tests.invented.project import ROOT

STUDY = str(ROOT / "config/smoke.yaml")
CHANGED = "Params have changed since last execution: Union of exclusive params before and now "
CODE = ("'0123456789abcdef'", "'fedcba9876543210'")


def job(rule, reason, *outputs, **wildcards):
    """What a dry run tells of a job."""
    return {"rule_name": rule, "wildcards": wildcards, "output": outputs, "reason": reason}


def dry_run(*jobs):
    """What a dry run says in all."""
    return f"Building DAG of jobs...\n{json.dumps({'jobs': jobs})}\n"


def changed(before, now):
    return f"{CHANGED}across all output: before: {before} now: {now} "


def settings(**values):
    return repr(json.dumps(values, separators=(",", ":")))


def said(reason):
    """The last word of a line about one job."""
    (line, number) = lines(read_dry_run(dry_run(job("summarize", reason))))
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
    jobs = (
        job("fetch_checkpoint", "Missing output files: m", "m", "n", model="a", step="10"),
        job("train_tokenizer", "Missing output files: t", "t"),
        job("summarize", "Input files updated by another job: n, t, m", "s"),
    )
    assert read_dry_run(dry_run(*jobs))[-1].detail == "fetch_checkpoint, train_tokenizer"


def test_places_are_said_in_words_and_in_order():
    run = {"variant": "boost", "recipe": "baseline", "seed": "1"}
    jobs = [
        job("inject_knowledge", "Missing output files: x", "x", model="olmo", step=step, **run)
        for step in ("1000", "20")
    ]
    target = job("all", "Input files updated by another job: x")
    assert lines(read_dry_run(dry_run(target, *jobs))) == [
        "inject_knowledge  olmo step 20 boost baseline seed 1    not there yet",
        "inject_knowledge  olmo step 1000 boost baseline seed 1  not there yet",
        "2 jobs",
    ]


def test_many_jobs_are_counted_by_rule_and_reason_too():
    fits = [
        job("fit_decay", "Missing output files: x", "x", model=f"m{n}") for n in range(MANY - 1)
    ]
    table = job("summarize", "Forced execution")
    *listed, blank, first, second, whole = lines(read_dry_run(dry_run(*fits, table)))
    assert (len(listed), blank, whole) == (MANY, "", f"{MANY} jobs")
    assert first.split() == [str(MANY - 1), "fit_decay", "not", "there", "yet"]
    assert second.split() == ["1", "summarize", "unfinished,", "or", "of", "unknown", "origin"]


def test_wildcards_and_outputs_may_hold_what_separates_them_in_words():
    fit = job("fit_decay", "Missing output files: a, b", "a, b", model="x, step=1", seed="2")
    table = job("summarize", "Input files updated by another job: b", "c")
    assert read_dry_run(dry_run(fit, table)) == [
        Pending("fit_decay", "x, step=1 seed 2", "not there yet", ""),
        Pending("summarize", "", "follows another of these jobs", "b"),
    ]


def why(study, *said, status=0):
    """Ask with a command in Snakemake's place, which says these lines."""
    main([str(study), "--", "sh", "-c", f'printf %s "$0"; exit {status}', *said])


def test_nothing_to_do_is_said(capsys):
    why(STUDY, dry_run())
    assert capsys.readouterr().out == "Nothing to be done: everything is there.\n"


def test_what_goes_first_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / "results/smoke/pretrain_nursery/tiny/step0/manifest.json"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("{}")
    told = dry_run(job("pretrain_nursery", "Missing output files: t", "t", model="tiny"))
    why(STUDY, told)
    assert capsys.readouterr().out.splitlines() == [
        "pretrain_nursery  tiny  not there yet",
        "1 job",
        "These at most. Trained first: tiny; what follows is done again only where that changes",
    ]


def test_weights_that_are_gone_are_told_of_beneath_the_jobs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    place = "tiny/step8/original/baseline/seed0"
    manifest = f"results/smoke/inject_knowledge/{place}/manifest.json"
    wildcards = {"model": "tiny", "step": "8", "variant": "original"}
    wildcards |= {"recipe": "baseline", "seed": "0"}
    told = job("evaluate_retention_after_learning", "Forced execution", "r", **wildcards)
    with pytest.raises(SystemExit, match=r"whose weights are gone \(1, such as .*keep_models: "):
        why(STUDY, dry_run(told))
    assert "tiny step 8 original baseline seed 0" in capsys.readouterr().out
    trained = job("inject_knowledge", "Missing output files: x", manifest)
    why(STUDY, dry_run(told, trained))


@pytest.mark.parametrize("status", [0, 1])
def test_what_is_no_dry_run_is_refused(status):
    with pytest.raises(SystemExit, match="no dry run: Error: no Snakefile"):
        why(STUDY, "Error: no Snakefile", status=status)
    with pytest.raises(SystemExit, match="no dry run: Building DAG"):
        why(STUDY, dry_run(), status=1)
    for words in ("", '{"jobs": 1}', "12", "[]", '{"job": []}', '{"jobs": []}\nError: it broke'):
        with pytest.raises(UserError, match="no dry run: "):
            read_dry_run(words)


def test_a_wrong_study_is_refused_before_its_dry_run(tmp_path):
    (tmp_path / "study.yaml").write_text("seeds: [0]")
    with pytest.raises(SystemExit, match="models: missing; this key is required"):
        main([str(tmp_path / "study.yaml"), "--", "no_such_command"])


def test_asking_loads_no_heavy_package():
    heavy = "{'torch', 'transformers', 'matplotlib', 'datasets', 'snakemake'}"
    code = (
        f"import sys, ke_steps.planning.why; sys.exit(str({heavy} & set(sys.modules)) != 'set()')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
