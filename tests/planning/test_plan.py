"""What the plan prints, and what it refuses."""

import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import ANY

import pytest
import yaml

from ke_steps.planning.durations import CORE_FLOPS, SECONDS, START_UP_SECONDS
from ke_steps.planning.gpu_time import Utilisation, gpu_hours
from ke_steps.planning.plan import cpu_minutes, main
from ke_steps.planning.planned_jobs import PlannedJob, Work
from tests.invented.project import ROOT

NUMBER = {"fetch_checkpoint": 12, "summarize": 1, "all": 1, "total": 14}
DRY_RUN = f"Building DAG of jobs...\n{json.dumps({'number': NUMBER, 'jobs': []})}\n"
NOTHING = '{"number": {}, "jobs": []}\n'


def plan(*arguments, capsys):
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_gpu_hours_are_operations_over_what_the_gpu_does_of_them():
    peak = {"bf16": 1000.0, "fp32": 100.0}
    flops = {Work("training", "bf16"): 3600.0 * 800, Work("forward", "fp32"): 3600.0 * 25}
    assert gpu_hours(flops, peak, Utilisation(training=0.4, forward=0.5)) == pytest.approx(2.5)


def test_a_finished_study_has_nothing_to_do(tmp_path, capsys):
    (tmp_path / "dry_run.txt").write_text(NOTHING)
    text = plan(ROOT / "config/smoke.yaml", "--dry-run", tmp_path / "dry_run.txt", capsys=capsys)
    assert text.endswith("A run would have nothing to do: everything is there.\n")


def test_what_is_no_dry_run_is_refused_in_its_own_words(tmp_path, capsys):
    (tmp_path / "dry_run.txt").write_text("Error: Snakefile not found\n")
    with pytest.raises(SystemExit, match=r"^no dry run: Error: Snakefile not found"):
        plan(ROOT / "config/smoke.yaml", "--dry-run", tmp_path / "dry_run.txt", capsys=capsys)


@pytest.mark.parametrize("is_begun", [False, True])
def test_what_a_run_would_do_is_counted_by_rule(is_begun, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if is_begun:
        (tmp_path / "results/smoke/logs").mkdir(parents=True)
    (tmp_path / "dry_run.txt").write_text(DRY_RUN)
    text = plan(ROOT / "config/smoke.yaml", "--dry-run", tmp_path / "dry_run.txt", capsys=capsys)
    table = text.partition("What a run would do now")[2]
    assert bool(re.search(r"fetch_checkpoint +12 .*in all +13 *\n", table, re.DOTALL)) == is_begun
    assert bool(re.search(r"Nothing is there yet: .* all \d+ jobs\.\n$", text)) != is_begun


def test_the_papers_study_is_planned_before_its_files_are_there(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((ROOT / "config/olmo_1b.yaml").read_text())
    config["knowledge"]["source"]["folder"] = "copy"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    text = plan("study.yaml", "--dry-run", "/dev/null", capsys=capsys)
    assert "olmo-1b: 1,176,764,416 parameters (as known)" in text
    line = next(line for line in text.splitlines() if "inject_knowledge" in line)
    # 83 runs of 1,600 · 128 · 1,024 tokens, four of three epochs, four of 100 · 2,048 · 1,024,
    # and eight of twice as many steps
    assert f"{(83 + 3 * 4 + 4 + 2 * 8) * 204_800 * 1_024:,}" in line
    assert "knowledge.source.folder: no such file: copy/fictional" in text
    assert "What a run would do now" not in text


def test_cpu_minutes_are_stated_until_they_were_measured(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def minutes(rule):
        text = plan(ROOT / "config/smoke.yaml", capsys=capsys)
        line = next(line for line in text.splitlines() if line.startswith(f" {rule} "))
        return float(line.split()[2]), text

    assert minutes("plot_figures") == (0.3, ANY)  # 20 s
    record = tmp_path / "results/smoke/logs/plot_figures/record.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"step": "plot_figures", "wall_seconds": 150}')
    found, text = minutes("plot_figures")
    assert found == 2.5
    assert "By records in results/smoke for 1 of 22 rules" in text


def test_cpu_minutes_are_those_of_all_threads():
    flops = {Work("training", "fp32"): 60 * CORE_FLOPS}
    jobs = [PlannedJob("inject_knowledge", num_cores=n, flops=flops) for n in (1, 4)]
    found = cpu_minutes([*jobs, PlannedJob("summarize")], [])
    assert found["inject_knowledge"] == pytest.approx(2 + 5 * START_UP_SECONDS / 60)
    assert found["summarize"] == pytest.approx(SECONDS["summarize"] / 60)


def test_a_disk_that_is_too_small_is_warned_of(capsys, monkeypatch, tmp_path):
    """Whatever else is planned: to download and to plan is no fault."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=200e9))
    text = plan(ROOT / "config/olmo_7b.yaml", capsys=capsys)
    (warning,) = [line for line in text.splitlines() if line.startswith("WARNING")]
    # of one disk: 4 of results, 276 of the hub, 193 of a training that runs
    assert "472.5 GB are needed, 200.0 GB are free" in warning
    assert "results_dir or HF_HOME" in warning
    (tmp_path / "dry_run.txt").write_text(json.dumps({"number": {"summarize": 1}}))
    study = yaml.safe_load((ROOT / "config/olmo_7b.yaml").read_text())
    study["knowledge"]["source"].pop("folder", None)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    text = plan("study.yaml", "--dry-run", "dry_run.txt", capsys=capsys)
    assert "WARNING" not in text  # all that is large is there
    assert re.search(r"^Disk: 0.0 GB to be written to \S+, 200 GB free.$", text, re.MULTILINE), text


def test_totals_of_a_study_of_any_size_are_whole(capsys, tmp_path):
    study = yaml.safe_load((ROOT / "config/olmo_7b.yaml").read_text())
    study["seeds"] = list(range(2_000))
    study["knowledge"]["source"].pop("folder", None)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    text = plan(tmp_path / "study.yaml", capsys=capsys)
    assert "…" not in text
    assert f"{2_000 * 1_468_006_400:,}" in text


def test_utilisation_scales_the_hours(capsys):
    def hours(*options):
        text = plan(ROOT / "config/olmo_7b.yaml", *options, capsys=capsys)
        line = next(line for line in text.splitlines() if "inject_knowledge" in line)
        return float(line.split()[-1].replace(",", ""))

    half = hours("--training-utilisation", "0.115", "--forward-utilisation", "0.25")
    assert half == pytest.approx(2 * hours(), rel=1e-3)


def test_a_model_that_nothing_tells_about_is_named(tmp_path, capsys):
    config = yaml.safe_load((ROOT / "config/olmo_7b.yaml").read_text())
    config["models"]["olmo-7b"]["source"]["repo"] = "nobody/nothing"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    text = plan(tmp_path / "study.yaml", capsys=capsys)
    assert "olmo-7b: size unknown before it is fetched" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"seeds": [0]}, "models: missing; this key is required"),
        (None, "no such file; studies are in config/"),
    ],
)
def test_a_wrong_study_is_refused(tmp_path, content, says):
    path = tmp_path / "study.yaml"
    if content is not None:
        path.write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit, match=re.escape(says)):
        main([str(path)])


@pytest.mark.parametrize("share", ["0", "1.1", "-1"])
def test_an_impossible_utilisation_is_refused(share, capsys):
    with pytest.raises(SystemExit):
        main([str(ROOT / "config/smoke.yaml"), f"--training-utilisation={share}"])
    assert "not a share above 0 and up to 1" in capsys.readouterr().err


def test_planning_loads_no_heavy_package():
    heavy = "{'torch', 'transformers', 'matplotlib', 'datasets', 'snakemake'}"
    code = (
        f"import sys, ke_steps.planning.plan; sys.exit(str({heavy} & set(sys.modules)) != 'set()')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
