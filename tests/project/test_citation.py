"""How others find and cite the product: one version, and files as their readers want them."""

import re
import tomllib

import yaml

from ke_steps.job.identity import VERSION
from tests.invented.project import ROOT

CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
CATALOG = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())


def test_the_version_is_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    attribute = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert attribute == "ke_steps.job.identity.VERSION"
    assert CITATION["version"] == VERSION
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0].split(",")[0] == VERSION


def test_the_citation_has_what_the_format_demands():
    """As schema.json of Citation File Format 1.2.0 has it."""
    assert CITATION["cff-version"] == "1.2.0"
    (paper,) = CITATION["references"]
    assert {"message", "title", "authors"} <= CITATION.keys()
    assert {"type", "title", "authors"} <= paper.keys()
    assert CITATION.keys().isdisjoint({"doi", "date-released"})  # nothing is released yet


def test_the_catalog_finds_the_workflow_and_its_words():
    assert (ROOT / "workflow/Snakefile").is_file()
    assert (ROOT / "config/README.md").is_file()
    usage = CATALOG["usage"]
    assert usage["report"] is True
    assert set(usage["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}
    *_, profile = usage["mandatory-flags"]["flags"].split()
    assert (ROOT / profile / "config.yaml").is_file()
