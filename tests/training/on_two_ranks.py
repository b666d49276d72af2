"""Run by torchrun: the same trainings over several ranks, in several ways, one after the other.

torchrun --standalone --nproc-per-node 2 -m tests.training.on_two_ranks INPUTS.json FOLDER
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from ke_steps import inject_knowledge
from ke_steps.job.errors import Stopped, UserError
from ke_steps.models import ranks
from tests.invented.injections import DOSE, outputs, settings
from tests.invented.training import pretrain

OBSERVE = inject_knowledge._Probing.observe
DRAWN = []


def main(inputs, folder):
    files = {name: path and Path(path) for name, path in json.loads(inputs.read_text()).items()}
    inject_knowledge._Probing.observe = drawing
    corpus, tokenizer, gauge = (files.pop(name) for name in ("corpus", "tokenizer", "gauge"))
    for sharding in ("ddp", "fsdp"):
        os.environ["KE_STEPS_SHARDING"] = sharding
        inject(folder / sharding, files)
        stop_by_one_rank(folder / f"{sharding}_stopped", files)
        inject(folder / f"{sharding}_stopped", files)
        pretrain(folder / f"{sharding}_nursery", tokenizer, corpus)
    stop_by_one_rank(folder / "changed", files)
    os.environ["KE_STEPS_SHARDING"] = "ddp"
    inject(folder / "changed", files)
    inject(folder / "gauge", files | {"intervention": gauge}, compensate_gauge=True)
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


def tell(folder, said):
    """Write what a rank says."""
    path = folder.with_name(f"{folder.name}_{ranks.rank()}.txt")
    path.write_text(str(said))


main(*map(Path, sys.argv[1:]))
