"""The command line of every step, read off the signature of its ``run``.

A keyword of type ``Path`` becomes a required ``--keyword``, ``Path | None`` an optional one, and
``list[Path]`` one that takes several; ``settings`` takes JSON, or the path of a file of it after
``@``. ``output`` and keywords that begin with ``output_`` are written, all others are read.

``--record`` writes the job record last, ``--time-limit-minutes`` ends a step that hangs; how a step
ends in one line is told in ``job.endings``. An input that is not what its job wrote is refused.

``--then`` takes the command of another step, from its name on: it is run as well, in the same
process, and its outputs lie ready for the job whose command it is (``job.ahead``).

Where a step reads more files than a command line can hold, a ``list[Path]`` takes a pattern such as
``results/fit_decay/{runs}/decay.parquet``, filled in with each of ``settings.places["runs"]``.
"""

from __future__ import annotations

import argparse
import glob
import importlib
import os
import platform
import re
import shlex
import sys
import time
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ke_steps.job import ahead, provenance
from ke_steps.job.endings import SECONDS_PER_MINUTE, STOPPED, RunningStep, in_one_line
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file, write_json
from ke_steps.job.identity import identity
from ke_steps.job.records import place_of, refuse_changed, results_of
from ke_steps.job.usage import let_go, watching


def main(
    run: Callable[..., None], arguments: Sequence[str] | None = None, *, done_by: str = ""
) -> None:
    """Parse the command line, run the step, write its job record; then what ``--then`` says.

    Args:
        run: of the step.
        arguments: of the command line; those of the process when None.
        done_by: the step that does this one ahead, in its own process; empty for a job.
    """
    started = time.monotonic()
    hints = typing.get_type_hints(run)
    hints.pop("return", None)
    step = Path(sys.modules[run.__module__].__file__ or run.__module__).stem
    parsed = vars(_parser(step, run, hints).parse_args(arguments))
    record, minutes, then = (parsed.pop(name) for name in ("record", "time_limit_minutes", "then"))
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
        if done_by:
            _run_ahead(run, step, parsed, record, done_by)
            return
        has_computed = _run(run, step, parsed, record, {"then": then.split()[0]} if then else {})
    if then and record and has_computed:
        left = minutes and minutes - (time.monotonic() - started) / SECONDS_PER_MINUTE
        _go_on(step, then, left, record, list(outputs.values()))


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
    parser.add_argument("--then", metavar="COMMAND", help="a step to do ahead for its own job")
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
    run: Callable[..., None],
    step: str,
    keywords: dict[str, Any],
    record: Path | None,
    notes: dict[str, str],
) -> bool:
    """Run a step or take its answer; return whether it was computed. Its record has ``notes``."""
    inputs = inputs_of(keywords)
    outputs = _flatten({k: v for k, v in keywords.items() if _is_output(k)})
    for name, path in inputs.items():
        if not path.is_file():
            raise UserError(f"--{name.replace('_', '-')}: no such file: {path}")
    is_first = os.environ.get("RANK", "0") == "0"
    # places are those of the inputs, which are recorded
    settings = _told(keywords["settings"])
    # before the job: the tree may be at another commit when it ends
    code = identity() if record is not None and is_first else {}
    is_job = "done_by" not in notes
    answer = None
    with watching(whole_process=is_job) as usage, provenance.recording(step, settings, inputs):
        origin = provenance.current()
        refuse_changed(inputs, origin["inputs"], record)
        with _whole_or_none(outputs.values(), record) if is_first else nullcontext():
            if record is not None and is_first and is_job:
                answer = ahead.take(record, outputs.values(), origin)
            if answer is None:
                run(**keywords)
    if answer is not None and record is not None:
        print(f"{step}: taken, as it was done ahead", file=sys.stderr)
        write_json(record, answer)
    elif record is not None and is_first:
        hashes = {str(path): hash_file(path) for path in outputs.values()}
        job = {"settings": settings, "outputs": hashes, "host": platform.node()}
        write_json(record, origin | usage.summary() | code | job | notes)
    return answer is None


def _told(settings: BaseModel) -> dict[str, Any]:
    """Return what a record says of settings: places are those of the inputs, recorded as well."""
    return settings.model_dump(mode="json", exclude={"places"})


def _run_ahead(
    run: Callable[..., None], step: str, keywords: dict[str, Any], record: Path, done_by: str
) -> None:
    """Run a step for a job that comes later; nothing is left of it unless that can take it."""
    outputs = {name: value for name, value in keywords.items() if _is_output(name)}
    places = list(_flatten(outputs).values())
    with provenance.recording(step, _told(keywords["settings"]), inputs_of(keywords)):
        if not ahead.is_wanted(record, places, provenance.current()):
            return
    beside = {
        name: [*map(ahead.place_ahead, value)]
        if isinstance(value, list)
        else ahead.place_ahead(value)
        for name, value in outputs.items()
    }
    try:
        _run(run, step, keywords | beside, ahead.answer_of(record), {"done_by": done_by})
    except BaseException:
        ahead.discard(record, places)
        raise
    if ahead.has_begun(record):  # meanwhile, and so it computes by itself
        ahead.discard(record, places)


def _go_on(
    step: str, then: str, minutes: float | None, record: Path, outputs: Collection[Path]
) -> None:
    """Do another step ahead; whatever becomes of that, this one is done."""
    ahead.keep(record, outputs)
    let_go()
    name, *words = shlex.split(then)
    limit = [] if minutes is None else ["--time-limit-minutes", str(max(1, int(minutes)))]
    failure: object = None
    try:
        main(importlib.import_module(f"ke_steps.{name}").run, [*words, *limit], done_by=step)
    except SystemExit as end:  # with a line, or with a status after its line was said
        failure = end.code
    except KeyboardInterrupt:
        failure = STOPPED[0]
    except Exception as error:  # its own job meets it again, and tells where it was
        failure = f"{type(error).__name__}: {error}"
    if failure is not None:
        print(f"{step}: done; not so {name}, which its own job does: {failure}", file=sys.stderr)
    if failure not in STOPPED:  # else the run ends, and may not have seen that this job is done
        ahead.discard(record, outputs)


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
