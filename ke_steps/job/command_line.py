"""The command line of every step, read off the signature of its ``run``.

A keyword of type ``Path`` becomes a required ``--keyword``, ``Path | None`` an optional one, and
``list[Path]`` one that takes several; ``settings`` takes JSON, or the path of a file of it after
``@``. ``output`` and keywords that begin with ``output_`` are written, all others are read.

``--record`` writes the job record last, ``--time-limit-minutes`` ends a step that hangs; how a step
ends in one line is told in ``job.endings``. An input that is not what its job wrote is refused.

Where a step reads more files than a command line can hold, a ``list[Path]`` takes a pattern such as
``results/fit_decay/{runs}/decay.parquet``, filled in with each of ``settings.places["runs"]``.
"""

from __future__ import annotations

import argparse
import glob
import os
import platform
import re
import sys
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ke_steps.job import provenance
from ke_steps.job.endings import RunningStep, in_one_line
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file, write_json
from ke_steps.job.identity import identity
from ke_steps.job.records import place_of, refuse_changed, results_of
from ke_steps.job.usage import watching


def main(run: Callable[..., None], arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the step, write its job record."""
    hints = typing.get_type_hints(run)
    hints.pop("return", None)
    step = Path(sys.modules[run.__module__].__file__ or run.__module__).stem
    parsed = vars(_parser(step, run, hints).parse_args(arguments))
    record, minutes = parsed.pop("record"), parsed.pop("time_limit_minutes")
    outputs = _flatten({name: value for name, value in parsed.items() if _is_output(name)})
    results = results_of(record) if record else None
    place = place_of(record, results) if record and results else ""
    output = next(iter(outputs.values()), Path())
    job = RunningStep(step, parsed["settings"], output, minutes, place)
    with in_one_line(job):
        job.settings = _text_of(job.settings)
        parsed["settings"] = _read_settings(hints["settings"], job.settings)
        places = getattr(parsed["settings"], "places", {})
        for name, hint in hints.items():
            if hint == list[Path]:
                parsed[name] = [file for path in parsed[name] for file in _fill_in(path, places)]
        _run(run, step, parsed, record)


def _parser(step: str, run: Callable[..., None], hints: dict[str, Any]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m ke_steps.{step}", description=run.__doc__)
    for name, hint in hints.items():
        flag = "--" + name.replace("_", "-")
        if name == "settings":
            parser.add_argument(flag, required=True, metavar="JSON or @FILE")
        elif hint == list[Path]:
            parser.add_argument(flag, type=Path, nargs="*", default=[], metavar="PATH")
        else:
            parser.add_argument(flag, type=Path, required=hint is Path, metavar="PATH")
    parser.add_argument("--record", type=Path, help="where to write the job record (JSON)")
    parser.add_argument("--time-limit-minutes", type=int, help="end the job when it takes longer")
    return parser


def _text_of(given: str) -> str:
    """Return settings as they were given, or those of the file that is named after ``@``."""
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text()
    except FileNotFoundError:
        raise UserError(
            f"--settings: no such file: {given[1:]}; a run of the study writes it when it starts"
        ) from None


def _read_settings(model: type[BaseModel], text: str) -> BaseModel:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"--settings: {where}: {first['msg']}") from error


def _fill_in(pattern: Path, places: Mapping[str, Sequence[str]]) -> list[Path]:
    """Return the paths of a pattern such as ``{runs}/training.parquet``; a plain path is itself."""
    name = re.search(r"\{(\w+)\}", str(pattern))
    if name is None:
        return [pattern]
    if name[1] not in places:
        raise UserError(f"{pattern}: settings.places has no {name[1]!r}, only {', '.join(places)}")
    return [Path(str(pattern).replace(name[0], place)) for place in places[name[1]]]


def _is_output(name: str) -> bool:
    return name == "output" or name.startswith("output_")


def _run(
    run: Callable[..., None], step: str, keywords: dict[str, Any], record: Path | None
) -> None:
    inputs = inputs_of(keywords)
    outputs = _flatten({k: v for k, v in keywords.items() if _is_output(k)})
    for name, path in inputs.items():
        if not path.is_file():
            raise UserError(f"--{name.replace('_', '-')}: no such file: {path}")
    is_first = os.environ.get("RANK", "0") == "0"
    # places are those of the inputs, which are recorded
    settings = keywords["settings"].model_dump(mode="json", exclude={"places"})
    # before the job: the tree may be at another commit when it ends
    code = identity() if record is not None and is_first else {}
    with watching() as usage, provenance.recording(step, settings, inputs):
        refuse_changed(inputs, provenance.current()["inputs"], record)
        with _whole_or_none(outputs.values(), record) if is_first else nullcontext():
            run(**keywords)
        origin = provenance.current()
    if record is not None and is_first:
        hashes = {str(path): hash_file(path) for path in outputs.values()}
        job = {"settings": settings, "outputs": hashes, "host": platform.node()}
        write_json(record, origin | usage.summary() | code | job)


@contextmanager
def _whole_or_none(outputs: Collection[Path], record: Path | None) -> Iterator[None]:
    """Clear the way for a job's outputs; when it fails, remove those that were not there before.

    What a killed job left is removed, and the record of an earlier one: without a record an output
    is not checked, so that none may describe what is about to be replaced.
    """
    for path in (*outputs, *([record] if record else [])):
        path.parent.mkdir(parents=True, exist_ok=True)
        for partial in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
            partial.unlink()
    if record is not None:
        record.unlink(missing_ok=True)
    new = [path for path in outputs if not path.exists()]
    try:
        yield
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        raise


def inputs_of(keywords: Mapping[str, Any]) -> dict[str, Path]:
    """Return the files that a step reads, by the names that its provenance has for them."""
    return _flatten({k: v for k, v in keywords.items() if k != "settings" and not _is_output(k)})


def _flatten(keywords: dict[str, Any]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for name, value in keywords.items():
        if isinstance(value, Path):
            paths[name] = value
        elif isinstance(value, list):
            paths.update({f"{name}[{index}]": path for index, path in enumerate(value)})
    return paths
