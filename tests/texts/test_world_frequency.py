"""How often a text tells of whom: Zipf's law, an endless tail, and today's bytes without either."""

import hashlib
import itertools
import re
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare, rankdata

from ke_steps.settings.texts import Frequency, World
from ke_steps.texts.world import (
    by_rank,
    continual_documents,
    inhabitants,
    pretraining_documents,
    recall_questions,
)
from ke_steps.texts.world_knowledge import knowledge_passages
from ke_steps.texts.world_words import CITY, PERSON, REMEDY

WORLD = World(seed=3, num_people=60, num_continual_entities=30, num_questions=101)
DOCUMENTS = {"pretraining": pretraining_documents, "continual": continual_documents}
TEMPLATES = {"pretraining": PERSON | CITY, "continual": REMEDY}
NUM_DOCUMENTS = 4000
TAIL = 0.3


def first(domain, count=NUM_DOCUMENTS, **frequency):
    return list(itertools.islice(DOCUMENTS[domain](WORLD, Frequency(**frequency)), count))


def subjects_of(domain):
    """Return the pattern that finds in a sentence the one of whom it tells."""
    templates = itertools.chain.from_iterable(TEMPLATES[domain].values())
    patterns = [
        template.removesuffix(".").format(subject="([A-Z][a-z]+(?: [A-Z][a-z]+)?)", value=r"\w+")
        for template in templates
    ]
    return re.compile("|".join(f"^{pattern}$" for pattern in patterns))


def told(domain, texts):
    """Return the names told of in each text, read from its sentences; a name for each sentence."""
    pattern = subjects_of(domain)
    for text in texts:
        found = [pattern.match(each) for each in text.removesuffix(".").split(". ")]
        yield [next(filter(None, match.groups())) for match in found]


def num_tellings(domain, texts):
    """Return how often each name is told of: a telling has a sentence for each fact."""
    sentences = Counter(itertools.chain.from_iterable(told(domain, texts)))
    num_facts = {city.name: 2 for city in inhabitants(WORLD).cities}
    return {name: count / num_facts.get(name, 5) for name, count in sentences.items()}


@pytest.mark.parametrize(
    ("domain", "sha256"),
    [
        ("pretraining", "2dd3d91f449c70c8c9c889e9d3270f157230caa25ae6fb4855794eccf36c419d"),
        ("continual", "5e96021978b8b642c06990b83051904264ade0845b28c1b06e2d4dd15dd27607"),
    ],
)
def test_even_text_is_byte_for_byte_what_it_was_before_frequencies(domain, sha256):
    for texts in (first(domain, 1000), list(itertools.islice(DOCUMENTS[domain](WORLD), 1000))):
        assert hashlib.sha256("\n".join(texts).encode()).hexdigest() == sha256


@pytest.mark.parametrize("domain", DOCUMENTS)
@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0, 1.3])
def test_tellings_follow_the_law(domain, exponent):
    names = [entity.name for entity in by_rank(WORLD, domain)]
    counts = num_tellings(domain, first(domain, zipf_exponent=exponent))
    assert counts.keys() <= set(names)
    observed = [counts.get(name, 0) for name in names]
    law = np.arange(1, len(names) + 1.0) ** -exponent
    assert chisquare(observed, law / law.sum() * sum(observed)).pvalue > 0.001
    if exponent:
        assert chisquare(observed).pvalue < 1e-50, "an even text would pass"


def test_ranks_have_nothing_to_do_with_names_or_kinds():
    """Of 150 worlds: ρ·√(n − 1) of each is 0 ± 1 where ranks are random."""
    scores = []
    for seed in range(150):
        world = World(seed=seed, num_people=30, num_continual_entities=1, num_questions=1)
        those = inhabitants(world)
        entities = by_rank(world, "pretraining")
        assert sorted(e.name for e in entities) == sorted(
            e.name for e in those.people + those.cities
        )
        ranks = np.arange(len(entities))
        names = rankdata([entity.name for entity in entities])
        cities = [entity in those.cities for entity in entities]
        before = [(those.people + those.cities).index(entity) for entity in entities]
        found = [np.corrcoef(ranks, each)[0, 1] for each in (names, cities, before)]
        scores.append(np.array(found) * np.sqrt(len(entities) - 1))
    assert np.all(abs(np.mean(scores, axis=0)) * np.sqrt(150) < 3.5)
    assert np.std(scores, axis=0) == pytest.approx(1, abs=0.25)


def test_one_exponent_has_the_ranks_of_another():
    steep, flat = (
        num_tellings("continual", first("continual", zipf_exponent=z)) for z in (1.3, 0.7)
    )
    assert (
        max(steep, key=steep.get) == max(flat, key=flat.get) == by_rank(WORLD, "continual")[0].name
    )


@pytest.mark.parametrize("domain", DOCUMENTS)
@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_newcomers_are_the_share_asked_for_and_told_of_once(domain, exponent):
    texts = first(domain, zipf_exponent=exponent, tail_fraction=TAIL)
    known = {entity.name for entity in by_rank(WORLD, domain)}
    counts = num_tellings(domain, texts)
    newcomers = counts.keys() - known
    assert {counts[name] for name in newcomers} == {1}, "five facts each, never told again"
    places = Counter(name for names in told(domain, texts) for name in set(names))
    assert {places[name] for name in newcomers} == {1}
    total = round(sum(counts.values()))
    assert binomtest(len(newcomers), total, TAIL).pvalue > 0.001

    law = np.arange(1, len(known) + 1.0) ** -exponent
    observed = [counts.get(entity.name, 0) for entity in by_rank(WORLD, domain)]
    assert chisquare(observed, law / law.sum() * sum(observed)).pvalue > 0.001


@pytest.mark.parametrize("domain", DOCUMENTS)
def test_newcomers_have_names_of_their_own_that_no_question_or_probe_asks_for(domain):
    those = inhabitants(WORLD)
    known = {entity.name for entity in those.people + those.cities + those.remedies}
    texts = first(domain, tail_fraction=TAIL)
    new = set(itertools.chain.from_iterable(told(domain, texts))) - known
    own = {name.split()[-1] for name in new}
    assert len(own) == len(new) > 1000
    assert not own & those.names
    passages = knowledge_passages(WORLD, 60)
    elsewhere = [text for passage in passages for text in passage.texts]
    elsewhere += [f"{p.input} {p.target}" for passage in passages for p in passage.probes]
    elsewhere += [f"{q.prompt} {q.choices}" for q in recall_questions(WORLD)]
    assert not own & set(re.findall(r"\w+", " ".join(elsewhere)))


def test_facts_of_the_known_stay_true():
    true = {
        template.format(subject=entity.name, value=value)
        for entity in by_rank(WORLD, "pretraining")
        for relation, value in entity.facts.items()
        for template in (PERSON | CITY)[relation]
    }
    known = {entity.name for entity in by_rank(WORLD, "pretraining")}
    texts = first("pretraining", zipf_exponent=1, tail_fraction=TAIL)
    sentences = [f"{each}." for text in texts for each in text.removesuffix(".").split(". ")]
    names = list(itertools.chain.from_iterable(told("pretraining", texts)))
    of_known = {each for each, name in zip(sentences, names, strict=True) if name in known}
    assert of_known <= true
    assert len(of_known) > 0.9 * len(true)


def test_a_stream_is_the_same_each_time_and_newcomers_whatever_their_share():
    frequency = {"zipf_exponent": 1, "tail_fraction": TAIL}
    assert first("continual", 300, **frequency) == first("continual", 300, **frequency)
    known = {entity.name for entity in by_rank(WORLD, "continual")}

    def newcomers(share):
        names = itertools.chain.from_iterable(
            told("continual", first("continual", 400, tail_fraction=share))
        )
        return [name for name in dict.fromkeys(names) if name not in known]

    few, many = newcomers(0.1), newcomers(0.5)
    assert 30 < len(few) < len(many)
    assert set(few) <= set(many)
