"""Names of tensors as OLMo's own trainer writes them: base64 of a pickled tuple.

The tuple has the keys that lead to a tensor, mostly one, and whether the value is a pickle itself:
``(("transformer.wte.weight",), False)``. A pickle is a program, and here none is run: its opcodes
are read, those that make text, truth values and tuples are followed, and any other is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from pickletools import genops

from ke_steps.job.errors import UserError

BASE64 = re.compile(r"[A-Za-z0-9+/_-]{1,9999}={0,2}")
PROTOCOL = b"\x80"
"""What every pickle since the second protocol begins with; no plain name of a tensor does."""

FRAMING = frozenset({"PROTO", "FRAME"})
CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PUTS = frozenset({"BINPUT", "LONG_BINPUT"})
GETS = frozenset({"BINGET", "LONG_BINGET"})

_MARK = object()


def plain_name(stored: str, *, where: str) -> str:
    """Return the name that a tensor is stored under, several keys joined by dots.

    Args:
        stored: a pickled name, or a plain one, which is returned as it is.
        where: the file, for the error.

    Raises:
        UserError: a pickle of anything else, or the name of a value that is a pickle.
    """
    program = _decode(stored)
    if program is None:
        return stored
    what = f"{where}: tensor {stored[:60]}{'…' if len(stored) > 60 else ''}: its name is a pickle"
    try:
        value = read_tuples(program)
    except ValueError as error:
        raise UserError(f"{what} of more than text ({error}), which is never run") from error
    match value:
        case (tuple(keys), False):
            texts = [key for key in keys if isinstance(key, str)]
            if texts and len(texts) == len(keys):
                return ".".join(texts)
        case (tuple(), True):
            raise UserError(
                f"{what}, and so is its value, which is never run: no tensor of a model"
            )
    raise UserError(f"{what} of something else than keys and a truth value, as OLMo writes them")


def _decode(stored: str) -> bytes | None:
    """Return the pickle that a name is the base64 of; None for a plain name."""
    if not BASE64.fullmatch(stored):
        return None
    try:
        program = base64.urlsafe_b64decode(stored)
    except binascii.Error:
        return None
    return program if program.startswith(PROTOCOL) else None


def read_tuples(program: bytes) -> object:
    """Return what a pickle of text, truth values and tuples of them makes, without running it.

    Raises:
        ValueError: it has any other opcode, or is no whole pickle.
    """
    stack: list[object] = []
    memo: dict[int, object] = {}
    for opcode, argument, position in genops(program):
        name = opcode.name
        if name == "STOP":
            if len(stack) != 1 or position != len(program) - 1:
                raise ValueError("something is left over at its end")
            return stack[0]
        try:
            _follow(name, argument, stack, memo)
        except LookupError as error:
            raise ValueError(f"{name} finds nothing at byte {position}") from error
    raise ValueError("it never stops")


def _follow(name: str, argument: object, stack: list[object], memo: dict[int, object]) -> None:
    if name in FRAMING:
        return
    if name in TEXTS:
        stack.append(argument)
    elif name in CONSTANTS:
        stack.append(CONSTANTS[name])
    elif name in TUPLES:
        _gather(stack, TUPLES[name])
    elif name == "MARK":
        stack.append(_MARK)
    elif name == "TUPLE":
        _gather(stack, stack[::-1].index(_MARK) if _MARK in stack else len(stack) + 1)
        del stack[-2]
    elif name == "MEMOIZE":
        memo[len(memo)] = stack[-1]
    elif name in PUTS and isinstance(argument, int):
        memo[argument] = stack[-1]
    elif name in GETS and isinstance(argument, int):
        stack.append(memo[argument])
    else:
        raise ValueError(f"opcode {name}")


def _gather(stack: list[object], count: int) -> None:
    """Make one tuple of the uppermost values."""
    if count > len(stack):
        raise LookupError
    items = tuple(stack[len(stack) - count :])
    del stack[len(stack) - count :]
    stack.append(items)
