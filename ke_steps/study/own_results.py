"""Whose results a folder holds: those of two studies never mix.

A study is known by its file. Where it names no ``results_dir`` its results lie in a folder of the
file's name, and the first run leaves the file's path in the folder. Results that are older than
that mark become those of the first study that runs there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ke_steps.job.files import replacing
from ke_steps.settings.cluster import Jobs
from ke_steps.settings.study import Study

MARK = "study.txt"
"""In a results folder: the path of the study's file, from the project's folder if it is there."""

EMBEDDED = Path("config/config.yaml")
"""The study whose results lie in ``results`` itself, beside the folders of the others."""

STEPS = frozenset({*Jobs.model_fields, "logs"})
"""Folders of a study's own results."""


def default_folder(file: Path) -> str:
    """Return where the results of a study lie that does not say."""
    return "results" if _name(file) == str(EMBEDDED) else f"results/{file.stem}"


def sign(results_dir: Path, file: Path) -> None:
    """Leave the mark of a study in its results folder."""
    with replacing(results_dir / MARK) as beside:
        beside.write_text(f"{_name(file)}\n")


def taken_folders(study: Study, file: Path) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for a results folder that is another study's, or a part of one."""
    folder = Path(study.results_dir)
    within = folder.parent
    if folder.name in STEPS and (within == Path("results") or (within / MARK).is_file()):
        yield "results_dir", f"{folder} is how results name the folder of a step; choose another"
    mark = folder / MARK
    try:
        owner = mark.read_text().strip()
    except OSError:  # none yet, or a folder that no run can use: it says so
        return
    if owner != _name(file):
        yield (
            "results_dir",
            f"{folder} holds the results of another study, {owner}: choose another folder; if that"
            f" was the name of this study, remove {mark}",
        )


def _name(file: Path) -> str:
    path, here = file.resolve(), Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
