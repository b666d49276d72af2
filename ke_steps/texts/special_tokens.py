"""Which tokens end, begin and pad a text, wherever a directory from outside names them.

As transformers does: ``tokenizer_config.json``, over which ``special_tokens_map.json`` goes where
the former does not list its added tokens itself, as older versions wrote it; then the default of
the tokenizer's class. The token that ends a text may in the end be known by its id alone, from
``config.json`` or ``generation_config.json``; and what the study says goes before everything.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tokenizers

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.files import read_object

END = "eos_token"
ROLES = (END, "bos_token", "pad_token")
SETTING = "models.<name>.end_of_text"

CONFIG, MAP = "tokenizer_config.json", "special_tokens_map.json"
FILES_OF_IDS = ("config.json", "generation_config.json")


class Named(NamedTuple):
    """A token and where it is named."""

    token: str
    place: str


def find_special_tokens(
    directory: Path,
    backend: tokenizers.Tokenizer,
    *,
    vocab_size: int,
    end_of_text: str | None = None,
    end_id: int | None = None,
) -> dict[str, str | None]:
    """Return the token of each of ``ROLES``; None for one to begin or pad that is not usable.

    The provenance tells where the end of a text is named, and who says otherwise.

    Args:
        directory: of a tokenizer, and of a model's ``config.json`` where it has one.
        backend: its tokenizer.
        vocab_size: rows of the model's embedding, which the tokens need.
        end_of_text: what the study says.
        end_id: of a model whose config is in another form; as one in ``config.json``.

    Raises:
        UserError: no end is named, or one that is no token of the model.
    """
    config = _read(directory, CONFIG)
    found = {role: list(_named(directory, config, role, backend)) for role in ROLES}
    ends = [*found[END], *_by_id(directory, backend, end_id)]
    if end_of_text is not None:
        ends.insert(0, Named(end_of_text, SETTING))
    if not ends:
        raise UserError(
            f"{directory}: eos_token is missing in {CONFIG} and {MAP}, and eos_token_id in"
            f" {' and '.join(FILES_OF_IDS)}: name the token that ends a text in {SETTING}"
        )
    _refuse_unknown(ends[0], directory, backend, vocab_size)
    _note(ends)
    usable = {
        role: [name.token for name in names if _is_known(name.token, backend, vocab_size)]
        for role, names in found.items()
    }
    return {role: next(iter(tokens), None) for role, tokens in usable.items()} | {
        END: ends[0].token
    }


def describe_special_tokens(directory: Path, tokens: Mapping[str, str | None]) -> dict[str, Any]:
    """Return a directory's tokenizer config with these tokens, unchanged where it has the same."""
    config = _read(directory, CONFIG)
    return config | {
        role: token for role, token in tokens.items() if token != _text(config.get(role))
    }


def _named(
    directory: Path, config: Mapping[str, Any], role: str, backend: tokenizers.Tokenizer
) -> Iterator[Named]:
    """Yield what names a token, first what counts."""
    places = [(CONFIG, config), (MAP, _read(directory, MAP))]
    if "added_tokens_decoder" not in config:
        places.reverse()
    for place, content in places:
        token = _text(content.get(role))
        if token is not None:
            yield Named(token, f"{place}: {role}")
    name, default = _default(_read(directory, "config.json"), config, role)
    if default is not None and backend.token_to_id(default) is not None:
        yield Named(default, f"default of {name}")


def _default(
    model_config: Mapping[str, Any], config: Mapping[str, Any], role: str
) -> tuple[str, str | None]:
    """Return the tokenizer's class and the token that it has where no file names one."""
    # takes seconds, which reading a tokenizer that is taken already need not spend
    from transformers import PreTrainedTokenizerBase
    from transformers.models.auto.tokenization_auto import (
        TOKENIZER_MAPPING_NAMES,
        tokenizer_class_from_name,
    )

    name = (
        config.get("tokenizer_class")
        or model_config.get("tokenizer_class")
        or TOKENIZER_MAPPING_NAMES.get(model_config.get("model_type"))
    )
    if not isinstance(name, str):
        return "", None
    kind = tokenizer_class_from_name(name.removesuffix("Fast"))
    if not (isinstance(kind, type) and issubclass(kind, PreTrainedTokenizerBase)):
        return name, None
    parameter = inspect.signature(kind).parameters.get(role)
    return name, _text(parameter.default) if parameter else None


def _by_id(directory: Path, backend: tokenizers.Tokenizer, end_id: int | None) -> Iterator[Named]:
    contents = [
        (f"{name}: eos_token_id", _read(directory, name).get("eos_token_id"))
        for name in FILES_OF_IDS
    ]
    for place, ids in [("config: eos_token_id", end_id), *contents]:
        first = ids[0] if isinstance(ids, list) and ids else ids
        if type(first) is int and 0 <= first < 2**32:  # True is an int, too
            token = backend.id_to_token(first)
            if token is not None:
                yield Named(token, place)


def _refuse_unknown(
    end: Named, directory: Path, backend: tokenizers.Tokenizer, vocab_size: int
) -> None:
    if not _is_known(end.token, backend, vocab_size):
        raise UserError(
            f"{directory}: eos_token is missing or unknown: {end.place} names {end.token!r}, which"
            f" is no token of tokenizer.json with a row in the embedding: name one in {SETTING}"
        )


def _is_known(token: str, backend: tokenizers.Tokenizer, vocab_size: int) -> bool:
    token_id = backend.token_to_id(token)
    return token_id is not None and token_id < vocab_size


def _note(ends: list[Named]) -> None:
    first, *others = ends
    words = [f"{first.token!r} ({first.place})"]
    words += [
        f"not {other.token!r} ({other.place})" for other in others if other.token != first.token
    ]
    provenance.note("end_of_text", ", ".join(words))


def _read(directory: Path, name: str) -> dict[str, Any]:
    path = directory / name
    return read_object(path) if path.is_file() else {}


def _text(token: object) -> str | None:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None
