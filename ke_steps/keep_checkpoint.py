r"""Take the checkpoint of one step out of what a nursery's pretraining left.

Reads the training table, beside which the states of training lie (``pretrain_nursery``). Writes the
checkpoint's directory as pretraining made it: safetensors, config, tokenizer, and last its
manifest. The files are copies, so that nothing done to a checkpoint touches the states.

    python -m ke_steps.keep_checkpoint --training results/pretrain_nursery/m/training.parquet \
        --output results/pretrain_nursery/m/step400/manifest.json --settings '{"step": 400}'
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ke_steps.artefacts.manifests import verify_weights
from ke_steps.artefacts.places import STATES, kept_checkpoint, state_of
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest, replacing
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import write_json
from ke_steps.settings.checkpoints import KeepCheckpoint


def run(*, training: Path, output: Path, settings: KeepCheckpoint) -> None:
    """Copy the checkpoint of a step, its manifest last."""
    kept = kept_checkpoint(state_of(training.parent / STATES, settings.step))
    try:
        manifest = read_checkpoint_manifest(kept)
        verify_weights(kept)
    except UserError as error:
        raise UserError(
            f"{training}: the states of training beside it are not whole; delete it and run again"
            f" ({error})"
        ) from error
    with replacing(output) as directory:
        for name in manifest["files"]:
            shutil.copyfile(kept.with_name(name), directory / name)
        write_json(output, manifest)


if __name__ == "__main__":
    main(run)
