"""Tokenising without transformers: a directory's ``tokenizer.json`` and its special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers

from ke_steps.artefacts.manifests import verify_descriptions
from ke_steps.job.errors import UserError
from ke_steps.job.files import read_object
from ke_steps.settings.types import BeginOfText
from ke_steps.texts.begin_of_text import begin_of_text

FILES = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer and the special ids that the workflow uses."""

    backend: tokenizers.Tokenizer
    eos_token_id: int
    pad_token_id: int
    num_embeddings: int | None = None
    """Rows of the model's embedding; None where no model is beside the tokenizer."""

    begin_ids: tuple[int, ...] = ()
    """What a text begins with: the begin-of-text token where the study has it so."""

    @property
    def vocab_size(self) -> int:
        """Number of ids that the model knows, added tokens included."""
        num_ids = self.backend.get_vocab_size(with_added_tokens=True)
        return num_ids if self.num_embeddings is None else min(num_ids, self.num_embeddings)

    def encode(self, text: str) -> list[int]:
        """Return token ids without special tokens, as ``encode_batch``."""
        return self._known(self.backend.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Return token ids of several texts without special tokens.

        Raises:
            UserError: a text has an added token that the model has no row for.
        """
        encoded = self.backend.encode_batch(texts, add_special_tokens=False)
        return [self._known(encoding.ids) for encoding in encoded]

    def encode_documents(self, texts: list[str]) -> list[list[int]]:
        """Return token ids of whole texts, between what begins a text and the end-of-text token.

        Raises:
            UserError: as ``encode_batch``.
        """
        return [[*self.begin_ids, *ids, self.eos_token_id] for ids in self.encode_batch(texts)]

    def _known(self, ids: list[int]) -> list[int]:
        largest = max(ids, default=0)
        if self.num_embeddings is not None and largest >= self.num_embeddings:
            raise UserError(
                f"a text has the token {self.backend.id_to_token(largest)!r}, whose id {largest} is"
                f" beyond the {self.num_embeddings} rows of the model's embedding: leave out that"
                " text, or take a model that knows the token"
            )
        return ids

    def encode_joined(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
        """Return the ids of texts, without special tokens, and where their continuations start.

        A context and its continuation are tokenised as one text, since some tokenizers mark the
        beginning of a text. The cut is after as many tokens as the context has alone. Where its
        last one is joined with what follows, spaces at its end go to the continuation first.

        Raises:
            UserError: a continuation has no token of its own.
        """
        wholes = self.encode_batch([context + continuation for context, continuation in pairs])
        contexts = list(dict.fromkeys(context for context, _ in pairs))
        alone = dict(zip(contexts, self.encode_batch(contexts), strict=True))
        joined = []
        for (context, continuation), whole in zip(pairs, wholes, strict=True):
            before = alone[context]
            if whole[: len(before)] != before:
                before = self.encode(context.rstrip(" "))
            if len(before) >= len(whole):
                raise UserError(
                    f"the tokenizer joins all of {continuation!r} with the end of the text before"
                    f" it, {context[-40:]!r}: it cannot be scored"
                )
            joined.append((whole, len(before)))
        return joined

    def decode(self, token_id: int) -> str:
        """Return the text of a token inside a text; "\ufffd" stands for a part of a character."""
        # some decoders drop the space that a text begins with, so the second of two is taken
        once, twice = (
            self.backend.decode([token_id] * count, skip_special_tokens=False) for count in (1, 2)
        )
        return twice[len(once) :]


def load_tokenizer(directory: Path, beginning: BeginOfText | None = None) -> Tokenizer:
    """Load ``tokenizer.json`` and the special tokens named in ``tokenizer_config.json``.

    Padding falls back to the end-of-text token, which is never scored.

    Args:
        directory: with the two files.
        beginning: ``begin_of_text`` of the model; None for a tokenizer that is given no text.

    Raises:
        UserError: a file is missing, unreadable, or not what the manifest beside it says, no
            end-of-text token is named, or no begin-of-text token where there must be one.
    """
    manifest = verify_descriptions(directory)
    path, config_path = (directory / name for name in FILES)
    if not path.is_file():
        raise UserError(f"{directory}: tokenizer.json is missing (a fast tokenizer is needed)")
    backend = read_backend(path)
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = (
        True  # a text that spells out "<|endoftext|>" does not end there
    )
    config = read_object(config_path)
    eos = _token_id(backend, config.get("eos_token"))
    if eos is None:
        raise UserError(
            f"{config_path}: eos_token is missing or unknown: name the token that ends a text"
        )
    pad = _token_id(backend, config.get("pad_token"))
    begin_ids: tuple[int, ...] = ()
    if beginning is not None:
        bos = _token_id(backend, config.get("bos_token"))
        begin_ids = begin_of_text(backend, bos, beginning, config_path)
    return Tokenizer(
        backend,
        eos,
        eos if pad is None else pad,
        num_embeddings=manifest.get("vocab_size"),
        begin_ids=begin_ids,
    )


def read_backend(path: Path) -> tokenizers.Tokenizer:
    """Read a ``tokenizer.json``.

    Raises:
        UserError: it holds something else.
    """
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: not a readable tokenizer ({reason}); get it again") from error


def _token_id(backend: tokenizers.Tokenizer, token: object) -> int | None:
    text = token.get("content") if isinstance(token, dict) else token
    return backend.token_to_id(text) if isinstance(text, str) else None
