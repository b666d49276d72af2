"""An input that is not what its job wrote is refused in one line by whatever would read it."""

import random
import subprocess
import sys

import pytest

from ke_steps.artefacts.interventions import write_intervention
from tests.invented.command_line import EXTRACTION, arguments, call, tree
from tests.invented.models import build_model, build_sequences, build_tokenizer

WORLD = {"seed": 0, "num_people": 50, "num_continual_entities": 20, "num_questions": 10}
KNOWLEDGE = {
    "source": {"kind": "world"},
    "num_paraphrase_passages": 4,
    "num_once_passages": 3,
    "world": WORLD,
}
SCHEDULE = {
    "num_steps": 10,
    "num_epochs": 1,
    "num_injections": 2,
    "injection_interval_steps": 4,
    "batch_size_sequences": 8,
    "seed": 0,
}
PLACES = range(20)


def flip(path, seed):
    """Turn one bit of a file over, at a seeded place."""
    draw = random.Random(seed)
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder of a study, some of whose steps have run."""
    folder = tmp_path_factory.mktemp("study")
    model = build_model("llama")
    model.save_pretrained(folder / "source")
    build_tokenizer(folder / "source")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert not call("prepare_knowledge", KNOWLEDGE, **knowledge("output_"))
        fetch = {"source": {"kind": "directory", "path": str(folder / "source")}, "step": 0}
        assert not call("fetch_checkpoint", fetch, **checkpoint("output"))
        warm = {"kind": "temper_attention", "temperature": 2.0}
        assert not call("intervene", {"intervention": warm}, **TEMPERING)
        build_sequences(folder / "sequences.parquet")
    return folder


def knowledge(prefix):
    return {
        f"{prefix}passages": "results/prepare_knowledge/passages.parquet",
        f"{prefix}probes": "results/prepare_knowledge/probes.parquet",
        "record": "results/logs/prepare_knowledge/record.json",
    }


def checkpoint(name):
    return {
        name: "results/fetch_checkpoint/m/step0/manifest.json",
        "record": "results/logs/fetch_checkpoint/m/step0/record.json",
    }


TEMPERING = {
    "checkpoint": "results/fetch_checkpoint/m/step0/manifest.json",
    "output": "results/intervene/m/step0/warm/intervention.safetensors",
    "record": "results/logs/intervene/m/step0/warm/record.json",
}
SCHEDULING = {
    "passages": "results/prepare_knowledge/passages.parquet",
    "output": "results/schedule_injections/r/seed0/schedule.parquet",
    "record": "results/logs/schedule_injections/r/seed0/record.json",
}
EXTRACTING = {
    "checkpoint": "results/fetch_checkpoint/m/step0/manifest.json",
    "intervention": "results/intervene/m/step0/warm/intervention.safetensors",
    "sequences": "sequences.parquet",
    "output_coefficients": "results/extract_coefficients/m/step0/warm/c/coefficients.parquet",
    "output_token_entropies": "results/extract_coefficients/m/step0/warm/c/entropies.parquet",
    "record": "results/logs/extract_coefficients/m/step0/warm/c/record.json",
}


@pytest.fixture
def study(results, monkeypatch):
    """The study's folder, whole again after the test."""
    monkeypatch.chdir(results)
    before = tree(results)
    yield results
    for name, content in before.items():
        if isinstance(content, bytes):
            (results / name).write_bytes(content)
    for name in tree(results).keys() - before.keys():
        (results / name).unlink()


def test_undamaged_inputs_pass(study):
    assert call("schedule_injections", SCHEDULE, **SCHEDULING) is None
    assert call("extract_coefficients", EXTRACTION, **EXTRACTING) is None


@pytest.mark.parametrize("seed", PLACES)
def test_a_flipped_bit_of_a_table_is_refused(study, seed):
    passages = study / SCHEDULING["passages"]
    flip(passages, seed)
    line = call("schedule_injections", SCHEDULE, **SCHEDULING)
    assert f"{SCHEDULING['passages']}: not what prepare_knowledge wrote" in line
    assert line.endswith(": delete it and run again")
    assert not (study / SCHEDULING["output"]).exists()
    assert not (study / SCHEDULING["record"]).exists()


@pytest.mark.parametrize("seed", PLACES)
def test_a_flipped_bit_of_weights_is_refused(study, seed):
    flip(study / "source/model.safetensors", seed)
    line = call("extract_coefficients", EXTRACTION, **EXTRACTING)
    assert "step0/model.safetensors: not what was written" in line
    assert line.endswith(": delete results/fetch_checkpoint/m/step0/manifest.json and run again")
    assert not (study / EXTRACTING["output_coefficients"]).exists()


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit_of_an_intervention_is_refused(study, seed):
    flip(study / EXTRACTING["intervention"], seed)
    line = call("extract_coefficients", EXTRACTION, **EXTRACTING)
    assert "intervention.safetensors: not what intervene wrote" in line


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_flipped_bit_of_a_checkpoints_description_is_refused(study, name, seed):
    flip(study / f"results/fetch_checkpoint/m/step0/{name}", seed)
    line = call("extract_coefficients", EXTRACTION, **EXTRACTING)
    assert f"step0/{name}: not what was written" in line


@pytest.mark.parametrize("seed", range(3))
def test_a_flipped_bit_of_a_manifest_is_refused(study, seed):
    flip(study / EXTRACTING["checkpoint"], seed)
    line = call("extract_coefficients", EXTRACTION, **EXTRACTING)
    assert "manifest.json: not what fetch_checkpoint wrote" in line


def test_the_command_itself_ends_with_one_line_and_status_1(study):
    flip(study / SCHEDULING["passages"], 0)
    command = [sys.executable, "-m", "ke_steps.schedule_injections"]
    ended = subprocess.run(
        command + arguments(SCHEDULE, **SCHEDULING), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stdout == ""


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_table_is_refused_with_and_without_its_record(study, keep):
    passages = study / SCHEDULING["passages"]
    passages.write_bytes(passages.read_bytes()[:keep])
    assert "not what prepare_knowledge wrote" in call("schedule_injections", SCHEDULE, **SCHEDULING)
    (study / "results/logs/prepare_knowledge/record.json").unlink()
    line = call("schedule_injections", SCHEDULE, **SCHEDULING)
    assert "passages.parquet: not a readable Parquet file" in line


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_weights_are_refused(study, keep):
    weights = study / "source/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    line = call("extract_coefficients", EXTRACTION, **EXTRACTING)
    assert "model.safetensors: not of the size in manifest.json" in line


def test_vanished_inputs_are_refused(study):
    (study / SCHEDULING["passages"]).unlink()
    line = call("schedule_injections", SCHEDULE, **SCHEDULING)
    assert "--passages: no such file: results/prepare_knowledge/passages.parquet" in line
    (study / "source/model.safetensors").unlink()
    line = call("extract_coefficients", EXTRACTION, **EXTRACTING)
    assert "lists model.safetensors, which is missing: delete" in line


def test_a_result_made_by_hand_since_its_record_passes_without_it(study):
    """The record of a job is removed when the job begins anew: then nothing is claimed."""
    kept = study / "results/logs/intervene/m/step0/warm/record.json"
    write_intervention(study / EXTRACTING["intervention"], {"query_rows": 0.25})
    assert "not what intervene wrote" in call("extract_coefficients", EXTRACTION, **EXTRACTING)
    kept.unlink()
    assert call("extract_coefficients", EXTRACTION, **EXTRACTING) is None


def test_a_damaged_record_is_refused(study):
    record = study / "results/logs/prepare_knowledge/record.json"
    record.write_bytes(record.read_bytes()[:50])
    line = call("schedule_injections", SCHEDULE, **SCHEDULING)
    assert "prepare_knowledge/record.json: not a readable job record" in line


def test_a_failed_job_leaves_neither_outputs_nor_its_earlier_record(study):
    """The second of two outputs cannot be written: the first one goes too."""
    assert call("prepare_knowledge", KNOWLEDGE, **knowledge("output_")) is None
    paths = knowledge("output_")
    for name in ("output_passages", "output_probes"):
        (study / paths[name]).unlink()
    (study / paths["output_probes"]).mkdir()
    line = call("prepare_knowledge", KNOWLEDGE, **paths)
    (study / paths["output_probes"]).rmdir()
    assert "probes.parquet: Is a directory" in line
    assert not (study / paths["output_passages"]).exists()
    assert not (study / paths["record"]).exists()
