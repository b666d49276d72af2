"""Tiny nurseries, pretrained."""

from ke_steps import pretrain_nursery
from ke_steps.settings.checkpoints import PretrainNursery

LENGTH = 16


def settings(**changes):
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
    these = settings(**changes)
    manifests = [folder / f"step{step}" / "manifest.json" for step in these.steps]
    pretrain_nursery.run(
        tokenizer=tokenizer,
        sequences=corpus,
        output_manifests=manifests,
        output_training=folder / "training.parquet",
        settings=these,
    )
    return manifests
