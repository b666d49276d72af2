"""A study in full, as the file with which another can run it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from ke_steps.settings.study import Study

HEAD = """\
# A study in full, with every default. To run it again, in the project's folder:
#     make report STUDY=<this file>
# Paths are relative to that folder. What jobs ask of a machine, cluster, is not part of it, nor are
# the weights that stay, keep_models.
"""


def resolved(study: Study) -> dict[str, Any]:
    """Return all that a study says of what is measured, in its own order of models and recipes."""
    return study.model_dump(mode="json", exclude={"cluster", "keep_models"})


def study_file(study: Mapping[str, Any]) -> str:
    """Return the file of a resolved study, YAML that is read as that study."""
    return HEAD + yaml.safe_dump(
        dict(study), sort_keys=False, allow_unicode=True, default_flow_style=None
    )
