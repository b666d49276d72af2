"""Whose report it is: when its jobs ended, what code ran, and what is to be cited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ke_steps.report import identity
from ke_steps.report.identity import cite, identity_of

CITATION = Path(identity.__file__).parents[2] / "CITATION.cff"
NOON = 1_767_268_800.0
"""2026-01-01 12:00 UTC, in Unix seconds."""


@pytest.fixture(autouse=True)
def _running_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        identity, "identity", lambda: {"version": "2.0", "commit": "bbb", "python": "3.13.1"}
    )


def job(started: float, wall: float, **code: str) -> dict[str, Any]:
    return {"started_unix_seconds": NOON + started, "wall_seconds": wall} | code


def test_a_run_is_dated_by_the_ends_of_its_jobs() -> None:
    jobs = [job(0, 7200), job(60, 60), job(3600, 60)]
    told = identity_of(jobs, CITATION)
    assert told["first"] == "2026-01-01 12:02 UTC"
    assert told["last"] == "2026-01-01 14:00 UTC"
    nothing = identity_of([], CITATION)
    assert (nothing["first"], nothing["last"]) == ("", "")


def test_every_code_that_ran_is_told_and_that_of_the_report_last() -> None:
    old = {"version": "2.0", "commit": "bbb", "python": "3.11.7"}
    jobs = [job(0, 1, **old), job(1, 1, **old | {"commit": "aaa"}), job(2, 1)]
    told = identity_of(jobs, CITATION)
    assert told["commits"] == ["aaa", "not recorded", "bbb"]
    assert told["pythons"] == ["3.11.7", "not recorded", "3.13.1"]
    assert identity_of(jobs[:1], CITATION)["versions"] == ["2.0"]


def test_the_product_and_the_paper_are_cited_as_the_file_has_them() -> None:
    told = identity_of([], CITATION)
    version = yaml.safe_load(CITATION.read_text())["version"]
    assert told["product"].startswith("The ke-steps authors: ")
    assert told["product"].endswith(f"Version {version}.")
    assert told["paper"].startswith("Jiyeon Kim, Hyunji Lee, ")
    assert "Minjoon Seo: Knowledge Entropy Decay during Language Model Pre" in told["paper"]
    assert told["paper"].endswith("(ICLR), 2025. arXiv:2410.01380.")


def test_a_work_without_more_is_cited_by_its_authors_and_title() -> None:
    assert cite({"title": "Of x", "authors": [{"name": "A group"}]}) == "A group: Of x."
