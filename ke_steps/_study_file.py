"""A study's config file, read with one line per fault."""

from __future__ import annotations

from pathlib import Path

import yaml

from ke_steps._errors import UserError
from ke_steps.study import Study, read_study


def read_study_file(path: Path, *, need_files: bool = True) -> Study:
    """Return the study of a config file.

    Args:
        path: a YAML file.
        need_files: whether a file that the study names and is not there is a fault.

    Raises:
        UserError: the file cannot be read, is no YAML, or the study is wrong; a line per fault.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; studies are in config/") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text, byte {error.start} is no character") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path}: got {config!r}, not keys and values; see config/README.md")
    return read_study(config, need_files=need_files)
