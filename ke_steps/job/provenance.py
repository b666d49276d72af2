"""Where an artefact came from: code digest, versions, settings and input hashes."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ke_steps.job.files import hash_file

HOUSE = "ke_steps"
ROOT = Path(__file__).parents[2]
"""The folder that the package lies in."""

PLUMBING = ("ke_steps.settings", "ke_steps.job")
"""Rooms left out of a digest: a step depends on them only through the settings it is given."""

HOLDERS = (ast.stmt, ast.ExceptHandler, ast.match_case)
"""Nodes of a syntax tree that statements can lie below."""

PACKAGES = ("torch", "transformers", "datasets", "tokenizers", "pandas", "pyarrow", "numpy")

_current: ContextVar[dict[str, Any] | None] = ContextVar("current_provenance", default=None)
_hashes: ContextVar[Mapping[Path, str]] = ContextVar("hashes_of_inputs", default={})  # noqa: B039


def code_digest(step: str) -> str:
    """Return 16 hex digits over the syntax trees of a step and of every ke_steps module it imports.

    Docstrings, comments and formatting do not count, so that only a change of meaning reruns.

    Raises:
        ValueError: an import of this package's cannot be followed to a file.
    """
    digest = hashlib.sha256()
    for module in sorted(_reachable(f"{HOUSE}.{step}")):
        digest.update(module.encode())
        digest.update(_read(module).meaning)
    return digest.hexdigest()[:16]


def _reachable(module: str) -> set[str]:
    seen: set[str] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending.extend(other for other in _read(name).imports if not _is_plumbing(other))
    return seen


def _is_plumbing(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in PLUMBING)


def _file(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


class _Module(NamedTuple):
    """What a digest needs of a module, whose tree is a hundred times as large.

    Attributes:
        meaning: its syntax tree in words, without docstrings.
        imports: the modules of this package that it imports.
    """

    meaning: bytes
    imports: frozenset[str]


def _blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield each list of statements below a node.

    Expressions hold none. Not entering them saves most of the time: there are twenty times as many.
    """
    for _, value in ast.iter_fields(node):
        if isinstance(value, list) and value and isinstance(value[0], HOLDERS):
            if isinstance(value[0], ast.stmt):
                yield value
            for child in value:
                yield from _blocks(child)


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _shown(tree: ast.AST) -> bytes:
    # said alike by every Python: 3.12 added type parameters, 3.13 leaves empty lists out
    shown: dict[str, Any] = {"show_empty": True} if sys.version_info >= (3, 13) else {}
    return ast.dump(tree, **shown).replace(", type_params=[]", "").encode()


@cache
def _read(module: str) -> _Module:
    tree = ast.parse(_file(module).read_text())
    for block in _blocks(tree):
        block[:] = [statement for statement in block if not _is_text(statement)]
    return _Module(_shown(tree), _imports(module, tree))


def _imports(module: str, tree: ast.AST) -> frozenset[str]:
    """Return the modules of this package that a module imports; one that is no file is refused.

    Passed over, it would drop out of every digest, and a change of it would rerun nothing.
    """
    names: set[str] = set()
    for node in chain.from_iterable(_blocks(tree)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{module}: a relative import cannot be followed")
            names.update(_source(node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    ours = {name for name in names if name.split(".")[0] == HOUSE}
    unread = [name for name in ours if not _is_plumbing(name) and not _file(name).is_file()]
    if unread:
        raise ValueError(f"{module}: imports {min(unread)}, which is no file")
    return frozenset(ours)


def _source(module: str, name: str) -> str:
    """Return what ``from module import name`` reads: the module, or ``name`` where it is one."""
    return f"{module}.{name}" if _file(f"{module}.{name}").is_file() else module


def versions() -> dict[str, str]:
    """Return the versions of the packages that can move a number."""
    return {name: metadata.version(name) for name in PACKAGES}


@contextmanager
def recording(step: str, settings: Mapping[str, Any], inputs: Mapping[str, Path]) -> Iterator[None]:
    """Make ``current()`` describe this job for everything written inside the block."""
    hashes = {path: hash_file(path) for path in dict.fromkeys(inputs.values())}
    token = _current.set(
        {
            "step": step,
            "code": code_digest(step),
            "settings": dict(settings),
            "inputs": {name: hashes[path] for name, path in sorted(inputs.items())},
            "versions": versions(),
        }
    )
    of_inputs = _hashes.set(hashes)
    try:
        yield
    finally:
        _hashes.reset(of_inputs)
        _current.reset(token)


def hash_of_input(path: Path) -> str:
    """Return the sha256 of an input; a running job has read it for that already."""
    return _hashes.get().get(path) or hash_file(path)


def note(key: str, value: Any) -> None:
    """Add a fact found during the job, such as the device; one that JSON can tell."""
    record = _current.get()
    if record is not None:
        record[key] = value


def disregard(setting: str) -> None:
    """Leave a setting out, as what the running job writes does not depend on it."""
    record = _current.get()
    if record is not None:
        record["settings"].pop(setting, None)


def current() -> dict[str, Any]:
    """Return the running job's provenance; empty outside a job, as in a unit test."""
    return _current.get() or {}
