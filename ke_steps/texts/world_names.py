"""Names of the synthetic world, built from syllables that each end in a vowel.

So that a word has but one reading: its syllables, and an ending that begins with a consonant.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Collection, Iterator, Sequence

ONSETS = (*"bdfjlmrstvwz", "br", "dr", "fl", "st", "tr")
SYLLABLES = tuple(onset + vowel for onset in ONSETS for vowel in "aeiou")
NUM_SYLLABLES_OF_NEW_WORDS = 3


class Namer:
    """Invents words that it never repeats and that are not in ``taken``."""

    def __init__(self, generator: random.Random, taken: frozenset[str] = frozenset()) -> None:
        self._generator = generator
        self.taken = set(taken)

    def word(self, *endings: str) -> str:
        """Return a new capitalised word; it gets longer where short ones have run out."""
        attempts = 0
        while (word := self._draw(endings, 2 + attempts // 20)) in self.taken:
            attempts += 1
        self.taken.add(word)
        return word

    def _draw(self, endings: Sequence[str], num_syllables: int) -> str:
        stem = "".join(self._generator.choices(SYLLABLES, k=num_syllables))
        return (stem + self._generator.choice(endings)).capitalize()

    def pool(self, count: int, *endings: str) -> tuple[str, ...]:
        """Return ``count`` new words."""
        return tuple(self.word(*endings) for _ in range(count))


def new_words(key: str, endings: Sequence[str], taken: Collection[str]) -> Iterator[str]:
    """Yield capitalised words without end, none twice, none of ``taken``, and remember none.

    They are numbered, and the number's digits, scattered over all words of a length, are the
    syllables and the ending: first the words of three syllables (two million with three endings),
    then those of four, and so on.

    Args:
        key: another gives them in another order.
        endings: none of which is another with syllables before it.
        taken: words to leave out.
    """
    base = len(SYLLABLES)
    for num_syllables in itertools.count(NUM_SYLLABLES_OF_NEW_WORDS):
        rows, columns = base ** (num_syllables - 1), base * len(endings)
        for number in range(rows * columns):
            place = scatter(number, rows, columns, f"{key} {num_syllables}")
            place, ending = divmod(place, len(endings))
            stem = ""
            for _ in range(num_syllables):
                place, syllable = divmod(place, base)
                stem += SYLLABLES[syllable]
            word = (stem + endings[ending]).capitalize()
            if word not in taken:
                yield word


def scatter(number: int, rows: int, columns: int, key: str) -> int:
    """Return where a random-looking permutation of 0…rows·columns - 1 puts a number.

    An unbalanced Feistel network over row and column: each round adds to one a hash of the other,
    which can be taken back; hence no two numbers meet.
    """
    row, column = divmod(number, columns)
    for turn in range(2):
        row = (row + _hash(f"{key} {turn} row {column}")) % rows
        column = (column + _hash(f"{key} {turn} column {row}")) % columns
    return row * columns + column


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
