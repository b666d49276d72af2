"""Training over two ranks on the CPU: the numbers of one, in whichever way the model is spread."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from ke_steps.artefacts.interventions import write_intervention
from ke_steps.artefacts.learning_schemas import TRAINING
from ke_steps.artefacts.parquet import read_frame
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from tests.invented.injections import DOSE, NUM_STEPS, build_inputs, inject, outputs, written
from tests.invented.models import NUM_LAYERS, NUM_MEMORIES, build_sequences
from tests.invented.project import ROOT
from tests.invented.training import LENGTH, pretrain

pytestmark = pytest.mark.slow

SHARDINGS = ["ddp", "fsdp"]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tokenizer_manifest):
    folder = tmp_path_factory.mktemp("inputs")
    ids = np.random.default_rng(0).integers(2, 6, (24, LENGTH), dtype=np.int32)
    write_intervention(folder / "tempered", {"attention_temperature": [3.0, 2.0]})
    factors = np.exp(np.random.default_rng(1).uniform(-2, 2, (NUM_LAYERS, NUM_MEMORIES)))
    write_intervention(folder / "gauge", {"up_rows": factors, "memory_vectors": 1 / factors})
    return build_inputs(folder) | {
        "intervention": folder / "tempered",
        "gauge": folder / "gauge",
        "corpus": build_sequences(folder / "corpus", input_ids=ids),
        "tokenizer": tokenizer_manifest,
    }


@pytest.fixture(scope="module")
def alone(inputs, tmp_path_factory):
    """Return the folder of the same runs on one rank."""
    folder = tmp_path_factory.mktemp("alone")
    files = {k: v for k, v in inputs.items() if k not in {"corpus", "tokenizer", "gauge"}}
    inject(folder / "run", files, **DOSE)
    gauge = files | {"intervention": inputs["gauge"]}
    inject(folder / "gauge", gauge, **DOSE, compensate_gauge=True)
    pretrain(folder / "nursery", inputs["tokenizer"], inputs["corpus"])
    return folder


@pytest.fixture(scope="module")
def together(inputs, tmp_path_factory):
    """Return the folder of ``on_two_ranks.py``; what its ranks print is in ``log``."""
    folder = tmp_path_factory.mktemp("together")
    paths = {name: path and str(path) for name, path in inputs.items()}
    (folder / "inputs.json").write_text(json.dumps(paths))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    job = ["-m", "tests.training.on_two_ranks", folder / "inputs.json", folder]
    done = subprocess.run(
        [*launcher, "--nproc-per-node", "2", *job],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    (folder / "log").write_text(done.stderr)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_run_has_the_numbers_of_one_rank(sharding, alone, together):
    ours, theirs = (
        read_frame(folder / "training.parquet", TRAINING)
        for folder in (together / sharding, alone / "run")
    )
    assert len(ours) == NUM_STEPS
    np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE)
    for name, column in [
        ("probe_scores", "log_probability_sum"),
        ("updates", "memory_change"),
        ("updates", "key_norm"),
    ]:
        ours, theirs = (
            read_frame(folder / f"{name}.parquet")
            for folder in (together / sharding, alone / "run")
        )
        np.testing.assert_allclose(ours[column], theirs[column], rtol=TOLERANCE)
    ours, theirs = (
        load_file(folder / "model" / "model.safetensors")
        for folder in (together / sharding, alone / "run")
    )
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        np.testing.assert_allclose(weights, theirs[name], atol=1e-6)
    trained = read_checkpoint_manifest(together / sharding / "model" / "manifest.json")
    assert trained["source"]["attention_temperature"] == 2.0
    config = json.loads((together / sharding / "model" / "config.json").read_text())
    assert config["attention_temperature"] == 2.0
    assert not (together / sharding / "model" / "unfinished").exists()


def test_a_gauge_is_compensated_as_on_one_rank(alone, together):
    ours, theirs = (
        load_file(folder / "gauge" / "model" / "model.safetensors") for folder in (together, alone)
    )
    for name, weights in ours.items():
        largest = np.abs(theirs[name]).max()
        np.testing.assert_allclose(weights, theirs[name], atol=1e-6 * largest)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_nursery_has_the_checkpoints_of_one_rank(sharding, alone, together):
    folder = together / f"{sharding}_nursery"
    for step in (0, 2, 6):
        kept = f"states/checkpoint-{step}/kept"
        manifest = read_checkpoint_manifest(folder / kept / "manifest.json")
        assert manifest["step"] == step
        ours, theirs = (
            load_file(nursery / kept / "model.safetensors")
            for nursery in (folder, alone / "nursery")
        )
        assert ours.keys() == theirs.keys()
        for name, weights in ours.items():
            np.testing.assert_allclose(weights, theirs[name], atol=1e-6)


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_signal_to_one_rank_stops_all_and_going_on_gives_the_same_bytes(sharding, together):
    folder = together / f"{sharding}_stopped"
    said = [(together / f"{folder.name}_{rank}.txt").read_text() for rank in (0, 1)]
    assert said[0].startswith(f"stopped by SIGTERM after step 3 of {NUM_STEPS}; saved")
    assert said[1] == said[0]
    assert written(folder) == written(together / sharding)
    told = (together / "log").read_text().count("going on from the state saved after step 3")
    assert told == len(SHARDINGS)
    for rank in (0, 1):
        drew = [
            (together / f"{name}_drew_{rank}.txt").read_text() for name in (sharding, folder.name)
        ]
        assert drew[0] == drew[1]


def test_a_state_of_another_sharding_is_thrown_away(together):
    (line,) = [x for x in (together / "log").read_text().splitlines() if "starting over" in x]
    assert line.endswith("is of another job: is_sharded differ")
    assert written(together / "changed") == written(together / "ddp")


def test_a_batch_that_ranks_cannot_share_is_refused(together):
    for rank in (0, 1):
        said = (together / f"refused_{rank}.txt").read_text()
        assert "batch_size_sequences: 5 sequences cannot be shared equally by 2 GPUs" in said
    assert not any(path.exists() for path in outputs(together / "refused").values())
