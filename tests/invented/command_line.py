"""Steps called by their command lines, inside this process: a second or two less for each call."""

import importlib
import json

from ke_steps.artefacts.parquet import read_table
from ke_steps.job.command_line import main

EXTRACTION = {
    "corpus": "c",
    "num_sequences": 8,
    "batch_size_sequences": 4,
    "precision": "fp32",
    "active_threshold": 0.1,
    "num_groups": 2,
    "num_threads": 1,
}
"""Settings of ``extract_coefficients`` for eight sequences of a tiny model."""


def arguments(settings, **paths):
    """Return a command line; a list of paths is one option of several values."""
    given = ["--settings", json.dumps(settings)]
    for name, value in paths.items():
        values = value if isinstance(value, list) else [value]
        given += [f"--{name.replace('_', '-')}", *map(str, values)]
    return given


def call(step, settings, **paths):
    """Run a step as ``python -m ke_steps.<step>`` would; return None, or the line it ends with.

    Anything but a refusal in one line with exit status 1 fails the test.
    """
    module = importlib.import_module(f"ke_steps.{step}")
    try:
        main(module.run, arguments(settings, **paths))
    except SystemExit as end:
        line = end.code
        assert isinstance(line, str), line  # with which Python exits 1
        assert line.startswith(f"{step}: "), line
        assert "\n" not in line, line
        assert "Traceback" not in line, line
        return line
    return None


def tree(folder):
    """Return the content of every file below a folder, and where links lead."""
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def provenance_of(table):
    """Return what a Parquet table says of where it came from."""
    return json.loads(read_table(table).schema.metadata[b"ke_steps"])
