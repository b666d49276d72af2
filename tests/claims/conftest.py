"""Every finding that a test makes begins its sentences in upper case."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ke_steps.claims.findings import PREDICTION, Finding

LOWER = re.compile(r"(?:^|[.!?] )[a-z]")


@pytest.fixture(autouse=True)
def sentences_begin_in_upper_case(monkeypatch: pytest.MonkeyPatch) -> None:
    make = Finding.__new__

    def checked(cls: type[Finding], *values: Any, **named: Any) -> Finding:
        finding = make(cls, *values, **named)
        statement = finding.statement
        if finding.origin == PREDICTION:  # before it stands the name that the study gave it
            statement = statement.partition(": ")[2]
        for words in (statement, finding.rule, finding.evidence):
            assert not LOWER.search(words), words
        return finding

    monkeypatch.setattr(Finding, "__new__", checked)
