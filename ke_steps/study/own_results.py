"""Whose results a folder holds: those of two studies never mix.

A study is known by its file. Where it names no ``results_dir`` its results lie in a folder of the
file's name, and each run leaves the study in the folder: in full, below the path of its file.
Whoever reads that copy has the same study. Results that are older than it become those of the first
study that runs there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ke_steps.job.files import replacing
from ke_steps.settings.cluster import Jobs
from ke_steps.settings.resolved import resolved, study_file
from ke_steps.settings.study import Study

MARK = "study.yaml"
"""In a results folder: the study that last ran there."""

OWNER = "# The results of "
"""Its first line: this, and the path of the study's file, from the project's folder if there."""

EMBEDDED = Path("config/config.yaml")
"""The study whose results lie in ``results`` itself, beside the folders of the others."""

STEPS = frozenset({*Jobs.model_fields, "logs"})
"""Folders of a study's own results."""


def default_folder(file: Path) -> str:
    """Return where the results of a study lie that does not say."""
    return "results" if _name(file) == str(EMBEDDED) else f"results/{file.stem}"


def sign(study: Study, file: Path) -> None:
    """Leave a study in its results folder; the copy that lies there is no study of its own."""
    mark = Path(study.results_dir, MARK)
    if not _is_same(mark, file):
        with replacing(mark) as beside:
            beside.write_text(f"{OWNER}{_name(file)}\n{study_file(resolved(study))}")


def taken_folders(study: Study, file: Path) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for a results folder that is another study's, or a part of one."""
    folder = Path(study.results_dir)
    within = folder.parent
    if folder.name in STEPS and (within == Path("results") or (within / MARK).is_file()):
        yield "results_dir", f"{folder} is how results name the folder of a step; choose another"
    mark = folder / MARK
    try:
        owner = mark.read_text().partition("\n")[0].removeprefix(OWNER)
    except OSError:  # none yet, or a folder that no run can use: it says so
        return
    if owner != _name(file) and not _is_same(mark, file):
        yield (
            "results_dir",
            f"{folder} holds the results of another study, {owner}: choose another folder; if that"
            f" was the name of this study, remove {mark}",
        )


def _is_same(mark: Path, file: Path) -> bool:
    return mark.resolve() == file.resolve()


def _name(file: Path) -> str:
    path, here = file.resolve(), Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
