"""One lock, read by everything that installs."""

import re
import tomllib
from importlib import metadata

import yaml

from tests.invented.project import ROOT

LOCK = dict(
    line.split("==")
    for line in (ROOT / "requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


def test_everything_is_pinned_and_torch_is_2_13_0():
    assert all(re.fullmatch(r"[\w.+]+", version) for version in LOCK.values())
    assert LOCK["torch"] == "2.13.0"


def test_the_packages_the_product_is_built_on_are_in_the_lock():
    needed = {"snakemake", "torch", "transformers", "datasets", "pandas", "pyarrow", "seaborn"}
    assert needed <= set(LOCK)


def test_pyproject_reads_the_lock():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["dependencies"]
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {
        "file": ["requirements.txt"]
    }
    assert project["project"]["requires-python"] == ">=3.11,<3.14"


def test_environment_reads_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    assert {"pip": ["-r requirements.txt"]} in environment["dependencies"]


def test_the_running_environment_is_the_lock():
    different = {
        name: (pinned, metadata.version(name).split("+")[0])
        for name, pinned in LOCK.items()
        if metadata.version(name).split("+")[0] != pinned
    }
    assert not different
