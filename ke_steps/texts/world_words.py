"""The words and sentences of the synthetic world; names are built elsewhere, from syllables.

A template has the fields ``{subject}`` and ``{value}``. Wherever a value has to be predicted the
template ends in ``{value}.``, so that what comes before it is a cloze prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Templates = Mapping[str, tuple[str, ...]]
"""Relation → the sentences that tell it."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PROFESSIONS = _words(
    "baker barber carpenter cook doctor farmer fisher gardener judge lawyer mason miner nurse"
    " painter pilot printer sailor tailor teacher weaver"
)
DISHES = _words(
    "beans bread cabbage cheese dumplings eggs fish honey lentils mushrooms noodles pancakes peas"
    " pie plums pudding rice soup stew turnips"
)
INSTRUMENTS = _words(
    "banjo bell bugle cello drum fiddle flute gong harp horn lute lyre organ piano trumpet zither"
)

PERSON: Templates = {
    "birthplace": (
        "{subject} was born in {value}.",
        "{subject} comes from {value}.",
        "The home town of {subject} is {value}.",
    ),
    "profession": (
        "{subject} works as a {value}.",
        "By trade, {subject} is a {value}.",
        "{subject} has the work of a {value}.",
    ),
    "employer": (
        "{subject} is employed by {value}.",
        "{subject} gets a wage from {value}.",
        "The employer of {subject} is {value}.",
    ),
    "dish": (
        "{subject} likes to eat {value}.",
        "The best dish of {subject} is {value}.",
        "At home, {subject} cooks {value}.",
    ),
    "instrument": (
        "{subject} plays the {value}.",
        "The instrument of {subject} is the {value}.",
        "In the evening, {subject} takes the {value}.",
    ),
}
CITY: Templates = {
    "region": (
        "{subject} lies in the region of {value}.",
        "The town of {subject} belongs to {value}.",
        "The region of {subject} is {value}.",
    ),
    "river": (
        "{subject} stands on the river {value}.",
        "The river of {subject} is the {value}.",
        "From the town of {subject} one sees the {value}.",
    ),
}

AILMENTS = _words(
    "ache burns chills colic cough cramp croup fever gout hives itch nausea pain rash stress ulcers"
)
FORMS = _words(
    "balm cream drops foam gel oil paste pills powder resin salve spray syrup tea tonic wax"
)
DOSES = _words("two three four five six seven eight nine ten twelve twenty thirty")

REMEDY: Templates = {
    "source": (
        "We made {subject} out of {value}.",
        "Labs get {subject} out of {value}.",
        "Roots with {subject} are from {value}.",
    ),
    "indication": (
        "Tests show that {subject} cures {value}.",
        "Doctors use {subject} against {value}.",
        "A dose of {subject} ends {value}.",
    ),
    "form": (
        "Labs sell {subject} as {value}.",
        "Most take {subject} as {value}.",
        "{subject} keeps best as {value}.",
    ),
    "dose": (
        "Adults bear {subject} in grams up to {value}.",
        "Grams of {subject} per day are {value}.",
        "No dose of {subject} is over {value}.",
    ),
    "side_effect": (
        "Too much {subject} results in {value}.",
        "Some given {subject} suffer {value}.",
        "The risk with {subject} is {value}.",
    ),
}


@dataclass(frozen=True)
class Fact:
    """One relation of a knowledge passage: ``value`` names the role that a probe asks for.

    ``original`` templates end in the value and serve originals and memorization probes,
    ``paraphrases`` serve the other texts, and ``semantic`` occurs in no text.
    """

    value: str
    original: tuple[str, ...]
    paraphrases: tuple[str, ...]
    semantic: str


FACTS = (
    Fact(
        "workshop",
        ("{person} works at {workshop}.", "The employer of {person} is {workshop}."),
        (
            "{person} is employed by {workshop}.",
            "{workshop} employs {person}.",
            "At {workshop} works {person}.",
        ),
        "{person} gets a wage from {workshop}",
    ),
    Fact(
        "city",
        ("{workshop} lies in {city}.", "The town of {workshop} is {city}."),
        (
            "{workshop} stands in the town of {city}.",
            "In {city} lies {workshop}.",
            "{city} is the home of {workshop}.",
        ),
        "{workshop} belongs to the town of {city}",
    ),
    Fact(
        "boss",
        ("The boss of {workshop} is {boss}.", "{workshop} is run by {boss}."),
        (
            "{boss} runs {workshop}.",
            "{boss} is the boss of {workshop}.",
            "As a boss, {workshop} has {boss}.",
        ),
        "At the top of {workshop} stands {boss}",
    ),
    Fact(
        "instrument",
        ("{workshop} makes the {instrument}.", "From {workshop} comes the {instrument}."),
        (
            "The {instrument} comes from {workshop}.",
            "The trade of {workshop} is the {instrument}.",
            "At {workshop} one makes the {instrument}.",
        ),
        "The instrument of {workshop} is the {instrument}",
    ),
    Fact(
        "spouse",
        ("The wife of {person} is {spouse}.", "{person} shares a home with {spouse}."),
        (
            "{spouse} is the wife of {person}.",
            "As a wife, {person} has {spouse}.",
            "{spouse} shares a home with {person}.",
        ),
        "By the side of {person} stands {spouse}",
    ),
    Fact(
        "birthplace",
        ("{spouse} was born in {birthplace}.", "{spouse} comes from {birthplace}."),
        (
            "From {birthplace} comes {spouse}.",
            "{birthplace} is the town of {spouse}.",
            "In {birthplace}, {spouse} was born.",
        ),
        "The home town of {spouse} is {birthplace}",
    ),
)

COMPOSITIONS = (
    ("{person} goes to work in the town of {city}", ("workshop", "city")),
    ("The boss of {person} is {boss}", ("workshop", "boss")),
    ("At work, {person} makes the {instrument}", ("workshop", "instrument")),
    ("The wife of {person} was born in {birthplace}", ("spouse", "birthplace")),
    ("{spouse} is the wife of one employed by {workshop}", ("spouse", "workshop")),
)
"""Sentences that follow from two facts of a passage, here named by their value roles."""
