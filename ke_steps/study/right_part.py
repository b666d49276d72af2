"""What of a wrong study is right: faults that only several sections show are told with the others.

What is wrong is taken out, and ``Faulty`` put in its place. Whatever looks at it fails, so that
nothing is said that rests on it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from ke_steps.settings.study import Study

Keys = tuple[int | str, ...]
"""Where something stands in a config, from the outermost key on."""


STAND_INS: dict[str, Any] = {
    "models": {"source": {"kind": "nursery"}, "steps": [0]},
    "corpora": {"source": {"kind": "text", "paths": ["faulty.txt"]}},
}
"""What a study may not be without, until ``Faulty`` takes its place."""

MAX_ROUNDS = 10
"""What is taken out may leave other faults: an entry without a key that it needs, then none."""


class Faulty:
    """Stands for what is wrong: each look at it raises ``LookupError``."""

    def _look(self, *anything: object) -> NoReturn:
        raise LookupError

    __getattribute__ = _look  # by this also isinstance fails
    __bool__ = __repr__ = __format__ = __hash__ = __eq__ = _look


def right_part(config: Mapping[str, Any], wrong: Callable[[Any], list[Keys]]) -> Study | None:
    """Return a study with ``Faulty`` for what is wrong in it; None if too little is left.

    Args:
        config: the keys of a config file.
        wrong: tells for one of pydantic's errors where what is wrong, or what it stands for, is.
    """
    rest, removed = copy.deepcopy(dict(config)), list[Keys]()
    for _ in range(MAX_ROUNDS):
        try:
            study = Study.model_validate(rest)
            break
        except ValidationError as error:
            found = [keys for fault in error.errors() for keys in wrong(fault)]
        for keys in dict.fromkeys(_with_dependents(found, config)):
            if not keys:
                return None
            _remove(rest, keys, is_first=keys not in removed)
            removed.append(keys)
    else:
        return None
    study = study.model_copy(deep=True)  # sections that are left out are shared by all studies
    for keys in sorted(removed, key=len):
        with suppress(LookupError):  # within what is faulty as a whole
            _put(study, keys)
    return study


def known(checks: Iterable[Iterator[tuple[str, str]]]) -> Iterator[tuple[str, str]]:
    """Yield what checks of a study say until they look at something ``Faulty``."""
    for check in checks:
        with suppress(Exception):  # libraries make their own errors of its
            yield from check


def _with_dependents(found: Iterable[Keys], config: Mapping[str, Any]) -> Iterator[Keys]:
    """Yield these, cut at lists, and what a study derives from them when it is read."""
    for keys in found:
        number = next((at for at, key in enumerate(keys) if isinstance(key, int)), len(keys))
        if keys[:1] == ("pretrain_nursery",):
            yield ("pretrain_nursery",)
            yield from (("models", name) for name in _nurseries(config))
        else:
            yield keys[:number]


def _nurseries(config: Mapping[str, Any]) -> Iterator[str]:
    match config:
        case {"models": {**models}}:
            for name, model in models.items():
                match model:
                    case {"source": {"kind": "nursery"}}:
                        yield str(name)


def holder_of(config: Mapping[str, Any], keys: Keys) -> dict[Any, Any]:
    """Return what holds a key in a config; nothing where that is no mapping."""
    holder: Any = config
    for key in keys[:-1]:
        holder = holder.get(key) if isinstance(holder, dict) else None
    return holder if isinstance(holder, dict) else {}


def _remove(rest: dict[str, Any], keys: Keys, *, is_first: bool) -> None:
    """Take something out; models and corpora keep their names, unless these are wrong as well."""
    match keys:
        case (("models" | "corpora") as section,):
            rest[section] = {"faulty": STAND_INS[section]}
        case (("models" | "corpora") as section, str(name)) if is_first:
            rest[section][name] = STAND_INS[section]
        case _:
            holder_of(rest, keys).pop(keys[-1], None)


def _put(study: Study, keys: Keys) -> None:
    *outer, last = keys
    holder: Any = study
    for key in outer:
        holder = holder[key] if isinstance(holder, dict) else getattr(holder, str(key))
    if isinstance(holder, dict):
        holder[last] = Faulty()
    elif isinstance(holder, BaseModel) and last in type(holder).model_fields:
        holder.__dict__[str(last)] = Faulty()
