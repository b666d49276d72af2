"""Pydantic's errors in a user's words: the key as written, what is wrong, what would be right."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import ValidationError

from ke_steps.settings import NAME_PATTERN, RESULTS_PATTERN

PATTERNS = {
    NAME_PATTERN: "a letter or digit, then letters, digits, '.', '_' and '-'",
    RESULTS_PATTERN: "letters, digits, '.', '_', '-' and '/'",
}
"""What the patterns of names mean."""


def explain_faults(error: ValidationError, schema: dict[str, Any]) -> list[str]:
    """Return one line ``key: what is wrong; what would be right`` per fault."""
    return [_explain(fault, schema) for fault in error.errors()]


def _explain(fault: Any, schema: dict[str, Any]) -> str:
    node, keys = _walk(fault["loc"], schema)
    key = "".join(map(_written, keys)).lstrip(".") or "config"
    match fault["type"]:
        case "extra_forbidden":
            valid = sorted(node.get("properties", {}))
            close = difflib.get_close_matches(str(keys[-1]), valid, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            return f"{key}: unknown key; {hint}valid keys: {', '.join(valid)}"
        case "missing":
            return f"{key}: missing; this key is required"
        case "value_error":
            return f"{key}: {fault['ctx']['error']}"
        case "union_tag_not_found":
            return f"{key}: needs a key 'kind'; valid kinds: {', '.join(_kinds(node))}"
        case "union_tag_invalid":
            return (
                f"{key}.kind: got {fault['ctx']['tag']!r}; valid kinds: {', '.join(_kinds(node))}"
            )
        case _:
            return f"{key}: got {fault['input']!r}; {_wish(fault)}"


def _wish(fault: Any) -> str:
    """Return what a value should be."""
    pattern = fault.get("ctx", {}).get("pattern")
    if pattern in PATTERNS:
        return f"should be {PATTERNS[pattern]} (pattern {pattern})"
    return fault["msg"].replace("Input should", "should")


def _written(key: int | str) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    return f".{key if key.isprintable() else repr(key)}"


def _walk(
    location: tuple[int | str, ...], schema: dict[str, Any]
) -> tuple[dict[str, Any], list[int | str]]:
    """Follow an error's location; return the schema node that holds it and the keys a user wrote.

    Pydantic puts the tag of a discriminated union among the keys; a user never wrote it there.
    """
    node: dict[str, Any] = schema
    holder, keys = node, []
    for part in location:
        node = _resolve(node, schema)
        if part in _kinds(node):
            node = _resolve({"$ref": node["discriminator"]["mapping"][part]}, schema)
            holder = node
            continue
        if part == "[key]":
            continue
        holder = node
        keys.append(part)
        entries = [*node.get("patternProperties", {}).values(), node.get("items"), {}]
        node = node.get("properties", {}).get(part, entries[0] or {})
    if _kinds(resolved := _resolve(node, schema)):
        holder = resolved
    return holder, keys


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for option in node.get("anyOf", []):
        if option.get("type") != "null":
            return _resolve(option, schema)
    if "$ref" in node:
        target: dict[str, Any] = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return target
    return node


def _kinds(node: dict[str, Any]) -> list[str]:
    return list(node.get("discriminator", {}).get("mapping", {}))
