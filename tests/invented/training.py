"""How the tests train: a few steps on one CPU, of a random model or of a tiny nursery."""

from types import SimpleNamespace

import torch

from ke_steps import pretrain_nursery
from ke_steps.artefacts.places import STATES, kept_checkpoint, state_of
from ke_steps.settings.checkpoints import PretrainNursery
from ke_steps.training.batches import Optimisation
from tests.invented.models import EOS_ID, PAD_ID

NUM_STEPS, BATCH_SIZE, LENGTH = 12, 4, 16

CPU = torch.device("cpu")

TOKENIZER = SimpleNamespace(pad_token_id=PAD_ID, eos_token_id=EOS_ID)


def optimisation(**changes):
    keywords = {
        "num_steps": NUM_STEPS,
        "batch_size_sequences": BATCH_SIZE,
        "micro_batch_size_sequences": BATCH_SIZE,
        "learning_rate": 1e-3,
        "warmup_fraction": 0.25,
        "min_learning_rate_ratio": 0.1,
        "weight_decay": 0.1,
        "max_gradient_norm": 1.0,
        "precision": "fp32",
    }
    return Optimisation(**(keywords | changes))


def nursery_settings(**changes):
    values = {
        "corpus": "world",
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_steps": 6,
        "batch_size_sequences": 4,
        "learning_rate": 1e-2,
        "warmup_fraction": 0.2,
        "min_learning_rate_ratio": 0.1,
        "weight_decay": 0.1,
        "seed": 5,
        "num_threads": 1,
        "steps": [0, 2, 6],
    }
    return PretrainNursery(**(values | changes))


def pretrain(folder, tokenizer, corpus, **changes):
    """Pretrain a nursery; return the manifests of the checkpoints that it keeps."""
    these = nursery_settings(**changes)
    folder.mkdir(parents=True, exist_ok=True)
    pretrain_nursery.run(
        tokenizer=tokenizer,
        sequences=corpus,
        output_training=folder / "training.parquet",
        settings=these,
    )
    return [kept_checkpoint(state_of(folder / STATES, step)) for step in these.steps]
