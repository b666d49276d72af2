"""A continuation's tokens are those that it has behind its context; ids are written out by hand."""

import pytest
from tokenizers import Tokenizer, models

from ke_steps.job.errors import UserError
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.models import SENTENCES, build_tokenizer
from tests.invented.tokenizers import MARK, MARK_A, MARK_B, MARK_C, TWO_MARKS, lettered, write


@pytest.fixture(params=["normalizer", "metaspace"])
def tokenizer(tmp_path, request):
    return load_tokenizer(lettered(tmp_path, request.param))


def test_alone_a_continuation_would_get_a_mark_of_its_own(tmp_path):
    tokenizer = load_tokenizer(lettered(tmp_path, "normalizer"))
    assert tokenizer.encode(" c") == [MARK, MARK_C]


def test_a_continuation_gets_no_mark_of_its_own(tokenizer):
    assert tokenizer.encode_joined([("a b", " c")]) == [([MARK_A, MARK_B, MARK_C], 2)]


@pytest.mark.parametrize(
    ("context", "continuation", "ids", "start"),
    [
        # the space is a token by itself: the cut is clean
        ("a ", " c", [MARK_A, MARK, MARK_C], 2),
        # the space belongs to the continuation's first token, and goes to it
        ("a ", "c", [MARK_A, MARK_C], 1),
        # two spaces are one token, which no cut goes through
        ("a ", " ", [MARK_A, TWO_MARKS], 1),
    ],
)
def test_spaces_at_the_end_of_a_context(tokenizer, context, continuation, ids, start):
    assert tokenizer.encode_joined([(context, continuation)]) == [(ids, start)]


def merging(directory):
    """A tokenizer without words, whose tokens reach over letters."""
    pieces = ["<|endoftext|>", "a", "b", "c", "bc"]
    backend = Tokenizer(models.BPE({p: n for n, p in enumerate(pieces)}, [("b", "c")]))
    return write(directory, backend, eos_token=pieces[0])


def test_a_token_over_the_border_counts_to_the_context(tmp_path):
    tokenizer = load_tokenizer(merging(tmp_path))
    assert tokenizer.encode_joined([("ab", "ca"), ("ab", "ab")]) == [
        ([1, 4, 1], 2),
        ([1, 2, 1, 2], 2),
    ]


def test_a_continuation_that_a_token_swallows_is_refused(tmp_path):
    tokenizer = load_tokenizer(merging(tmp_path))
    with pytest.raises(
        UserError, match="joins all of 'c' with the end of the text before it, 'ab'"
    ):
        tokenizer.encode_joined([("ab", "c")])


def test_byte_level_ids_are_those_of_the_two_apart(tmp_path):
    tokenizer = load_tokenizer(build_tokenizer(tmp_path))
    for sentence in SENTENCES:
        words = sentence.split(" ")
        for place in range(1, len(words)):
            context, continuation = " ".join(words[:place]), " " + " ".join(words[place:])
            before, after = tokenizer.encode(context), tokenizer.encode(continuation)
            (joined,) = tokenizer.encode_joined([(context, continuation)])
            assert joined == (before + after, len(before))
