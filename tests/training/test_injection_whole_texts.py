"""An injected text begins and ends as documents do: the reference's all end with [50279]."""

import pandas as pd
import pytest

from ke_steps.artefacts import text_schemas
from ke_steps.texts.documents import TextDocument, tokenise
from ke_steps.texts.passages import read_passages
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.training.batches import prepend
from ke_steps.training.injection import injected_tokens
from tests.invented.injections import settings
from tests.invented.models import random_sequences
from tests.invented.tokenizers import BOS_ID, EOS_ID, MARK_A, MARK_B, MARK_C, lettered, marked


def injected(tokenizer, texts):
    """Return the token ids of texts that are injected at step 3, in rows 0, 1, …, by row."""
    passages = pd.DataFrame(
        [(passage, "once", 0, text) for passage, text in enumerate(texts)],
        columns=text_schemas.PASSAGES.names,
    )
    schedule = pd.DataFrame(
        [(1, 3, row, row, 0, "once") for row in range(len(texts))],
        columns=text_schemas.SCHEDULE.names,
    )
    size = len(texts)
    recipe = settings(batch_size_sequences=size, micro_batch_size_sequences=size)
    by_item = injected_tokens(schedule, passages, tokenizer, recipe)
    return [by_item[2 * size + row] for row in range(size)]


@pytest.mark.parametrize(("setting", "begin"), [("tokenizer", [BOS_ID]), ("never", [])])
def test_the_end_of_text_follows_each_text(tmp_path, setting, begin):
    tokenizer = load_tokenizer(lettered(tmp_path), setting)
    texts = injected(tokenizer, ["a b", "c"])
    assert texts == [[*begin, MARK_A, MARK_B, EOS_ID], [*begin, MARK_C, EOS_ID]]
    (sequence,) = random_sequences(1, 8)
    left = 8 - len(begin) - 3
    assert prepend(texts[0], sequence).tolist() == [*texts[0], *sequence[:left]]


def test_a_text_that_spells_out_the_token_ends_only_once(tmp_path):
    tokenizer = load_tokenizer(lettered(tmp_path), "never")
    ((*inside, end),) = injected(tokenizer, ["a</s>b"])
    assert end == EOS_ID
    assert EOS_ID not in inside


def test_the_real_passages_are_injected_as_documents_of_a_corpus_are(tmp_path, shared_data):
    folder = shared_data / "fictional_knowledge"
    passages = [
        passage
        for name, number in (("paraphrase70", 70), ("once60", 60))
        for passage in read_passages(
            folder / f"fictional_knowledge_paraphrased_{name}.json", number, ""
        )
    ]
    texts = [text for passage in passages[:70] for text in passage.texts[:10]]
    texts += [passage.texts[0] for passage in passages[70:]]
    assert len(texts) == 760
    tokenizer = load_tokenizer(marked(tmp_path), "tokenizer")
    found = injected(tokenizer, texts)
    documents = tokenise([TextDocument("", text) for text in texts], tokenizer)
    assert found == [document.token_ids.tolist() for document in documents]
    assert {ids[-1] for ids in found} == {EOS_ID}
    assert not any(EOS_ID in ids[:-1] for ids in found)
