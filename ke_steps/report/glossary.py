"""The words of the report and what they mean, from the glossary of the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Term(NamedTuple):
    """A word, or several that belong together, and what it means."""

    word: str
    meaning: str


def terms_of(glossary: Path) -> list[Term]:
    """Return the rows of the glossary's one table, a Markdown table of two columns."""
    rows = [line for line in glossary.read_text().splitlines() if line.startswith("|")]
    return [Term(*(cell.strip() for cell in row.strip("|").split("|"))) for row in rows[2:]]
