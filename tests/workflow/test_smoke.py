"""The whole DAG in miniature, from an empty folder to the report."""

import base64
import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ke_steps.artefacts.parquet import read_table
from ke_steps.claims.findings import VERDICTS
from ke_steps.job.errors import UserError
from ke_steps.planning.costs import costs_by_rule, jobs
from ke_steps.planning.dry_run import jobs_told, models_read_only
from ke_steps.planning.model_sizes import UNKNOWN, find_size
from ke_steps.planning.workloads import num_probe_scores
from ke_steps.planning.written import PROBE_SCORE_BYTES
from ke_steps.settings.cluster import Request
from ke_steps.study.jobs import figures
from ke_steps.study.reading import read_study
from ke_steps.study.requests import DEFAULTS
from ke_steps.study.trained_models import refuse_missing
from tests.invented.configs import NUM_JOBS

RESULTS = "results/smoke"
NONE = Request(0, 0, 0)


@pytest.fixture(scope="module")
def finished(finished_smoke):
    return finished_smoke


@pytest.fixture
def clone(finished_smoke, tmp_path):
    """The project without results."""
    return finished_smoke.clone(tmp_path)


def test_the_report_is_there_and_says_what_was_measured(finished):
    report = (finished.folder / RESULTS / "report.html").read_text()
    assert "Smoke study" in report
    assert report.count("data:image/svg+xml") == len(figures(read_study(finished.study)))
    claims = pq.read_table(finished.folder / RESULTS / "summarize/claims.parquet").to_pylist()
    assert len(claims) >= 8
    verdicts = {claim["verdict"] for claim in claims}
    assert "not tested" in verdicts  # one stage after the untrained model
    assert verdicts <= set(VERDICTS)
    summary = pq.read_table(finished.folder / RESULTS / "summarize/summary.parquet").to_pandas()
    quantities = set(summary["quantity"])
    assert {"entropy_nats", "acquisition", "forgetting", "accuracy_before"} <= quantities
    measures = ("contribution", "attribution", "relu_gate", "attention", "next_token")
    assert {f"{measure}_entropy_nats" for measure in measures} <= quantities
    assert {"memory_update_entropy_nats", "effectivity", "median_perplexity"} <= quantities
    assert set(summary["step"]) == {0, 8}
    assert set(summary["variant"]) == {"original", "boost", "warm", "rescaled", "shuffled_draw0"}
    assert set(summary["recipe"].dropna()) == {"baseline", "longer"}


def test_a_gauge_moves_absolute_entropy_alone(finished):
    summary = pq.read_table(finished.folder / RESULTS / "summarize/summary.parquet").to_pandas()
    rows = summary[(summary["step"] == 8) & (summary["group"] == "model")]
    values = rows.pivot_table(index="quantity", columns="variant", values="value")
    moved = values["shuffled_draw0"] / values["original"] - 1
    for measure in ("contribution", "attribution", "attention", "next_token"):
        assert abs(moved[f"{measure}_entropy_nats"]) < 1e-4
    assert abs(moved["entropy_nats"]) > 1e-3


def test_every_table_says_where_it_came_from(finished):
    tables = list((finished.folder / RESULTS).rglob("*.parquet"))
    assert len(tables) > 30
    for path in tables:
        stamp = json.loads(pq.read_schema(path).metadata[b"ke_steps"])
        assert {"step", "code", "settings", "inputs", "versions"} <= set(stamp), path


def test_every_job_left_a_record_and_no_partial_file(finished):
    records = list((finished.folder / RESULTS / "logs").rglob("record.json"))
    assert len(records) == sum(NUM_JOBS.values())
    assert not list((finished.folder / RESULTS).rglob("*.partial"))


def test_torch_is_started_once_for_a_model_and_what_it_knows(finished):
    """Retention is evaluated where the model is at hand; few jobs overtake the extraction."""
    logs = finished.folder / RESULTS / "logs"
    records = [json.loads(path.read_text()) for path in logs.rglob("record.json")]
    with_torch = [each for each in records if DEFAULTS.get(each["step"], NONE).num_gpus]
    assert len(with_torch) == 40
    ahead = Counter(each["done_by"] for each in with_torch if "done_by" in each)
    assert ahead["inject_knowledge"] == 10
    assert 40 - ahead.total() <= 40 * 2 / 3
    assert not list((finished.folder / RESULTS).rglob("ahead*"))


def test_what_was_done_ahead_is_what_its_own_job_makes(finished, tmp_path):
    project = finished.copy(tmp_path)
    place = "evaluate_retention/tiny/step8/boost/baseline/seed1"
    record = json.loads(project.results("logs", place, "record.json").read_text())
    assert record["done_by"] == "inject_knowledge"
    before = {name: Path(project.folder, name).read_bytes() for name in record["outputs"]}
    run = project.snakemake("--forcerun", f"{RESULTS}/{place}/items.parquet", "--", *before)
    assert run.returncode == 0, run.stdout + run.stderr
    assert {name: Path(project.folder, name).read_bytes() for name in before} == before
    again = json.loads(project.results("logs", place, "record.json").read_text())
    assert "done_by" not in again
    for key in ("step", "code", "settings", "inputs", "outputs", "versions", "device"):
        assert again[key] == record[key], key


def test_models_without_weights_are_refused_before_any_job(finished, tmp_path, monkeypatch):
    """By ``make plan`` and ``make why`` in the same words, from what a dry run tells."""
    project = finished.copy(tmp_path)
    for path in project.results("inject_knowledge").rglob("*.safetensors"):
        path.unlink()
    assert project.pending() == {}
    project.study["evaluate_retention"]["num_items_per_task"] -= 1
    run = project.snakemake()
    assert run.returncode != 0
    said = run.stdout + run.stderr
    assert f"(10, such as {RESULTS}/inject_knowledge/tiny/step0/original/baseline/seed0/" in said
    assert "set keep_models: all, delete their manifest.json and run again" in said
    read = models_read_only(RESULTS, jobs_told(project.dry_run()))
    monkeypatch.chdir(project.folder)
    with pytest.raises(UserError) as refusal:
        refuse_missing(read_study(project.study), read)
    assert str(refusal.value) in said
    assert project.results("evaluate_retention/tiny/step0/original/items.parquet").is_file()


@pytest.mark.parametrize(
    ("rule", "tables", "accuracy"),
    [
        ("extract_coefficients", ["coefficients"], 0.03),
        (
            "aggregate_entropy",
            ["activity", "distribution", "replicates"],
            0.15,
        ),  # has names as well
    ],
)
def test_tables_are_as_large_as_planned(finished, rule, tables, accuracy):
    """But for what tells of missing values, and for names."""
    study = read_study(finished.study | {"keep_models": "none"})
    planned = costs_by_rule(jobs(study, {"tiny": find_size(study, "tiny")}))[rule].disk_bytes
    files = [path for name in tables for path in finished.results(rule).rglob(f"{name}.parquet")]
    written = sum(read_table(path).nbytes for path in files)
    assert planned == pytest.approx(written, rel=accuracy)


def test_learning_is_as_large_as_planned(finished):
    """Scores of probes are so few here that the frame of a file is most of it: they are counted."""
    study = read_study(finished.study | {"keep_models": "none"})
    planned = costs_by_rule(jobs(study, {"tiny": find_size(study, "tiny")}))["inject_knowledge"]
    updates, scores = (
        [read_table(path) for path in finished.results("inject_knowledge").rglob(f"{name}.parquet")]
        for name in ("updates", "probe_scores")
    )
    num_scores = sum(num_probe_scores(study, study.recipes[run.recipe]) for run in study.runs())
    assert num_scores == sum(map(len, scores))
    written = sum(table.nbytes for table in updates)
    assert planned.disk_bytes - PROBE_SCORE_BYTES * num_scores == pytest.approx(written, rel=0.03)


def test_a_second_run_has_nothing_to_do(finished, tmp_path):
    run = finished.copy(tmp_path).snakemake()
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_the_study_beside_the_report_is_the_study(finished, tmp_path):
    """With it there is nothing to do; it is that of the report, and whose results these are."""
    project, file = finished.copy(tmp_path), f"{RESULTS}/study.yaml"
    owner, _, study = (project.folder / file).read_text().partition("\n")
    assert owner == "# The results of config/study.yaml"
    report = (project.folder / RESULTS / "report.html").read_text()
    assert base64.b64encode(study.encode()).decode() in report
    run = project.snakemake("--configfile", file)
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_a_lost_result_comes_back_with_the_same_bytes(finished, tmp_path):
    project = finished.copy(tmp_path)
    place = f"{RESULTS}/inject_knowledge/tiny/step8/boost/baseline/seed1"
    folder = project.folder / place
    files = ["model.safetensors", "training.parquet", "probe_scores.parquet", "manifest.json"]
    before = {name: (folder / name).read_bytes() for name in files}
    shutil.rmtree(folder)
    run = project.snakemake(f"{place}/manifest.json")
    assert run.returncode == 0, run.stdout + run.stderr
    assert {name: (folder / name).read_bytes() for name in files} == before
    assert project.pending() == {}


def test_the_plan_is_what_was_done(finished):
    study = read_study(finished.study)
    costs = costs_by_rule(jobs(study, dict.fromkeys(study.models, UNKNOWN)))
    assert {rule: cost.num_jobs for rule, cost in costs.items()} == NUM_JOBS
    lengths = {
        path.parent.name: pq.read_schema(path).field("input_ids").type.list_size
        for path in (finished.folder / RESULTS / "prepare_corpus").rglob("sequences.parquet")
    }
    trained = 0
    for table in (finished.folder / RESULTS / "inject_knowledge").rglob("training.parquet"):
        recipe = finished.study["recipes"][table.parent.parent.name]
        steps = len(pq.read_table(table))
        trained += steps * recipe["batch_size_sequences"] * lengths[recipe["corpus"]]
    assert costs["inject_knowledge"].training_tokens == trained


def test_a_wrong_study_starts_nothing(clone):
    clone.study["recipes"]["baseline"]["learning_rate"] = "fast"
    del clone.study["world"]
    run = clone.snakemake()
    assert run.returncode != 0
    assert "recipes.baseline.learning_rate: got 'fast'" in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_half_a_study_is_not_filled_up_from_the_default_one(clone):
    clone.study = {"seeds": [0]}
    run = clone.snakemake("--dry-run")
    assert run.returncode != 0
    assert "models: missing; this key is required" in run.stdout + run.stderr


def test_snakemakes_own_report_has_the_captions(finished, tmp_path):
    project = finished.copy(tmp_path)
    run = project.snakemake("--report", "snakemake_report.html")
    assert run.returncode == 0, run.stdout + run.stderr
    report = (project.folder / "snakemake_report.html").read_text()
    assert "entropy_by_stage" in report
    assert "The claims come first" in report
    (categories,) = re.findall(r"var categories = (\{.*\});?$", report, flags=re.MULTILINE)
    first = min(json.loads(categories).items())  # in the order of its menu
    assert first == ("Claims", {"Other": [f"{RESULTS}/report.html"]})
