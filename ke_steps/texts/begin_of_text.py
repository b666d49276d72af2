"""What every text of a model begins with: the begin-of-text token, or nothing.

Text here is a document of a corpus, an injected passage, a probe or the context of a task.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import tokenizers

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.settings.types import BeginOfText


def begin_of_text(
    backend: tokenizers.Tokenizer,
    bos_token_id: int | None,
    setting: BeginOfText,
    config: Path,
) -> tuple[int, ...]:
    """Return the ids that every text begins with, and note them in the provenance.

    Args:
        backend: whose post-processor says what ``tokenizer("x")`` of transformers begins with.
        bos_token_id: of the token that ``config`` names.
        setting: ``begin_of_text`` of the model.
        config: the tokenizer's ``tokenizer_config.json``.

    Raises:
        UserError: *always*, and the tokenizer has no such token.
    """
    ids = () if setting == "never" else _own(backend)
    if setting == "always" and not ids:
        if bos_token_id is None:
            raise UserError(
                "models.<name>.begin_of_text: 'always', but the tokenizer adds no begin-of-text"
                f" token and {config} names no bos_token that it has; say tokenizer or never"
            )
        ids = (bos_token_id,)
    words = [str(backend.id_to_token(each)) for each in ids]
    provenance.note("begin_of_text", " ".join(words) or "none")
    return ids


def _own(backend: tokenizers.Tokenizer) -> tuple[int, ...]:
    """Return what the tokenizer itself puts before a text; what it puts after does not count."""
    encoding = backend.encode("x")
    marked = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
    return tuple(each for each, _ in takewhile(lambda pair: pair[1], marked))
