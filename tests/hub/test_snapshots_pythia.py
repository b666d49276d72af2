"""Branches like those of PolyPythias' seeds: fp16 in a pickle, masks beside it, an empty main."""

import torch

from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.models.loading import load_model
from tests.invented.hub_checkpoints import fetch_from_hub, refuse
from tests.invented.hub_server import read_files
from tests.invented.models import (
    MAX_LENGTH_TOKENS,
    NUM_LAYERS,
    build_model,
    build_tokenizer,
    random_sequences,
)
from tests.invented.pickles import save_pickled

SEED = "EleutherAI/pythia-14m-seed1"


def build_branch(directory, model):
    """Return {path: content} of a branch; GPT-NeoX of old kept its causal mask in the weights."""
    half = model.half()
    mask = torch.ones(1, 1, MAX_LENGTH_TOKENS, MAX_LENGTH_TOKENS, dtype=torch.bool).tril()
    masks = {f"gpt_neox.layers.{n}.attention.bias": mask for n in range(NUM_LAYERS)}
    half.save_pretrained(directory)
    (directory / "model.safetensors").unlink()
    save_pickled(half.state_dict() | masks, directory, 1)
    build_tokenizer(directory)
    return read_files(directory)


def test_a_branch_of_a_seed_becomes_a_checkpoint(hub, tmp_path):
    expected = build_model("gpt_neox", seed=3).half()
    hub.repos[SEED] = {"main": {".gitattributes": b""}} | {
        branch: build_branch(tmp_path / branch, build_model("gpt_neox", seed=seed))
        for seed, branch in ((2, "step51"), (3, "step512"), (4, "step5120"))
    }
    asked = {"repo": SEED, "revision": "step{step}"}
    manifest = fetch_from_hub(tmp_path / "out" / "manifest.json", step=512, **asked)
    described = read_checkpoint_manifest(manifest)
    assert described["source"]["commit"] == hub.commit(SEED, "step512")
    loaded = load_model(manifest, device=torch.device("cpu"))
    ids = torch.tensor(random_sequences(2, 8))
    with torch.inference_mode():
        assert torch.equal(expected.float()(ids).logits, loaded(ids).logits)
    refuse(tmp_path / "main", "neither model.safetensors", repo=SEED, revision="main")
