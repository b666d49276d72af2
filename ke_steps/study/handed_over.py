"""Settings that are handed to their jobs as files: those about the whole study.

They grow with the study, and the system takes no argument of 128 kB. A run writes the files when it
starts. The name of a file has the digest of its content, so that none is ever out of date: a job of
a cluster, which reads the study again, names the same one.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ke_steps.job.files import canonical_json, replacing
from ke_steps.job.records import files_of
from ke_steps.settings.study import Study
from ke_steps.study.jobs import settings_for

STEPS = ("summarize", "plot_figures", "write_report")
"""Those with one job in a study, about all of it."""


def settings_file(study: Study, step: str) -> Path:
    """Return where the settings of a step's only job lie, beside its record."""
    return _named(study, step, _content(study, step))


def write_settings(study: Study) -> None:
    """Write the settings of each of these steps, and remove those of a study that has changed."""
    for step in STEPS:
        content = _content(study, step)
        file = _named(study, step, content)
        for old in set(file.parent.glob("settings-*.json")) - {file}:
            old.unlink()
        with replacing(file) as beside:
            beside.write_text(content)


def _content(study: Study, step: str) -> str:
    return canonical_json(settings_for(study, step, {}))


def _named(study: Study, step: str, content: str) -> Path:
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    record = files_of(Path(study.results_dir), step, "").record
    return record.with_name(f"settings-{digest}.json")
