"""What a run is given: its settings, its sequences and how ranks share a batch."""

import dataclasses

import numpy as np
import pytest

from ke_steps.artefacts.sequences import read_sequences
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import Training
from ke_steps.training.batches import Optimisation, TrainingSequences, micro_batch_size, read_corpus
from tests.invented.models import MAX_LENGTH_TOKENS, VOCAB_SIZE, build_sequences, random_sequences
from tests.invented.training import optimisation


def test_an_optimisation_is_what_the_settings_say():
    said = {
        "num_steps": 12,
        "batch_size_sequences": 8,
        "micro_batch_size_sequences": 2,
        "learning_rate": 3e-4,
        "warmup_fraction": 0.2,
        "min_learning_rate_ratio": 0.3,
        "weight_decay": 0.4,
        "max_gradient_norm": 5.0,
        "precision": "bf16",
        "num_epochs": 3,
        "schedule": "warmup_stable_decay",
        "decay_fraction": 0.5,
        "contribution_entropy_weight": 0.5,
        "compile": False,
    }
    others = {"corpus": "news", "num_injections": 2, "injection_interval_steps": 1}
    found = Optimisation.of(Training(**said, **others))
    assert dataclasses.asdict(found) == said


def test_items_are_prefixed_cut_back_and_wrap_round():
    sequences = random_sequences(5, 6)
    data = TrainingSequences(sequences, 4, first=3, prefixes={1: [9, 8], 3: range(2, 12)})
    assert len(data) == 4
    assert data[0].tolist() == sequences[3].tolist()
    assert data[1].tolist() == [9, 8, *sequences[4][:4]]
    assert data[2].tolist() == sequences[0].tolist()
    assert data[3].tolist() == [2, 3, 4, 5, 6, 7]


def test_epochs_repeat_the_sequences_in_their_order():
    sequences = random_sequences(7, 6)
    data = TrainingSequences(sequences, 5, first=4, num_epochs=3, prefixes={6: [9, 8]})
    assert len(data) == 15
    for item in range(15):
        expected = sequences[(4 + item % 5) % 7].tolist()
        assert data[item].tolist() == ([9, 8, *expected][:6] if item == 6 else expected)


def test_ranks_share_the_batch_in_micro_batches_that_divide_their_part(monkeypatch):
    def micro_batch(num_ranks, limit, batch=12):
        monkeypatch.setenv("WORLD_SIZE", str(num_ranks))
        return micro_batch_size(optimisation(batch_size_sequences=batch), limit)

    assert [micro_batch(1, limit) for limit in (1, 2, 4, 5, 12, 100)] == [1, 2, 4, 4, 12, 12]
    assert [micro_batch(2, limit) for limit in (1, 4, 6, 12)] == [1, 3, 6, 6]
    assert micro_batch(12, 4) == 1
    with pytest.raises(UserError, match=r"batch_size_sequences: 12 .* by 5 GPUs.*cluster"):
        micro_batch(5, 4)


def test_sequences_are_refused_when_too_few_or_foreign(tmp_path):
    path = build_sequences(tmp_path / "s.parquet", 8, MAX_LENGTH_TOKENS)
    tokens = read_corpus(path, optimisation(num_steps=2), vocab_size=VOCAB_SIZE, corpus="c")
    assert tokens.dtype == np.int32
    assert tokens.tolist() == random_sequences(8, MAX_LENGTH_TOKENS).tolist()
    with pytest.raises(UserError, match=r"corpora\.news\.num_sequences.*needs 12"):
        read_corpus(path, optimisation(num_steps=3), vocab_size=320, corpus="news")
    three_epochs = optimisation(num_steps=6, num_epochs=3)
    assert len(read_corpus(path, three_epochs, vocab_size=320, corpus="news")) == 8
    with pytest.raises(UserError, match="outside the model's vocabulary of 100"):
        read_sequences(path, vocab_size=100)
