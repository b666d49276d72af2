"""Trained models: removed once all that reads them is done, as ``keep_models`` says.

A trained model is known by its manifest, which stays as it was, so that nothing is trained again.
Only a run of the study removes weights, never a job: what an evaluation was made from is of no use
when the evaluation has ended and Snakemake has seen it end, and only Snakemake has the jobs of its
call do something once.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ke_steps.artefacts.manifests import NAME
from ke_steps.job.ahead import FOLDER, answer_of
from ke_steps.job.files import read_object
from ke_steps.job.records import files_of, logs_of
from ke_steps.settings.study import Run, Study
from ke_steps.study.going_on import unfinished
from ke_steps.study.places import folder_of
from ke_steps.study.trained_models import WEIGHTS, manifest_of


def remove_spent(study: Study, since: float | None) -> None:
    """Remove the weights of models whose readers have ended, their config and tokenizer.

    Args:
        study: says which are kept.
        since: when the Snakemake that runs was started, by the clock of the results' disk: who read
            a model before that may have to do it again. None when it has ended with all done.
    """
    results = Path(study.results_dir)
    spent = [(run, files) for run, files in _weights(study) if not study.keeps_model(run)]
    marked = unfinished() if spent else set()
    for run, files in spent:
        reader = "evaluate_retention" if study.evaluate_retention else "inject_knowledge"
        folder = results / reader / folder_of(run)
        record = files_of(results, reader, folder_of(run)).record
        try:
            has_ended = since is None or record.stat().st_mtime > since
        except FileNotFoundError:
            continue
        if has_ended and not any(Path(name).is_relative_to(folder) for name in marked):
            model = files[0].parent
            described = [model / name for name in read_object(model / NAME, "manifest")["files"]]
            # weights last: by them a model is found whose removal was cut short
            for path in sorted({*described, *files}, key=lambda path: (path in files, path)):
                path.unlink(missing_ok=True)
            shutil.rmtree(model / FOLDER, ignore_errors=True)  # no answer without weights


def remove_answers(results: Path) -> None:
    """Remove what was done ahead and nobody took, when nothing is left to do."""
    for answer in logs_of(results).rglob(answer_of(Path("record.json")).name):
        folder = results / answer.parent.relative_to(logs_of(results)) / FOLDER
        for path in (answer, *folder.glob("*")):
            path.unlink()
        if folder.is_dir():
            folder.rmdir()


def _weights(study: Study) -> Iterator[tuple[Run, list[Path]]]:
    """Yield the runs whose model's weights are there, with these."""
    for run in study.runs() if study.keep_models != "all" else ():
        manifest = Path(manifest_of(study, run))
        if manifest.is_file() and (files := sorted(manifest.parent.glob(WEIGHTS))):
            yield run, files
