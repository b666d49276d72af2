"""An injected text begins as documents do."""

import pandas as pd
import pytest

from ke_steps.artefacts import text_schemas
from ke_steps.texts.tokenizers import load_tokenizer
from ke_steps.training.injection import injected_tokens
from tests.invented.injections import settings
from tests.invented.tokenizers import BOS_ID, MARK_A, MARK_B, MARK_C, lettered


@pytest.mark.parametrize(("setting", "begin"), [("tokenizer", [BOS_ID]), ("never", [])])
def test_the_token_comes_before_each_text(tmp_path, setting, begin):
    tokenizer = load_tokenizer(lettered(tmp_path), setting)
    texts = [(0, "once", 0, "a b"), (1, "once", 0, "c")]
    passages = pd.DataFrame(texts, columns=text_schemas.PASSAGES.names)
    rows = [(1, 3, 0, 0, 0, "once"), (2, 6, 1, 1, 0, "once")]
    schedule = pd.DataFrame(rows, columns=text_schemas.SCHEDULE.names)
    assert injected_tokens(schedule, passages, tokenizer, settings()) == {
        8: [*begin, MARK_A, MARK_B],
        21: [*begin, MARK_C],
    }
