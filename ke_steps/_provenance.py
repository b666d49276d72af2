"""Where an artefact came from: code digest, versions, settings and input hashes."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
PLUMBING = frozenset(
    {"settings", "_cli", "_endings", "_errors", "_integrity", "_provenance", "_usage", "study"}
)
"""Modules left out of a digest: a step depends on them only through the settings it is given."""

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "pandas", "pyarrow", "numpy")

_current: ContextVar[dict[str, Any] | None] = ContextVar("current_provenance", default=None)


def code_digest(module: str) -> str:
    """Return 16 hex digits over the syntax trees of a step and of every ke_steps module it imports.

    Docstrings, comments and formatting do not count, so that only a change of meaning reruns.
    """
    digest = hashlib.sha256()
    for name in sorted(_reachable(module)):
        digest.update(name.encode())
        digest.update(ast.dump(_stripped_tree(name)).encode())
    return digest.hexdigest()[:16]


def _reachable(module: str) -> set[str]:
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(_imports(name) - PLUMBING - seen)
    return seen


class _WithoutDocstrings(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node


@cache
def _stripped_tree(module: str) -> ast.AST:
    tree: ast.AST = _WithoutDocstrings().visit(ast.parse((PACKAGE / f"{module}.py").read_text()))
    return tree


@cache
def _imports(module: str) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(_stripped_tree(module)):
        if isinstance(node, ast.ImportFrom) and node.module == "ke_steps":
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ke_steps."):
            names.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            names.update(
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("ke_steps.")
            )
    return frozenset(name for name in names if (PACKAGE / f"{name}.py").is_file())


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of the packages that can move a number."""
    return {name: metadata.version(name) for name in PACKAGES}


@contextmanager
def recording(step: str, settings: Mapping[str, Any], inputs: Mapping[str, Path]) -> Iterator[None]:
    """Make ``current()`` describe this job for everything written inside the block."""
    token = _current.set(
        {
            "step": step,
            "code": code_digest(step),
            "settings": dict(settings),
            "inputs": {name: hash_file(path) for name, path in sorted(inputs.items())},
            "versions": versions(),
        }
    )
    try:
        yield
    finally:
        _current.reset(token)


def note(key: str, value: str) -> None:
    """Add a fact found during the job, such as the device."""
    record = _current.get()
    if record is not None:
        record[key] = value


def current() -> dict[str, Any]:
    """Return the running job's provenance; empty outside a job, as in a unit test."""
    return _current.get() or {}


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
