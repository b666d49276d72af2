"""A tokenizer for what is scored."""

import pytest

from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.models import build_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """Return the tiny tokenizer, loaded."""
    return load_tokenizer(build_tokenizer(tmp_path_factory.mktemp("tokenizer")))
