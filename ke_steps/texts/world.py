"""The synthetic world: entities and their facts, told in endless seeded streams of documents.

Two domains share neither entities nor relations nor sentences. *Pretraining* tells of people
(birthplace, profession, employer, dish, instrument) and cities (region, river); *continual* tells
of remedies, so that continual learning shifts the distribution as PubMed does in the paper
(FACTS 2). Everything follows from ``settings.texts.World``: the same world, the same text.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ke_steps.settings.texts import World
from ke_steps.texts.world_words import (
    AILMENTS,
    CITY,
    DISHES,
    DOSES,
    FORMS,
    INSTRUMENTS,
    PERSON,
    PROFESSIONS,
    REMEDY,
    Templates,
)

ONSETS = (*"bdfjlmrstvwz", "br", "dr", "fl", "st", "tr")
SYLLABLES = tuple(onset + vowel for onset in ONSETS for vowel in "aeiou")
NUM_CHOICES = 4
NUM_GIVEN_NAMES = 40
NUM_CITIES = 24


@dataclass(frozen=True)
class Entity:
    """A name and its facts, relation → value: one value per relation."""

    name: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Question:
    """A cloze question on a pretrained fact: ``prompt`` + space + ``choices[label]`` is true."""

    prompt: str
    choices: tuple[str, ...]
    label: int


@dataclass(frozen=True)
class Inhabitants:
    """All entities of both domains; ``pools`` has the values of each relation."""

    people: tuple[Entity, ...]
    cities: tuple[Entity, ...]
    remedies: tuple[Entity, ...]
    pools: Mapping[str, tuple[str, ...]]
    names: frozenset[str]


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


def generator_for(world: World, purpose: str) -> random.Random:
    """Return a generator that depends on the world's seed and on what it is for."""
    return random.Random(f"{world.seed} {purpose}")


@cache
def inhabitants(world: World) -> Inhabitants:
    """Return the entities of a world."""
    generator = generator_for(world, "inhabitants")
    namer = Namer(generator)
    cities = namer.pool(NUM_CITIES, "by", "ton")
    pools = {
        "birthplace": cities,
        "profession": PROFESSIONS,
        "employer": namer.pool(24, "co", "x"),
        "dish": DISHES,
        "instrument": INSTRUMENTS,
        "region": namer.pool(16, "land", "mark"),
        "river": namer.pool(24, "", "s"),
        "source": namer.pool(16, "rum", "lia"),
        "indication": AILMENTS,
        "form": FORMS,
        "dose": DOSES,
        "side_effect": AILMENTS,
    }
    given = namer.pool(NUM_GIVEN_NAMES, "")
    family = namer.pool(90 + world.num_people // 2, "n", "r", "l")
    full_names = [f"{first} {last}" for first, last in itertools.product(given, family)]

    def entities(names: Sequence[str], relations: Templates) -> tuple[Entity, ...]:
        return tuple(
            Entity(name, {relation: generator.choice(pools[relation]) for relation in relations})
            for name in names
        )

    return Inhabitants(
        people=entities(generator.sample(full_names, world.num_people), PERSON),
        cities=entities(cities, CITY),
        remedies=entities(namer.pool(world.num_continual_entities, "in", "ol"), REMEDY),
        pools=pools,
        names=frozenset(namer.taken),
    )


def pretraining_documents(world: World) -> Iterator[str]:
    """Yield documents of the pretraining domain without end: one or two people or cities each."""
    those = inhabitants(world)
    return _documents(
        those.people + those.cities,
        {**PERSON, **CITY},
        generator_for(world, "pretraining documents"),
    )


def continual_documents(world: World) -> Iterator[str]:
    """Yield documents of the continual-learning domain without end: one or two remedies each."""
    return _documents(
        inhabitants(world).remedies, REMEDY, generator_for(world, "continual documents")
    )


def _documents(
    entities: Sequence[Entity], templates: Templates, generator: random.Random
) -> Iterator[str]:
    """Yield documents that tell all facts of an entity, in any order and wording."""
    while True:
        told = generator.choices(entities, k=generator.randint(1, 2))
        sentences = []
        for entity in told:
            for relation in generator.sample(list(entity.facts), len(entity.facts)):
                template = generator.choice(templates[relation])
                value = entity.facts[relation]
                sentences.append(template.format(subject=entity.name, value=value))
        yield " ".join(sentences)


def recall_questions(world: World) -> list[Question]:
    """Return ``num_questions`` four-way questions, each on another fact of a person.

    Distractors are other values of the same relation; labels are as even as possible.
    """
    generator = generator_for(world, "recall questions")
    those = inhabitants(world)
    facts = [(person, relation) for person in those.people for relation in person.facts]
    labels = [index % NUM_CHOICES for index in range(world.num_questions)]
    generator.shuffle(labels)
    questions = []
    for (person, relation), label in zip(
        generator.sample(facts, world.num_questions), labels, strict=True
    ):
        answer = person.facts[relation]
        others = [value for value in those.pools[relation] if value != answer]
        choices = generator.sample(others, NUM_CHOICES - 1)
        choices.insert(label, answer)
        prompt = generator.choice(PERSON[relation]).removesuffix(" {value}.")
        questions.append(Question(prompt.format(subject=person.name), tuple(choices), label))
    return questions
