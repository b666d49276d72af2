"""The synthetic world: entities and their facts, told in endless seeded streams of documents.

Two domains share neither entities nor relations nor sentences. *Pretraining* tells of people
(birthplace, profession, employer, dish, instrument) and cities (region, river); *continual* tells
of remedies, so that continual learning shifts the distribution as PubMed does in the paper
(FACTS 2). Everything follows from ``settings.texts.World``: the same world, the same text.

How often whom a text tells of belongs to the text (``settings.texts.Frequency``): all alike, or
after Zipf's law, and beside the world's entities an endless tail of newcomers, people or remedies
that are told once, have names of their own and are asked for by no question.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ke_steps.settings.texts import Frequency, World, WorldDomain
from ke_steps.texts.world_names import Namer, new_words
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

NUM_CHOICES = 4
NUM_GIVEN_NAMES = 40
NUM_CITIES = 24
FAMILY_NAME_ENDINGS = ("n", "r", "l")
REMEDY_ENDINGS = ("in", "ol")
EVEN = Frequency()
"""All entities of a domain alike, and no others."""


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
    given_names: tuple[str, ...]
    names: frozenset[str]


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
    family = namer.pool(90 + world.num_people // 2, *FAMILY_NAME_ENDINGS)
    full_names = [f"{first} {last}" for first, last in itertools.product(given, family)]

    def entities(names: Sequence[str], relations: Templates) -> tuple[Entity, ...]:
        return tuple(_entity(name, relations, pools, generator) for name in names)

    return Inhabitants(
        people=entities(generator.sample(full_names, world.num_people), PERSON),
        cities=entities(cities, CITY),
        remedies=entities(namer.pool(world.num_continual_entities, *REMEDY_ENDINGS), REMEDY),
        pools=pools,
        given_names=given,
        names=frozenset(namer.taken),
    )


def _entity(
    name: str,
    relations: Iterable[str],
    pools: Mapping[str, Sequence[str]],
    generator: random.Random,
) -> Entity:
    return Entity(name, {relation: generator.choice(pools[relation]) for relation in relations})


def pretraining_documents(world: World, frequency: Frequency = EVEN) -> Iterator[str]:
    """Yield documents of the pretraining domain without end: one or two people or cities each."""
    return _documents(world, "pretraining", {**PERSON, **CITY}, frequency)


def continual_documents(world: World, frequency: Frequency = EVEN) -> Iterator[str]:
    """Yield documents of the continual-learning domain without end: one or two remedies each."""
    return _documents(world, "continual", REMEDY, frequency)


def by_rank(world: World, domain: WorldDomain) -> list[Entity]:
    """Return a domain's entities, the one that Zipf's law tells of most often first.

    A permutation by the world's seed alone: no name, no fact and no exponent has a part in it.
    """
    entities = _known(world, domain)
    return generator_for(world, f"{domain} ranks").sample(entities, len(entities))


def _known(world: World, domain: WorldDomain) -> tuple[Entity, ...]:
    those = inhabitants(world)
    return those.people + those.cities if domain == "pretraining" else those.remedies


def _documents(
    world: World, domain: WorldDomain, templates: Templates, frequency: Frequency
) -> Iterator[str]:
    """Yield documents that tell all facts of an entity, in any order and wording."""
    generator = generator_for(world, f"{domain} documents")
    told = _told(world, domain, frequency, generator)
    while True:
        sentences = []
        for entity in list(itertools.islice(told, generator.randint(1, 2))):
            for relation in generator.sample(list(entity.facts), len(entity.facts)):
                template = generator.choice(templates[relation])
                value = entity.facts[relation]
                sentences.append(template.format(subject=entity.name, value=value))
        yield " ".join(sentences)


def _told(
    world: World, domain: WorldDomain, frequency: Frequency, generator: random.Random
) -> Iterator[Entity]:
    """Yield those whom a text tells of, one after the other, without end."""
    known: Sequence[Entity] = _known(world, domain)
    sums = None
    if frequency.zipf_exponent:
        known = by_rank(world, domain)
        weights = (rank**-frequency.zipf_exponent for rank in range(1, len(known) + 1))
        sums = list(itertools.accumulate(weights))
    newcomers = _newcomers(world, domain)
    while True:
        if frequency.tail_fraction and generator.random() < frequency.tail_fraction:
            yield next(newcomers)
        else:
            yield generator.choices(known, cum_weights=sums)[0]


def _newcomers(world: World, domain: WorldDomain) -> Iterator[Entity]:
    """Yield entities that the world does not have, without end: people, or remedies.

    A person's family name is nobody else's; given names are those of the world's people, which no
    injected passage uses.
    """
    those = inhabitants(world)
    purpose = f"{domain} newcomers"
    generator = generator_for(world, purpose)
    endings = FAMILY_NAME_ENDINGS if domain == "pretraining" else REMEDY_ENDINGS
    for name in new_words(f"{world.seed} {purpose}", endings, those.names):
        if domain == "pretraining":
            full_name = f"{generator.choice(those.given_names)} {name}"
            yield _entity(full_name, PERSON, those.pools, generator)
        else:
            yield _entity(name, REMEDY, those.pools, generator)


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
