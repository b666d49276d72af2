"""Training over two ranks on the CPU: the numbers of one, in whichever way the model is spread."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_weights

from ke_steps.artefacts.interventions import write_intervention
from ke_steps.artefacts.learning_schemas import TRAINING
from ke_steps.artefacts.parquet import read_frame
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.models.loading import load_model
from tests.invented.injections import DOSE, NUM_STEPS, build_inputs, inject, outputs, written
from tests.invented.models import NUM_LAYERS, NUM_MEMORIES, build_sequences
from tests.invented.project import ROOT
from tests.invented.training import CPU, LENGTH, pretrain
from tests.training.on_two_ranks import CHANGES

pytestmark = pytest.mark.slow

SHARDINGS = ["ddp", "fsdp"]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tokenizer_manifest):
    folder = tmp_path_factory.mktemp("inputs")
    ids = np.random.default_rng(0).integers(2, 6, (24, LENGTH), dtype=np.int32)
    write_intervention(folder / "tempered", {"attention_temperature": [3.0, 2.0]})
    factors = np.exp(np.random.default_rng(1).uniform(-2, 2, (NUM_LAYERS, NUM_MEMORIES)))
    changes = {
        "gauge": {"up_rows": factors, "memory_vectors": 1 / factors},
        "noise": {
            "memory_vectors_noise": factors,
            "up_rows_noise": 1 / factors,
            "noise_seed": 3,
        },
        "queries": {"query_rows": 0.5},
    }
    for name in CHANGES:
        write_intervention(folder / name, changes[name])
    return (
        build_inputs(folder)
        | {name: folder / name for name in CHANGES}
        | {
            "intervention": folder / "tempered",
            "corpus": build_sequences(folder / "corpus", input_ids=ids),
            "tokenizer": tokenizer_manifest,
        }
    )


@pytest.fixture(scope="module")
def alone(inputs, tmp_path_factory):
    """Return the folder of the same runs on one rank."""
    folder = tmp_path_factory.mktemp("alone")
    others = {"corpus", "tokenizer", *CHANGES}
    files = {k: v for k, v in inputs.items() if k not in others}
    inject(folder / "run", files, **DOSE)
    inject(folder / "bf16", files, **DOSE, precision="bf16", micro_batch_size_sequences=1)
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
    for name in ("config.json", "generation_config.json"):
        ours, theirs = (folder / "model" / name for folder in (together / sharding, alone / "run"))
        assert ours.read_bytes() == theirs.read_bytes()
    assert not (together / sharding / "model" / "unfinished").exists()


def test_in_bf16_a_model_in_parts_learns_as_one_under_autocast(alone, together):
    """Its layers are rounded as autocast rounds their matrices, so that it begins alike.

    Then the order of sums over ranks moves fp32 weights by their rounding, and some of them to the
    next number of bf16: at most by half a unit in its last place, 2⁻⁹ of the weight.
    """
    ours, theirs = (
        read_frame(folder / "bf16" / "training.parquet", TRAINING) for folder in (together, alone)
    )
    assert ours["loss_nats"][0] == pytest.approx(theirs["loss_nats"][0], rel=1e-7)
    np.testing.assert_allclose(ours, theirs, rtol=2**-9)


def test_gradients_are_added_up_once_in_a_step_and_in_fp32(together):
    for rank in (0, 1):
        seen = json.loads((together / f"bf16_saw_{rank}.txt").read_text())
        # one for each layer, one for all else
        assert seen["reductions"] == NUM_STEPS * (NUM_LAYERS + 1)
        assert seen["added"] == "torch.float32"
        assert seen["layer"] == ["torch.bfloat16"]
        assert seen["head"] == seen["stays"] == ["torch.float32"]


@pytest.mark.parametrize("name", CHANGES)
def test_interventions_change_the_parts_as_they_change_the_whole(name, inputs, together):
    ours = load_weights(together / f"{name}.safetensors")
    model = load_model(inputs["checkpoint"], intervention=inputs[name], device=CPU)
    plain = load_model(inputs["checkpoint"], device=CPU).state_dict()
    assert ours.keys() == model.state_dict().keys()
    assert any(not torch.equal(ours[key], value) for key, value in plain.items())
    for key, value in model.state_dict().items():
        assert torch.equal(ours[key], value), key


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
