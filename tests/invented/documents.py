"""What the documents show: their blocks, and the commands in them."""

import re
import shlex

from tests.invented.project import ROOT

DOCUMENTS = ("README.md", "config/README.md", "docs/measure.md", "docs/hub.md")
"""Whose commands are tested."""

PROGRAMS = ("make", "python", "pip", "snakemake")


def blocks(document, language=""):
    """Return the fenced blocks of a document that are of a language (none: plain ones)."""
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def commands(document):
    """Return the lines of all blocks that begin with one of ``PROGRAMS``, as printed."""
    lines = [line for block in blocks(document, r"\w*") for line in block.splitlines()]
    return [line for line in lines if re.match(rf"\s*(\$ )?({'|'.join(PROGRAMS)})\b", line)]


def words(line):
    """Return the words of a command, without the comment behind it."""
    return shlex.split(line, comments=True)
