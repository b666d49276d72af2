"""A study whose checkpoints and texts come over HTTP, from a hub on loopback to the report."""

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ke_steps.settings.texts import World
from ke_steps.study.presets import FICTIONAL_KNOWLEDGE
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.texts.world import continual_documents, pretraining_documents
from tests.invented.hub_server import HubServer, read_files
from tests.invented.models import build_model, build_tokenizer
from tests.invented.project import Project
from tests.workflow import warm

REPO, TEXTS, TOKEN_FILE = "allenai/tiny-hf", "datasets/o/texts", "/olmo/part-000-00000.npy"
BRANCHES = {10: "step10-tokens1B", 20: "step20-tokens1B", 30: "step30-tokens2B"}
WORLD = {"seed": 0, "num_people": 20, "num_continual_entities": 20, "num_questions": 20}
NUM_SEQUENCES, LENGTH_TOKENS = 16, 192


def build_branches(directory):
    """Return {branch: files}; the weights of steps 20 and 30 are the same."""
    branches = {}
    for step, branch in BRANCHES.items():
        model = build_model(seed=min(step, 20), max_position_embeddings=LENGTH_TOKENS)
        model.save_pretrained(directory / branch)
        build_tokenizer(directory / branch)
        branches[branch] = read_files(directory / branch) | {"README.md": branch.encode()}
    return branches


def build_texts():
    """Return the files of a dataset with the world's pretraining text."""
    documents = itertools.islice(pretraining_documents(World(**WORLD)), 100)
    rows = [json.dumps({"id": f"d{n}", "text": text}) for n, text in enumerate(documents)]
    return {"train.jsonl": "\n".join(rows).encode()}


def build_token_file(tokenizer_directory):
    """Return the world's continual-learning text as raw token ids."""
    tokenizer = load_tokenizer(tokenizer_directory)
    documents = itertools.islice(continual_documents(World(**WORLD)), 100)
    ids = [[*tokenizer.encode(text), tokenizer.eos_token_id] for text in documents]
    return np.array(list(itertools.chain(*ids)), dtype="<u2").tobytes()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    directory = tmp_path_factory.mktemp("repo")
    repos = {REPO: build_branches(directory), TEXTS: {"main": build_texts()}}
    files = {TOKEN_FILE: build_token_file(directory / BRANCHES[10])}
    with HubServer(repos, files) as server:
        yield server


def over_http(smoke, hub):
    """Return the smoke study with its checkpoints and texts taken from the hub, and made small."""
    sizes = {"num_sequences": NUM_SEQUENCES, "sequence_length_tokens": LENGTH_TOKENS}
    dataset = {"kind": "hub_dataset", "repo": TEXTS.removeprefix("datasets/"), "id_field": "id"}
    dataset["revision"] = hub.commit(TEXTS, "main")
    token_file = {"kind": "token_file", "location": hub.url + TOKEN_FILE, "dtype": "uint16"}
    source = {"kind": "hub", "repo": REPO, "revision": "step{step}-*"}
    recipe = smoke["recipes"]["baseline"] | {
        "steps": [10, 30],
        "variants": ["original"],
        "num_steps": 3,
        "injection_interval_steps": 1,
    }
    unused = {
        *("train_tokenizer", "pretrain_nursery", "variants"),
        *("describe_memories", "evaluate_novelty", "fit_decay"),
    }
    return {key: value for key, value in smoke.items() if key not in unused} | {
        "results_dir": "results/first",
        "seeds": [0],
        "world": WORLD,
        "models": {"tiny": {"source": source, "steps": list(BRANCHES)}},
        "corpora": {
            "pretraining": {"source": dataset} | sizes,
            "continual": {"source": token_file} | sizes,
        },
        "extract_coefficients": smoke["extract_coefficients"] | {"other_corpora": []},
        "recipes": {"baseline": recipe},
        "plot_figures": {"figures": ["entropy_by_stage"]},
    }


@pytest.fixture(scope="module")
def finished(hub, started, tmp_path_factory):
    """The study, run once; the cache is new. Its steps start warm, later ones too."""
    project = Project(tmp_path_factory.mktemp("hub_study"))
    project.study = over_http(project.study, hub)
    home = str(tmp_path_factory.mktemp("home"))
    project.environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": home}
    with warm.starts(project, started):
        run = project.snakemake()
        assert run.returncode == 0, run.stdout + run.stderr
        yield project


def manifest_of(results_dir, step):
    return Path(results_dir) / f"fetch_checkpoint/tiny/step{step}/manifest.json"


def manifests(project, results_dir, steps=BRANCHES):
    """Return {step: the checkpoint's manifest} of a study."""
    paths = {step: project.folder / manifest_of(results_dir, step) for step in steps}
    return {step: json.loads(path.read_text()) for step, path in paths.items()}


def fetch_again(project, results_dir, steps):
    """Fetch checkpoints of another study, and check that they are those of the first."""
    project.study = project.study | {"results_dir": results_dir}
    run = project.snakemake(*(str(manifest_of(results_dir, step)) for step in steps))
    assert run.returncode == 0, run.stdout + run.stderr
    assert manifests(project, results_dir, steps) == manifests(project, "results/first", steps)


def test_the_report_is_there(finished):
    report = (finished.folder / "results/first/report.html").read_text()
    assert report.count("data:image/svg+xml") == 1
    summary = pq.read_table(finished.folder / "results/first/summarize/summary.parquet").to_pandas()
    assert set(summary["step"]) == set(BRANCHES)
    assert {"entropy_nats", "acquisition", "forgetting"} <= set(summary["quantity"])


def test_the_commits_are_pinned(finished, hub):
    for step, manifest in manifests(finished, "results/first").items():
        assert manifest["source"] == {
            "kind": "hub",
            "repo": REPO,
            "revision": BRANCHES[step],
            "commit": hub.commit(REPO, BRANCHES[step]),
        }
    record = finished.folder / "results/first/logs/prepare_corpus/tiny/pretraining/record.json"
    assert json.loads(record.read_text())["commit of o/texts"] == hub.commit(TEXTS, "main")


def test_the_texts_are_those_of_the_server(finished, hub):
    path = finished.folder / "results/first/prepare_corpus/tiny/continual/sequences.parquet"
    tokens = np.stack(pq.read_table(path)["input_ids"].to_numpy())
    expected = np.frombuffer(hub.files[TOKEN_FILE], "<u2")[: NUM_SEQUENCES * LENGTH_TOKENS]
    np.testing.assert_array_equal(tokens.ravel(), expected)
    assert all(request.range for request in hub.find(TOKEN_FILE))


def test_equal_weights_of_two_steps_are_marked(finished):
    path = finished.folder / "results/first/summarize/checkpoints.parquet"
    table = pq.read_table(path).to_pandas().set_index("step")
    same = table["same_weights_as"]
    assert np.isnan(same[10])
    assert (same[20], same[30]) == (30, 20)
    report = (finished.folder / "results/first/report.html").read_text()
    assert "The checkpoints of tiny at steps 20, 30 hold identical weights" in report


def test_equal_weights_are_downloaded_once(finished, hub):
    assert len(manifests(finished, "results/first")) == 3
    assert len(hub.find("/cdn/", method="GET")) == 2


def test_a_second_study_downloads_no_weights(finished, hub):
    num_before = len(hub.requests)
    fetch_again(finished, "results/second", BRANCHES)
    assert len(hub.requests) > num_before
    assert all(request.path.startswith("/api/") for request in hub.requests[num_before:])


def test_the_cache_serves_a_study_offline(finished, hub, monkeypatch):
    monkeypatch.setitem(finished.environment, "HF_HUB_OFFLINE", "1")  # read when a step starts
    monkeypatch.delitem(finished.environment, "PATH")
    num_before = len(hub.requests)
    fetch_again(finished, "results/third", [30])
    assert len(hub.requests) == num_before


def test_the_papers_passages_come_over_http(shared_data, tmp_path, tmp_path_factory):
    preset = FICTIONAL_KNOWLEDGE
    place = f"/{preset.repo}/{preset.commit}/{preset.repo_folder}"
    folder = shared_data / preset.repo_folder
    files = {f"{place}/{name}": content for name, content in read_files(folder).items()}
    project = Project(tmp_path)
    project.study["knowledge"]["source"] = {"kind": "preset", "name": "fictional_knowledge"}
    passages = "results/smoke/prepare_knowledge/passages.parquet"
    with HubServer(files=files) as server:
        home = {"HF_HOME": str(tmp_path_factory.mktemp("home")), "GITHUB_RAW_ENDPOINT": server.url}
        project.environment |= home
        run = project.snakemake(passages)
        assert run.returncode == 0, run.stdout + run.stderr
        names = {preset.paraphrase.name, preset.once.name}
        assert {Path(request.path).name for request in server.requests} == names
        table = pq.read_table(project.folder / passages)
        (project.folder / passages).unlink()
        run = project.snakemake(passages)
        assert run.returncode == 0, run.stdout + run.stderr
        assert len(server.requests) == len(names)
    assert (
        table["text"][0].as_py()
        == json.loads(files[f"{place}/{preset.paraphrase.name}"])[0]["train_context"]
    )
    assert pq.read_table(project.folder / passages).equals(table)
