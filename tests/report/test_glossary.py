"""The glossary: written once, in plain words, on at most one page."""

from __future__ import annotations

from pathlib import Path

from ke_steps.report import glossary
from ke_steps.report.glossary import terms_of

GLOSSARY = Path(glossary.__file__).parents[2] / "docs/glossary.md"


def test_each_row_is_a_term(tmp_path: Path) -> None:
    table = "# G\n\nWords.\n\n| word | meaning |\n|---|---|\n| A* | one, two |\n| b | three |\n"
    (tmp_path / "g.md").write_text(table)
    assert terms_of(tmp_path / "g.md") == [("A*", "one, two"), ("b", "three")]


def test_the_letters_of_the_report_are_explained_once() -> None:
    words = [word for term in terms_of(GLOSSARY) for word in term.word.split(", ")]
    assert len(set(words)) == len(words)
    needed = {"H", "K", "P", "A", "A*", "F", "F above chance", "nursery", "variant", "recipe"}
    needed |= {"stage", "gauge", "dormant", "memory", "inconclusive"}
    assert needed <= set(words)


def test_it_is_one_page_of_plain_words() -> None:
    terms = terms_of(GLOSSARY)
    assert len(terms) <= 40
    assert all(len(term.meaning) <= 130 for term in terms)
    assert not any(set(term.meaning) & set("`*[]_") for term in terms)
