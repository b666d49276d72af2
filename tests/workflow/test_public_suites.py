"""Each public suite's study of config/, in miniature, from a hub on loopback to the report."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import ESTIMATES, FAMILIES
from ke_steps.models.loading import load_model
from tests.invented.hub_server import HubServer
from tests.invented.models import random_sequences
from tests.invented.project import Project
from tests.invented.suite_repositories import CONFIGS, datasets, model_of, repositories, seed_of
from tests.invented.suites import SUITES, branch_of, miniature
from tests.workflow import warm


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """The miniature of each suite's study."""
    folder = tmp_path_factory.mktemp("passages")
    return {name: miniature(name, folder) for name in SUITES}


@pytest.fixture(scope="module")
def hub(studies, tmp_path_factory):
    """A hub with all of their repositories."""
    folder = tmp_path_factory.mktemp("repositories")
    repos = datasets()
    for study in studies.values():
        repos |= repositories(study, folder)
    with HubServer(repos) as server:
        yield server


@pytest.fixture(scope="module")
def project(hub, started, tmp_path_factory):
    """Where they are run, with an empty cache."""
    project = Project(tmp_path_factory.mktemp("suites"))
    home = str(tmp_path_factory.mktemp("home"))
    project.environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": home}
    with warm.starts(project, started):
        yield project


@pytest.fixture(scope="module", params=SUITES)
def finished(request, studies, project):
    """The project after a run of one suite's study, its study."""
    project.study = studies[request.param]
    run = project.snakemake()
    assert run.returncode == 0, run.stdout + run.stderr
    return project


def checkpoints(project):
    """Yield repository, step and manifest of every checkpoint of the study."""
    for name, model in project.study["models"].items():
        for step in model["steps"]:
            manifest = project.results("fetch_checkpoint", name, f"step{step}/manifest.json")
            yield model["source"]["repo"], step, manifest


def test_the_checkpoints_are_those_of_their_branches(finished, hub, tmp_path):
    ids = torch.tensor(random_sequences(2, 8))
    for repo, step, manifest in checkpoints(finished):
        source = json.loads(manifest.read_text())["source"]
        branch = branch_of(repo, step)
        assert (source["repo"], source["revision"]) == (repo, branch)
        assert source["commit"] == hub.commit(repo, branch)
        config = CONFIGS[repo.partition("/")[0]]
        expected = model_of(config, tmp_path / repo, seed_of(repo, step)).float().eval()
        with torch.inference_mode():
            logits = load_model(manifest, device=torch.device("cpu"))(ids).logits
            torch.testing.assert_close(logits, expected(ids).logits)


def test_every_stage_is_measured_and_what_learns_is_told(finished):
    study = finished.study
    table = read_frame(finished.results("summarize/estimates.parquet"), ESTIMATES)
    measured = table[(table["quantity"] == "entropy_nats") & (table["group"] == "model")]
    stages = {(name, step) for name, model in study["models"].items() for step in model["steps"]}
    assert set(zip(measured["model"], measured["step"], strict=True)) == stages
    (recipe,) = study["recipes"].values()
    taught = {(name, step) for name in recipe["models"] for step in recipe["steps"]}
    for quantity in ("acquisition", "forgetting", "retainability"):
        rows = table[table["quantity"] == quantity]
        assert set(zip(rows["model"], rows["step"], strict=True)) == taught
    report = finished.results("report.html").read_text()
    assert study["write_report"]["title"] in report
    assert report.count("data:image/svg+xml") == len(study["plot_figures"]["figures"])


def test_texts_come_from_the_presets_commits(finished, hub):
    name = next(iter(finished.study["models"]))
    record = finished.results("logs/prepare_corpus", name, "c4/record.json")
    commit = hub.commit("datasets/allenai/c4", "1588ec454efa1a09f29cd18ddd04fe05fc8653a2")
    assert json.loads(record.read_text())["commit of allenai/c4"] == commit


def test_the_weights_are_those_of_the_files_that_there_are(finished, hub):
    """Safetensors where a pickle lies beside them, every shard, a pickle where nothing else is."""
    for repo, step, _ in checkpoints(finished):
        there = hub.repos[repo][branch_of(repo, step)]
        safe = {name for name in there if name.endswith(".safetensors")}
        weights = safe or {"pytorch_model.bin"}
        paths = {Path(request.path).name for request in hub.find(f"/{repo}/resolve/")}
        assert {path for path in paths if path.endswith((".safetensors", ".bin"))} == weights


def test_seeds_of_one_pretraining_are_told_as_a_family(finished):
    families = {}
    for name, model in finished.study["models"].items():
        if "family" in model:
            families.setdefault(model["family"], []).append(name)
    table = read_frame(finished.results("summarize/families.parquet"), FAMILIES)
    assert set(table["family"]) == families.keys()
    told = table[(table["quantity"] == "entropy_nats") & (table["group"] == "model")]
    estimates = read_frame(finished.results("summarize/estimates.parquet"), ESTIMATES)
    for row in told.to_dict("records"):
        assert list(row["models"]) == families[row["family"]]
        of_models = estimates[
            estimates["model"].isin(families[row["family"]])
            & (estimates["step"] == row["step"])
            & (estimates[["quantity", "group"]] == ["entropy_nats", "model"]).all(axis=1)
        ]
        assert row["value"] == pytest.approx(np.mean(of_models["value"]))
    report = finished.results("report.html").read_text()
    assert ("families.csv" in report) == bool(families)
