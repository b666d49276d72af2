"""The package's tasks in our tokens."""

import pytest

from ke_steps.evaluate_retention import load_task_items
from ke_steps.job.errors import UserError
from ke_steps.scoring.olmo_eval import PackageTokenizer

MAX_LENGTH = 2048


def test_long_contexts_lose_their_beginning(tokenizer):
    limits = {"world": None, "num_items": 5}
    whole = load_task_items("sciq", tokenizer, max_length_tokens=MAX_LENGTH, **limits)
    short = load_task_items("sciq", tokenizer, max_length_tokens=60, **limits)
    for item, cut in zip(whole, short, strict=True):
        for span, cut_span in zip(item.choices, cut.choices, strict=True):
            assert len(cut_span.token_ids) <= 61
            assert span.token_ids[-len(cut_span.token_ids) :] == cut_span.token_ids
            assert span.token_ids[span.start :] == cut_span.token_ids[cut_span.start :]
    with pytest.raises(UserError, match="more than fit the model's context of 4"):
        load_task_items("piqa", tokenizer, max_length_tokens=4, **limits)


def test_package_tokenizer_keeps_ours(tokenizer):
    adapter = PackageTokenizer(tokenizer)
    ids = adapter.encode("the river", add_special_tokens=False)
    assert ids == tokenizer.encode("the river")
    assert adapter.encode("the river") == [*ids, tokenizer.eos_token_id]
    assert adapter.decode(ids) == "the river"
    assert (adapter.vocab_size, adapter.pad_token_id) == (tokenizer.vocab_size, 1)
