"""The study of two lines that config/README.md prints runs as printed, and measures."""

import itertools
import re

import pandas as pd
import pytest
import yaml

from ke_steps.planning.costs import costs_by_rule, jobs
from ke_steps.planning.model_sizes import UNKNOWN
from ke_steps.settings.texts import World
from ke_steps.study.reading import read_study
from ke_steps.texts.world import pretraining_documents
from tests.invented.documents import blocks, commands
from tests.invented.models import build_model, build_tokenizer
from tests.invented.project import Project
from tests.invented.report import Page, words_of
from tests.workflow import warm

(EXAMPLE,) = blocks("config/README.md", "yaml")
(COMMAND,) = (line for line in commands("config/README.md") if line.startswith("make report"))
NUM_TEXTS = 2000


@pytest.fixture(scope="module")
def finished(started, tmp_path_factory):
    """The study as printed, run on a local model and text."""
    project = Project(tmp_path_factory.mktemp("parts"))
    data = project.folder / "data"
    build_model(seed=3, max_position_embeddings=1024).save_pretrained(data / "my_model")
    build_tokenizer(data / "my_model")
    documents = itertools.islice(pretraining_documents(World()), NUM_TEXTS)
    (data / "my_text.txt").write_text("\n\n".join(documents))
    (project.folder / "config/mine.yaml").write_text(EXAMPLE)
    with warm.starts(project, started):
        done = project.shell(COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def table(project, name):
    return pd.read_parquet(project.folder / f"results/mine/summarize/{name}.parquet")


def test_the_readmes_study_has_two_lines():
    assert len(EXAMPLE.splitlines()) == 2


def test_it_measures_and_says_so(finished):
    summary = table(finished, "summary")
    assert summary["recipe"].isna().all()
    assert summary["is_trained"].all()
    assert {"entropy_nats", "contribution_entropy_nats", "dormant_fraction"} <= set(
        summary["quantity"]
    )
    assert len(table(finished, "memories"))
    for nothing in ("runs", "correlations", "downstream", "curves", "rankings", "families"):
        assert table(finished, nothing).empty
    assert set(table(finished, "claims")["verdict"]) == {"not tested"}


def test_its_report_has_nothing_that_says_nothing(finished):
    text = (finished.folder / "results/mine/report.html").read_text()
    words = words_of(text)
    assert "Measured: mine, 1 stage; n = " in words
    assert "H in nats. In brackets its interval, of sampling text" in words
    for absent in ("Correlations", "Every run", "Variants", "mean over seeds", "nan"):
        assert absent not in words.rpartition("Provenance")[0].rpartition("Figures")[2]
    assert not re.search(r"<tbody>\s*</tbody>", text)
    assert Page(text).images


def test_its_jobs_are_those_of_the_plan(finished):
    study = read_study(yaml.safe_load(EXAMPLE), need_files=False)
    planned = {
        rule: cost.num_jobs
        for rule, cost in costs_by_rule(jobs(study, dict.fromkeys(study.models, UNKNOWN))).items()
    }
    logs = finished.folder / "results/mine/logs"
    done = {path.name: len(list(path.rglob("record.json"))) for path in logs.iterdir()}
    assert {rule: number for rule, number in done.items() if number} == planned


def test_another_study_is_kept_out_of_its_results(finished):
    (finished.folder / "config/second.yaml").write_text(EXAMPLE + "results_dir: results/mine\n")
    done = finished.call(["snakemake", "-n", "--configfile", "config/second.yaml"])
    assert done.returncode
    assert "results/mine holds the results of another study, config/mine.yaml" in (
        done.stdout + done.stderr
    )
