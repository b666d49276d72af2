"""Injection: batches against brute force, and the moments of probing."""

import numpy as np
import pytest

from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.training.batches import TrainingSequences
from ke_steps.training.injection import (
    first_sequence,
    injected_tokens,
    injection_steps,
    moments_of_step,
)
from tests.invented.injections import BATCH_SIZE, LENGTH, NUM_STEPS, PASSAGES, SCHEDULE, settings
from tests.invented.models import EOS_ID, build_tokenizer, random_sequences


def test_batches_equal_brute_force(tmp_path):
    tokenizer = load_tokenizer(build_tokenizer(tmp_path))
    sequences = random_sequences(30, LENGTH, seed=1)
    prefixes = injected_tokens(SCHEDULE, PASSAGES, tokenizer, settings())
    data = TrainingSequences(sequences, NUM_STEPS * BATCH_SIZE, first=9, prefixes=prefixes)
    for step in range(1, NUM_STEPS + 1):
        for row in range(BATCH_SIZE):
            plain = list(sequences[(9 + (step - 1) * BATCH_SIZE + row) % 30])
            due = SCHEDULE[(SCHEDULE["train_step"] == step) & (SCHEDULE["batch_row"] == row)]
            for _, injection in due.iterrows():
                text = PASSAGES[
                    (PASSAGES["passage_id"] == injection["passage_id"])
                    & (PASSAGES["text_index"] == injection["text_index"])
                ]["text"].item()
                plain = [*tokenizer.encode(text), EOS_ID, *plain][:LENGTH]
            assert data[(step - 1) * BATCH_SIZE + row].tolist() == plain
    assert len(prefixes) == len(SCHEDULE)


def test_first_sequence_is_the_corpus_start_for_seed_0_only():
    starts = [first_sequence(seed, 1000) for seed in range(6)]
    assert starts[0] == 0
    assert starts[3] == np.random.default_rng(3).integers(1000)
    assert len(set(starts)) == 6


def test_moments_after_the_last_injection_of_all_epochs():
    moments = moments_of_step(
        settings(num_steps=30, num_epochs=2, injection_interval_steps=4, probe_interval_steps=3)
    )
    assert injection_steps(settings(num_steps=30, num_epochs=2)) == [3, 6, 18, 21]
    flat = [(step, *moment) for step, those in sorted(moments.items()) for moment in those]
    assert flat == [
        (0, "start", None),
        (3, "before", 1),
        (4, "after", 1),
        (7, "before", 2),
        (8, "after", 2),
        (18, "before", 3),
        (19, "after", 3),
        (22, "before", 4),
        (23, "after", 4),
        (26, "later", None),
        (29, "later", None),
        (30, "end", None),
    ]


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_moments(interval):
    moments = moments_of_step(settings(injection_interval_steps=interval))
    flat = {
        (moment, injection): step for step, those in moments.items() for moment, injection in those
    }
    assert flat == {
        ("start", None): 0,
        ("before", 1): interval - 1,
        ("after", 1): interval,
        ("before", 2): 2 * interval - 1,
        ("after", 2): 2 * interval,
        ("end", None): NUM_STEPS,
    }
    assert len(moments) == len(set(flat.values()))
