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
from ke_steps.study.places import folder_of
from ke_steps.study.reading import read_study_file
from tests.invented.project import ROOT

NUMBER = {"fetch_checkpoint": 12, "summarize": 1, "all": 1, "total": 14}
DRY_RUN = f"Building DAG of jobs...\n{json.dumps({'number': NUMBER, 'jobs': []})}\n"
NOTHING = '{"number": {}, "jobs": []}\n'
SMOKE = ROOT / "config/smoke.yaml"


class Snakemake:
    """A command in Snakemake's place; the test's folder becomes the working directory."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        monkeypatch.chdir(folder)

    def that_says(self, said, status=0):
        """Return the end of a command line: ``--`` and a command that says this."""
        (self.folder / "said.txt").write_text(said)
        script = f'echo "$*" >> asked.txt; cat said.txt; exit {status}'
        return ["--", "sh", "-c", script, "snakemake"]

    def asked(self):
        """Return with which options it was called."""
        path = self.folder / "asked.txt"
        return path.read_text().splitlines() if path.exists() else []

    def begin(self, *places):
        """Make a file of the smoke study's results."""
        for place in places or ["prepare_corpus/tiny/x/sequences.parquet"]:
            path = self.folder / "results/smoke" / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.fixture
def snakemake(tmp_path, monkeypatch):
    return Snakemake(tmp_path, monkeypatch)


def plan(*arguments, capsys):
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_gpu_hours_are_operations_over_what_the_gpu_does_of_them():
    peak = {"bf16": 1000.0, "fp32": 100.0}
    flops = {Work("training", "bf16"): 3600.0 * 800, Work("forward", "fp32"): 3600.0 * 25}
    assert gpu_hours(flops, peak, Utilisation(training=0.4, forward=0.5)) == pytest.approx(2.5)


def test_a_finished_study_has_nothing_to_do(snakemake, capsys):
    snakemake.begin()
    text = plan(SMOKE, *snakemake.that_says(NOTHING), capsys=capsys)
    assert text.endswith("A run would have nothing to do: everything is there.\n")


@pytest.mark.parametrize("is_begun", [False, True])
@pytest.mark.parametrize(("said", "status"), [("Error: no\n", 1), (f"{DRY_RUN}Error: no\n", 1)])
def test_what_snakemake_refuses_is_refused_in_its_own_words(
    is_begun, said, status, snakemake, capsys
):
    if is_begun:
        snakemake.begin()
    with pytest.raises(SystemExit, match=r"(?s)^no dry run: .*Error: no$"):
        plan(SMOKE, *snakemake.that_says(said, status), capsys=capsys)
    assert "What the study costs" in capsys.readouterr().out


def test_what_a_run_would_do_is_counted_by_rule(snakemake, capsys):
    snakemake.begin()
    text = plan(SMOKE, *snakemake.that_says(DRY_RUN), capsys=capsys)
    assert snakemake.asked() == ["--dry-run --logger jobs --quiet rules progress"]
    table = text.partition("What a run would do now (make why says why)\n")[2]
    assert re.search(r"fetch_checkpoint +12 .*in all +13 *\n", table, re.DOTALL)
    assert "Nothing is there yet" not in text


@pytest.mark.parametrize(
    "left", [None, ".run.lock", "another_study/summarize/summary.parquet", "logs/summarize/log.txt"]
)
def test_where_nothing_is_there_all_jobs_are_counted_without_a_dry_run(left, snakemake, capsys):
    if left:
        snakemake.begin(left)
    text = plan(SMOKE, *snakemake.that_says("aggregate_entropy\n"), capsys=capsys)
    assert snakemake.asked() == ["--list-rules"]
    num_jobs = re.search(r"^ in all +(\d+) ", text, re.MULTILINE)[1]
    assert text.endswith(f"Nothing is there yet: a run would do all {num_jobs} jobs.\n")


def test_options_of_the_plan_go_before_the_study(snakemake, capsys):
    text = plan("--training-utilisation", "0.3", SMOKE, *snakemake.that_says(""), capsys=capsys)
    assert "at 30 % of the peak" in text
    assert "Nothing is there yet" in text


@pytest.mark.parametrize(
    ("trained", "read", "is_refused"),
    [
        ([], ["gone"], True),
        ([], ["kept"], False),
        (["gone"], ["gone", "kept"], False),
        ([], [], False),
    ],
    ids=["gone", "there", "trained again", "not read"],
)
def test_a_run_that_would_read_removed_weights_is_told_of(
    trained, read, is_refused, snakemake, capsys
):
    runs = dict(zip(("kept", "gone"), read_study_file(SMOKE).runs(), strict=False))
    manifests = {
        name: f"inject_knowledge/{folder_of(run)}/manifest.json" for name, run in runs.items()
    }
    snakemake.begin(
        *manifests.values(), f"inject_knowledge/{folder_of(runs['kept'])}/x.safetensors"
    )
    jobs = [
        {
            "rule_name": rule,
            "wildcards": runs[name]._asdict(),
            "output": [f"results/smoke/{output}"],
        }
        for rule, names, output in (
            ("inject_knowledge", trained, manifests["gone"]),
            ("evaluate_retention_after_learning", read, "retention.parquet"),
        )
        for name in names
    ]
    number = {"evaluate_retention_after_learning": len(read), "inject_knowledge": len(trained)}
    told = json.dumps({"number": number, "jobs": jobs})
    text = plan(SMOKE, *snakemake.that_says(told), capsys=capsys)
    assert (f"(1, such as results/smoke/{manifests['gone']};" in text) == is_refused
    assert text.endswith("once more: a run would refuse this study\n") == is_refused


def test_the_papers_study_is_planned_before_its_files_are_there(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = yaml.safe_load((ROOT / "config/olmo_1b.yaml").read_text())
    config["knowledge"]["source"]["folder"] = "copy"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    text = plan("study.yaml", "--", "no_such_command", capsys=capsys)
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


def test_a_disk_that_is_too_small_is_warned_of(snakemake, capsys, monkeypatch, tmp_path):
    """Whatever else is planned: to download and to plan is no fault."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=200e9))
    text = plan(ROOT / "config/olmo_7b.yaml", capsys=capsys)
    (warning,) = [line for line in text.splitlines() if line.startswith("WARNING")]
    # of one disk: 4 of results, 276 of the hub, 193 of a training that runs
    assert "472.6 GB are needed, 200.0 GB are free" in warning
    assert "results_dir or HF_HOME" in warning
    study = yaml.safe_load((ROOT / "config/olmo_7b.yaml").read_text())
    study["knowledge"]["source"].pop("folder", None)
    study["results_dir"] = "results/smoke"
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    snakemake.begin()
    said = json.dumps({"number": {"summarize": 1}})
    text = plan("study.yaml", *snakemake.that_says(said), capsys=capsys)
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
