"""The contest of predictors: H that carries information, H that does not, and too few runs."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import CONTESTS
from ke_steps.claims.contests import contest_rows, contests, errors_of, findings_of_contests
from ke_steps.claims.findings import Finding
from ke_steps.claims.judging import claims
from ke_steps.report.rivals import contest_table
from ke_steps.summary.quantities import HELD_OUT_LOSS, PARTICIPATION_RATIO, SENSITIVITY, Measure
from tests.invented.between_runs import RECIPE, Pretrained

KNOWLEDGE, FORGETTING = (
    f"{name}_is_foretold_by_entropy" for name in ("knowledge_after", "forgetting")
)
EIGHT = {"lean": 4, "rich": 4}


def told(made: Pretrained) -> dict[str, tuple[str, Finding]]:
    found = list(findings_of_contests(made.measured(), made.contests()))
    return {finding.claim: (where, finding) for where, finding in found}


def pretrained(families: dict[str, int] = EIGHT, *, beta: float, noise: float = 0.1) -> Pretrained:
    made = Pretrained(families, beta=beta, noise=noise)
    made.add_rivals()
    return made


def test_entropy_that_carries_information_wins_and_by_as_much_as_it_has() -> None:
    made = pretrained(beta=0.5)
    found = told(made)
    assert {name: finding.verdict for name, (_, finding) in found.items()} == {
        KNOWLEDGE: "supported",
        FORGETTING: "supported",
    }
    where, finding = found[KNOWLEDGE]
    assert (where, finding.recipe, finding.num_points) == ("lean, rich", RECIPE, 8)
    assert 0.8 < finding.estimate.low < finding.estimate.value <= finding.estimate.high <= 1
    assert "rivals: held-out loss, sensitivity, participation ratio." in finding.evidence
    errors = dict(errors_of(made.contests()[0]))
    assert errors["all and H"] < 0.2 < errors["all but H"]
    assert 1 - (errors["all and H"] / errors["all but H"]) ** 2 == pytest.approx(
        finding.estimate.value
    )
    assert list(errors) == [
        *("family and stage", "held-out loss", "sensitivity", "participation ratio"),
        *("H", "all but H", "all and H"),
    ]


def test_entropy_that_carries_none_decides_nothing() -> None:
    made = pretrained(beta=0.0, noise=0.5)
    for _, finding in told(made).values():
        assert finding.verdict == "inconclusive"
        assert finding.estimate.low < 0
    errors = dict(errors_of(made.contests()[0]))
    assert errors["held-out loss"] < 0.8 * min(errors["H"], errors["family and stage"])


@pytest.mark.parametrize(
    ("families", "num_all", "num_counted", "where"),
    [
        ({"": 1}, 1, 0, "loose_0"),
        ({"lean": 4, "rich": 3, "": 1}, 8, 7, "lean, rich"),
    ],
    ids=["one run", "seven"],
)
def test_with_too_few_runs_one_sentence_says_that_it_cannot_be_answered(
    families: dict[str, int], num_all: int, num_counted: int, where: str
) -> None:
    made = pretrained(families, beta=0.5)
    found = told(made)
    about, finding = found[KNOWLEDGE]
    assert about == where
    assert finding.verdict == "not tested"
    assert np.isnan(finding.estimate.value)
    assert finding.evidence == (
        "Whether entropy foretells K after beyond its rivals cannot be answered here: it takes at"
        " least 8 runs of pretraining, none of them alone in its family, and of the"
        f" {num_all} in this study {num_counted} count."
    )
    assert not list(contest_rows(made.contests()))
    assert f"of the {num_all} in this study" in found[FORGETTING][1].evidence


def test_an_outcome_that_is_defined_nowhere_changes_not_how_many_runs_there_are() -> None:
    made = pretrained({"": 1}, beta=0.5)
    for row in made.rows:
        if row["quantity"] == "forgetting_above_chance":
            row["value"] = math.nan
    assert "of the 1 in this study 0 count." in told(made)[FORGETTING][1].evidence


def test_a_rival_that_some_run_lacks_is_left_out_and_the_rest_compete() -> None:
    made = pretrained(beta=0.5)
    made.drop(quantity=SENSITIVITY, group="model γ=0.1", model="rich_1", step=200)
    finding = told(made)[KNOWLEDGE][1]
    assert "rivals: held-out loss, participation ratio." in finding.evidence
    assert finding.verdict == "supported"


def test_without_any_rival_that_all_have_that_is_said() -> None:
    made = pretrained(beta=0.5)
    for measure in made.contests()[0].rivals.values():
        made.drop(**measure._asdict(), model="rich_1", step=200)
    evidence = told(made)[KNOWLEDGE][1].evidence
    assert "rivals: none, as no rival is known of all runs there." in evidence


def test_runs_without_a_stage_in_common_are_told() -> None:
    made = pretrained(beta=0.5)
    for step in (100, 200, 300):
        made.drop(model=f"rich_{step // 100}", step=step, quantity="entropy_nats")
    finding = told(made)[KNOWLEDGE][1]
    assert finding.verdict == "not tested"
    assert finding.evidence == "8 runs share no stage at which H and K after are known."


def test_entropy_alike_in_all_runs_is_not_tested() -> None:
    made = pretrained(beta=0.5)
    for row in made.rows:
        if row["quantity"] == "entropy_nats":
            row["value"] = 40.0
    finding = told(made)[KNOWLEDGE][1]
    assert finding.verdict == "not tested"
    assert "Not defined" in finding.evidence
    assert "nan" not in finding.evidence


def test_where_no_rival_is_measured_nothing_is_asked() -> None:
    made = Pretrained(EIGHT, beta=0.5)
    assert contests(made.measured(), made.runs()) == []


def test_they_are_secondary_claims_and_the_table_has_every_error(tmp_path: Path) -> None:
    made = pretrained(beta=0.5)
    contested = made.contests()
    verdicts = pd.DataFrame(claims(made.measured(), made.regressions(), contested))
    ours = verdicts[verdicts["claim"].isin([KNOWLEDGE, FORGETTING])]
    assert len(ours) == 2
    assert not ours["is_primary"].any()
    assert ours["adjusted_p_value"].notna().all()
    write_table(tmp_path / "contests.parquet", list(contest_rows(contested)), CONTESTS)
    rows = read_frame(tmp_path / "contests.parquet", CONTESTS)
    assert len(rows) == 2 * 7
    assert set(rows["num_stages"]) == {3}
    table = contest_table(rows)
    assert table is not None
    assert table.columns == ["predictors", "K after", "F above chance"]
    assert [row[0] for row in table.rows][-2:] == ["all but H", "all and H"]
    assert re.fullmatch(r"0\.\d{3}", table.rows[-1][1])
    assert contest_table(rows.head(0)) is None


def test_the_measures_that_compete_are_those_measured_before_learning() -> None:
    made = pretrained(beta=0.5)
    assert made.contests()[0].rivals == {
        "held-out loss": HELD_OUT_LOSS,
        "sensitivity": Measure(SENSITIVITY, "model γ=0.1"),
        "participation ratio": PARTICIPATION_RATIO,
    }
