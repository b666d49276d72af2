"""One lock, read by everything that installs."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata

import pytest
import yaml

from ke_steps.job.identity import VERSION
from tests.invented.measured import build_folder, write_text
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
    assert "dependencies" in project["project"]["dynamic"]
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel that ``pip install .`` would, without a network; return it unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    names = ("pyproject.toml", "README.md", "requirements.txt", "ke_steps")
    subprocess.run(["cp", "-RL", *(ROOT / name for name in names), folder], check=True)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    said = subprocess.run(
        [sys.executable, "-c", build], cwd=folder, capture_output=True, text=True, check=True
    )
    target = folder / "installed"
    with zipfile.ZipFile(folder / said.stdout.splitlines()[-1]) as file:
        file.extractall(target)
    shutil.rmtree(folder / "ke_steps")
    return target


def test_the_wheel_has_every_module(wheel):
    tree = {path.relative_to(ROOT) for path in (ROOT / "ke_steps").rglob("*.py")}
    assert {path.relative_to(wheel) for path in wheel.rglob("*.py")} == tree


def test_the_wheel_has_the_version(wheel):
    (information,) = wheel.glob("*.dist-info/METADATA")
    assert f"\nVersion: {VERSION}\n" in information.read_text()


def test_the_wheel_measures(wheel, tmp_path):
    """In a folder that has nothing of the project."""
    folder = build_folder(tmp_path / "model")
    code = (
        "import sys, ke_steps; from ke_steps import measure;"
        " print(ke_steps.__file__, measure(*sys.argv[1:], num_sequences=16).num_sequences)"
    )
    run = [sys.executable, "-c", code, folder, write_text(tmp_path / "text.txt")]
    done = subprocess.run(
        run,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(wheel / "ke_steps/__init__.py"), "16"]
