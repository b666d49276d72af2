"""How the tests train: a few steps on one CPU."""

from types import SimpleNamespace

import torch

from ke_steps.training.batches import Optimisation
from tests.invented.models import (
    EOS_ID,
    PAD_ID,
)

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
