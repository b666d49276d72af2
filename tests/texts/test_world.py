"""The synthetic world: deterministic, true to its facts, and its domains kept apart."""

import hashlib
import itertools
import re
import subprocess
import sys
from collections import Counter

import pytest

from ke_steps.settings.texts import World
from ke_steps.texts.world import (
    continual_documents,
    inhabitants,
    pretraining_documents,
    recall_questions,
)
from ke_steps.texts.world_knowledge import knowledge_passages
from ke_steps.texts.world_words import CITY, PERSON, REMEDY
from ke_steps.train_tokenizer import train_tokenizer

WORLD = World(seed=3, num_people=60, num_continual_entities=30, num_questions=101)
PASSAGES = knowledge_passages(WORLD, 25)
DOCUMENTS = {"pretraining": pretraining_documents, "continual": continual_documents}
OPENINGS = {"The", "From", "At", "In", "As", "By"}


def first(documents, count=400):
    return list(itertools.islice(documents, count))


def sentences(text):
    return [sentence + "." for sentence in text.removesuffix(".").split(". ")]


def new_names(text):
    """Capitalised words that the world's two domains do not have."""
    return set(re.findall(r"[A-Z][a-z]+", text)) - inhabitants(WORLD).names - OPENINGS


def stream_digest(world):
    texts = first(pretraining_documents(world)) + first(continual_documents(world))
    texts += [text for passage in knowledge_passages(world, 5) for text in passage.texts]
    texts += [repr(question) for question in recall_questions(world)]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def test_the_same_world_gives_the_same_text_in_another_process():
    code = "from tests.texts import test_world as t; print(t.stream_digest(t.WORLD))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == stream_digest(WORLD)


def test_another_seed_gives_another_world():
    other = WORLD.model_copy(update={"seed": 4})
    assert not set(first(pretraining_documents(WORLD))) & set(first(pretraining_documents(other)))


def test_the_number_of_questions_changes_no_text():
    fewer = WORLD.model_copy(update={"num_questions": 3})
    assert first(pretraining_documents(WORLD)) == first(pretraining_documents(fewer))
    assert knowledge_passages(WORLD, 3) == knowledge_passages(fewer, 3)


def test_more_passages_only_add():
    assert knowledge_passages(WORLD, 7) == PASSAGES[:7]


@pytest.mark.parametrize("domain", ["pretraining", "continual"])
def test_every_sentence_tells_a_fact_and_every_fact_is_told(domain):
    those = inhabitants(WORLD)
    entities = those.people + those.cities if domain == "pretraining" else those.remedies
    templates = {
        **PERSON,
        **CITY,
        **REMEDY,
    }
    true = {
        template.format(subject=entity.name, value=value)
        for entity in entities
        for relation, value in entity.facts.items()
        for template in templates[relation]
    }
    documents = DOCUMENTS[domain](WORLD)
    told = {sentence for document in first(documents, 3000) for sentence in sentences(document)}
    assert told == true


def test_people_have_five_facts_and_names_of_their_own():
    people = inhabitants(WORLD).people
    assert len({person.name for person in people}) == len(people) == 60
    assert all(len(person.facts) == 5 for person in people)


@pytest.mark.parametrize("num_people", [1, 2, 5000])
def test_any_number_of_people(num_people):
    world = World(seed=0, num_people=num_people, num_continual_entities=1, num_questions=1)
    assert len(inhabitants(world).people) == num_people
    assert first(continual_documents(world), 5)


def test_pretraining_templates_end_in_the_value_and_are_three_or_more():
    for templates in (PERSON, CITY, REMEDY):
        for relation, variants in templates.items():
            assert len(set(variants)) >= 3, relation
            assert all(variant.endswith(" {value}.") for variant in variants)


def test_domains_share_neither_names_nor_relations_nor_sentences():
    those = inhabitants(WORLD)
    names = [entity.name for entity in those.people + those.cities + those.remedies]
    assert len(set(names)) == len(names)
    pretraining = PERSON | CITY
    assert not pretraining.keys() & REMEDY.keys()
    old = set(itertools.chain.from_iterable(pretraining.values()))
    assert not old & set(itertools.chain.from_iterable(REMEDY.values()))


def test_questions_have_one_true_choice_and_balanced_labels():
    those = inhabitants(WORLD)
    questions = recall_questions(WORLD)
    assert len(questions) == len({question.prompt for question in questions}) == 101
    assert set(Counter(q.label for q in questions).values()) == {25, 26}
    true = {
        template.format(subject=person.name, value=value)
        for person in those.people
        for relation, value in person.facts.items()
        for template in PERSON[relation]
    }
    for question in questions:
        assert len(set(question.choices)) == 4
        verdicts = [f"{question.prompt} {choice}." in true for choice in question.choices]
        assert verdicts == [index == question.label for index in range(4)]


def test_more_questions_than_facts_are_refused():
    with pytest.raises(ValueError, match="num_questions 6 exceeds the 5 facts of num_people 1"):
        World(seed=0, num_people=1, num_continual_entities=1, num_questions=6)


def test_passages_tell_six_facts_ten_times_about_new_names():
    names = [new_names(passage.texts[0]) for passage in PASSAGES]
    assert all(len(words) == 7 for words in names)
    assert len(set().union(*names)) == 7 * len(PASSAGES)
    documents = first(pretraining_documents(WORLD)) + first(continual_documents(WORLD))
    assert not set().union(*names) & set(re.findall(r"\w+", " ".join(documents)))
    for passage in PASSAGES:
        assert len(set(passage.texts)) == 10
        assert all(len(sentences(text)) == 6 for text in passage.texts)
        assert all(new_names(text) == new_names(passage.texts[0]) for text in passage.texts)
        original = set(sentences(passage.texts[0]))
        assert not any(original & set(sentences(text)) for text in passage.texts[1:])


def test_probes_are_five_of_each_kind_and_short():
    for passage in PASSAGES:
        kinds = Counter(probe.kind for probe in passage.probes)
        assert kinds == {"memorization": 5, "semantic": 5, "compositional": 5}
        for probe in passage.probes:
            assert probe.input == probe.input.strip() != ""
            assert 1 <= len(probe.target.split()) <= 3
            assert re.fullmatch(r"\w+( \w+)*", probe.target)


def test_memorization_probes_are_sentences_of_the_original():
    for passage in PASSAGES:
        for probe in passage.probes:
            if probe.kind == "memorization":
                assert f"{probe.input} {probe.target}." in sentences(passage.texts[0])


def test_prefixes_of_other_probes_occur_in_no_text():
    everything = "\n".join(text for passage in PASSAGES for text in passage.texts)
    for passage in PASSAGES:
        for probe in passage.probes:
            assert (probe.input in everything) == (probe.kind == "memorization")


def test_semantic_probes_ask_what_one_sentence_tells():
    for passage in PASSAGES:
        for probe in passage.probes:
            if probe.kind == "semantic":
                asked = new_names(probe.input) - new_names(probe.target)
                for text in passage.texts:
                    told = [s for s in sentences(text) if asked <= new_names(s)]
                    assert any(probe.target in sentence for sentence in told)


def test_compositional_answers_need_two_sentences_joined_by_a_new_name():
    for passage in PASSAGES:
        for probe in passage.probes:
            if probe.kind != "compositional":
                continue
            asked = new_names(probe.input)
            for text in passage.texts:
                about = [s for s in sentences(text) if asked <= new_names(s)]
                answers = [s for s in sentences(text) if probe.target in s]
                assert about
                assert not set(about) & set(answers)
                assert any(
                    new_names(one) - asked & new_names(two) for one in about for two in answers
                )


@pytest.mark.parametrize("num_people", [120, 240])
def test_texts_fit_a_sequence_of_128_tokens(num_people):
    world = World(seed=0, num_people=num_people, num_continual_entities=60, num_questions=1)
    tokenizer = train_tokenizer(first(pretraining_documents(world), 4000), 1024)
    assert tokenizer.get_vocab_size() == 1024

    def lengths(texts):
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]

    passages = lengths([t for p in knowledge_passages(world, 60) for t in p.texts])
    assert 60 < sum(passages) / len(passages) < 90
    assert max(passages) < 120
    names = lengths([person.name for person in inhabitants(world).people])
    assert sum(names) / len(names) < 2.5
