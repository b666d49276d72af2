"""Run by torchrun: the same trainings over several ranks, in several ways, one after the other.

torchrun --standalone --nproc-per-node 2 -m tests.training.on_two_ranks INPUTS.json FOLDER
"""

import json
import os
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from pytest import MonkeyPatch
from safetensors.torch import save_file
from torch import distributed

from ke_steps import inject_knowledge
from ke_steps.job.errors import Stopped, UserError
from ke_steps.models import ranks
from ke_steps.models.loading import load_model
from ke_steps.training import train
from ke_steps.training.sharding import gather_whole, shard
from tests.invented.injections import DOSE, outputs, settings
from tests.invented.training import pretrain

CPU = torch.device("cpu")
CHANGES = ("gauge", "noise", "queries")
"""Interventions that are applied to a model in parts."""

OBSERVE = inject_knowledge._Probing.observe
DRAWN = []


def main(inputs, folder):
    files = {name: path and Path(path) for name, path in json.loads(inputs.read_text()).items()}
    inject_knowledge._Probing.observe = drawing
    corpus, tokenizer = (files.pop(name) for name in ("corpus", "tokenizer"))
    changes = {name: files.pop(name) for name in CHANGES}
    for sharding in ("ddp", "fsdp"):
        os.environ["KE_STEPS_SHARDING"] = sharding
        inject(folder / sharding, files)
        stop_by_one_rank(folder / f"{sharding}_stopped", files)
        inject(folder / f"{sharding}_stopped", files)
        pretrain(folder / f"{sharding}_nursery", tokenizer, corpus)
    load_changed(folder, files["checkpoint"], changes)
    with looking(folder / "bf16"):
        inject(folder / "bf16", files, precision="bf16")
    stop_by_one_rank(folder / "changed", files)
    os.environ["KE_STEPS_SHARDING"] = "ddp"
    inject(folder / "changed", files)
    inject(folder / "gauge", files | {"intervention": changes["gauge"]}, compensate_gauge=True)
    try:
        inject(folder / "refused", files, batch_size_sequences=5, micro_batch_size_sequences=5)
    except UserError as error:
        tell(folder / "refused", error)
    ranks.leave()


def drawing(self, model, done):
    """Draw a random number at every step, as dropout would."""
    DRAWN.append(torch.rand(()).item())
    OBSERVE(self, model, done)


def inject(folder, files, **changes):
    """Run the step with two micro-batches a rank, where the pretraining has one, and a dose."""
    these = settings(**({"micro_batch_size_sequences": 1} | DOSE | changes))
    inject_knowledge.run(**files, **outputs(folder), settings=these)
    tell(folder.with_name(f"{folder.name}_drew"), DRAWN[-1])
    ranks.wait()


def stop_by_one_rank(folder, files):
    """Stop a run by a signal that the last rank alone gets, after two steps."""

    def stopping(self, model, done):
        drawing(self, model, done)
        if done == 2 and not ranks.is_first():
            signal.raise_signal(signal.SIGTERM)

    inject_knowledge._Probing.observe = stopping
    try:
        inject(folder, files)
    except Stopped as stop:
        tell(folder, stop)
    inject_knowledge._Probing.observe = drawing


def load_changed(folder, checkpoint, changes):
    """Load a checkpoint in parts, with interventions; the first rank writes its whole weights."""
    for name, intervention in changes.items():
        cut = partial(shard, device=CPU, precision="fp32")
        model = load_model(checkpoint, intervention=intervention, device=CPU, shard=cut)
        whole = gather_whole(model)
        if ranks.is_first():
            save_file(
                {k: v.clone() for k, v in whole.state_dict().items()},
                folder / f"{name}.safetensors",
            )


@contextmanager
def looking(folder):
    """Tell how often gradients are added up, and in which dtypes weights are used, inside."""
    seen = {"reductions": 0, "layer": set(), "head": set(), "stays": set()}
    reduce, prepare = distributed.reduce_scatter_single, train._prepare

    def reducing(**keywords):
        seen["reductions"] += 1
        seen["added"] = str(keywords["input"].dtype)
        return reduce(**keywords)

    def note(name):
        return lambda module, given: seen[name].add(str(module.weight.dtype))

    def preparing(*arguments):
        model = prepare(*arguments)
        model.model.layers[1].mlp.down_proj.register_forward_pre_hook(note("layer"))
        model.lm_head.register_forward_pre_hook(note("head"))
        seen["stays"] = {str(each.dtype) for each in model.parameters()}
        return model

    with MonkeyPatch.context() as patch:
        patch.setattr(distributed, "reduce_scatter_single", reducing)
        patch.setattr(train, "_prepare", preparing)
        yield
    tell(folder.with_name("bf16_saw"), json.dumps(seen, default=sorted))


def tell(folder, said):
    """Write what a rank says."""
    path = folder.with_name(f"{folder.name}_{ranks.rank()}.txt")
    path.write_text(str(said))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
