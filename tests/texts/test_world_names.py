"""New words: none twice, none taken, against all words written out."""

import itertools
import tracemalloc

import pytest

from ke_steps.texts import world_names
from ke_steps.texts.world import FAMILY_NAME_ENDINGS, REMEDY_ENDINGS
from ke_steps.texts.world_names import SYLLABLES, new_words, scatter


def all_words(syllables, num_syllables, endings):
    stems = map("".join, itertools.product(syllables, repeat=num_syllables))
    return {(stem + ending).capitalize() for stem in stems for ending in endings}


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (9, 4), (30, 70)])
def test_scattering_is_a_permutation(rows, columns):
    numbers = range(rows * columns)
    assert sorted(scatter(n, rows, columns, "key") for n in numbers) == list(numbers)


def test_scattering_is_without_order_and_by_key():
    places = [scatter(n, 60, 70, "key") for n in range(4200)]
    steps = {later - earlier for earlier, later in itertools.pairwise(places)}
    assert len(steps) > 2000
    other = [scatter(n, 60, 70, "other") for n in range(4200)]
    assert sum(a == b for a, b in zip(places, other, strict=True)) < 10


def test_all_words_of_a_length_come_once_before_longer_ones(monkeypatch):
    syllables, endings = ("ba", "ra", "bra", "ta"), ("n", "lin")
    monkeypatch.setattr(world_names, "SYLLABLES", syllables)
    short, longer = (all_words(syllables, length, endings) for length in (3, 4))
    taken = set(sorted(short)[::5]) | set(sorted(longer)[::7])
    words = new_words("key", endings, taken)
    assert sorted(itertools.islice(words, len(short - taken))) == sorted(short - taken)
    assert sorted(itertools.islice(words, len(longer - taken))) == sorted(longer - taken)
    assert len(next(words)) > max(map(len, short))


def test_a_word_has_one_reading():
    for endings in (FAMILY_NAME_ENDINGS, REMEDY_ENDINGS):
        words = [
            a + b + ending for a, b in itertools.product(SYLLABLES, repeat=2) for ending in endings
        ]
        assert len(set(words)) == len(words) == len(SYLLABLES) ** 2 * len(endings)


def test_words_are_not_remembered():
    words = new_words("key", FAMILY_NAME_ENDINGS, frozenset())
    next(words)
    tracemalloc.start()
    num_words = sum(1 for _ in itertools.islice(words, 4000))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert num_words == 4000
    assert held < 4000 * 8, "less than one pointer a word"
