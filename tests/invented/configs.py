"""The default study, and the same with one key changed."""

import copy

import yaml

from tests.invented.project import ROOT

DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text())

REMOVE = "(removed)"


def changed(path: str, value: object) -> dict:
    """The default study with one key set (or removed)."""
    study = copy.deepcopy(DEFAULT)
    *parents, last = path.split("/")
    node = study
    for key in parents:
        node = node[key]
    if value is REMOVE:
        del node[last]
    else:
        node[last] = value
    return study
