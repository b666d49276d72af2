"""What goes with entropy between runs of pretraining."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import BETWEEN_RUNS
from ke_steps.claims.between_runs import findings_between_runs
from ke_steps.claims.findings import Finding
from ke_steps.claims.judging import claims
from ke_steps.claims.regressions import rows_between_runs
from ke_steps.formulas.uncertainty import holm
from ke_steps.summary.quantities import ENTROPY, FORGETTING_ABOVE_CHANCE
from tests.invented.between_runs import RECIPE, STEPS, Pretrained

KNOWLEDGE, ACCURACY, FORGETTING = (
    f"{name}_goes_with_entropy_between_runs"
    for name in ("knowledge_after", "accuracy_after", "forgetting")
)
EIGHT = {"lean": 4, "rich": 4}


def told(made: Pretrained) -> dict[str, tuple[str, Finding]]:
    found = list(findings_between_runs(made.measured(), made.regressions()))
    return {finding.claim: (where, finding) for where, finding in found}


@pytest.mark.parametrize(
    ("beta", "noise", "verdict"),
    [(0.5, 0.1, "supported"), (-0.5, 0.1, "not supported"), (0.0, 1.0, "inconclusive")],
)
def test_each_outcome_is_judged_in_its_own_direction(beta, noise, verdict):
    found = told(Pretrained(EIGHT, beta=beta, noise=noise))
    assert {name: finding.verdict for name, (_, finding) in found.items()} == dict.fromkeys(
        (KNOWLEDGE, ACCURACY, FORGETTING), verdict
    )
    where, finding = found[KNOWLEDGE]
    assert (where, finding.recipe, finding.num_points) == ("lean, rich", RECIPE, 8)
    assert finding.estimate.low < beta < finding.estimate.high
    assert found[FORGETTING][1].estimate.value == pytest.approx(
        -found[ACCURACY][1].estimate.value, rel=1e-6
    )
    assert "8 runs of 2 families at 3 stages that all have, step 100, 200, 300." in finding.evidence
    assert "goes with" in finding.statement


def test_an_interval_alone_decides_nothing_where_orders_say_chance(monkeypatch):
    monkeypatch.setattr("ke_steps.claims.regressions.slope_p_value", lambda *_: 0.06)
    finding = told(Pretrained(EIGHT, beta=0.5))[KNOWLEDGE][1]
    assert finding.estimate.low > 0
    assert (finding.verdict, finding.p_value) == ("inconclusive", 0.06)


def test_orders_alone_decide_nothing_where_the_interval_holds_zero(monkeypatch):
    monkeypatch.setattr("ke_steps.claims.regressions.slope_p_value", lambda *_: 0.01)
    finding = told(Pretrained(EIGHT, beta=0.0, noise=1.0))[KNOWLEDGE][1]
    assert finding.estimate.low < 0 < finding.estimate.high
    assert finding.verdict == "inconclusive"


def test_what_loss_alone_brings_about_is_not_entropys():
    """H is mostly loss, which lowers K: without it the slope has the other sign."""
    finding = told(Pretrained(EIGHT, beta=0.3, loss=8.0))[KNOWLEDGE][1]
    assert finding.estimate.value == pytest.approx(0.3, abs=0.1)
    assert "At the same held-out loss β is" in finding.evidence
    assert "; without loss " in finding.evidence
    same = told(Pretrained(EIGHT, beta=0.05, loss=8.0))[KNOWLEDGE][1]
    assert "The two differ in sign." in same.evidence
    assert "differ in sign" not in finding.evidence


def test_without_loss_that_is_said():
    made = Pretrained(EIGHT, beta=0.5, noise=0.1)
    made.drop(quantity="bits_per_token_before", model="rich_0", step=200)
    finding = told(made)[KNOWLEDGE][1]
    assert "without held-out loss, which not all runs have there" in finding.evidence
    without = Pretrained(EIGHT, beta=0.5, noise=0.1, has_loss=False)
    assert told(without)[KNOWLEDGE][1].estimate == finding.estimate


def test_fewer_than_eight_runs_are_not_tested_and_those_alone_are_named():
    made = Pretrained({"lean": 4, "rich": 3, "single": 1, "": 2}, beta=0.5)
    where, finding = told(made)[KNOWLEDGE]
    assert finding.verdict == "not tested"
    assert np.isnan(finding.estimate.value)
    assert finding.evidence == (
        "7 runs can be compared; at least 8 are needed. Left out, as no other run of its family is"
        " there to compare it with: single_0, loose_0, loose_1."
    )
    assert where == "lean, rich"


def test_where_no_model_has_a_family_nothing_is_asked():
    assert told(Pretrained({"": 2}, beta=0.5)) == {}


def test_a_run_that_diverged_is_left_out_and_told():
    made = Pretrained({"lean": 5, "rich": 4}, beta=0.5)
    made.diverge("lean_1", 200, 0)
    assert told(made)[KNOWLEDGE][1].num_points == 9
    made.diverge("lean_1", 200, 1)
    finding = told(made)[KNOWLEDGE][1]
    assert finding.num_points == 8
    assert "at 3 stages" in finding.evidence
    assert finding.evidence.endswith(
        "Left out, as all its runs of learning at a stage diverged: lean_1."
    )


def test_only_stages_that_all_runs_share_count():
    made = Pretrained(EIGHT, beta=0.5)
    made.drop(model="rich_3", step=200, quantity=ENTROPY.quantity)
    for seed in (0, 1):
        made.drop(model="lean_0", step=300, quantity=FORGETTING_ABOVE_CHANCE.quantity, seed=seed)
    found = told(made)
    assert "at 2 stages that all have, step 100, 300." in found[KNOWLEDGE][1].evidence
    assert "at 1 stage that all have, step 100." in found[FORGETTING][1].evidence
    made.drop(model="rich_3", step=100, quantity=ENTROPY.quantity)
    assert found[FORGETTING][1].verdict == "supported"
    none = told(made)[FORGETTING][1]
    assert none.verdict == "not tested"
    assert none.evidence == "8 runs share no stage at which H and F above chance are known."


def test_entropy_alike_in_all_runs_is_not_tested():
    made = Pretrained(EIGHT, beta=0.5)
    for row in made.rows:
        if row["quantity"] == ENTROPY.quantity:
            row["value"] = 40.0
    finding = told(made)[KNOWLEDGE][1]
    assert finding.verdict == "not tested"
    assert "not defined" in finding.evidence
    assert "nan" not in finding.evidence
    assert not list(rows_between_runs(made.regressions()))


def test_they_are_secondary_and_corrected_with_the_others():
    made = Pretrained(EIGHT, beta=0.5)
    table = pd.DataFrame(claims(made.measured(), made.regressions()))
    between = table[table["claim"].isin([KNOWLEDGE, ACCURACY, FORGETTING])]
    assert set(between["model"]) == {"lean, rich"}
    assert not between["is_primary"].any()
    secondary = table[~table["is_primary"]]
    assert secondary["adjusted_p_value"].to_numpy() == pytest.approx(
        holm(secondary["p_value"].to_numpy()), nan_ok=True
    )
    assert between["adjusted_p_value"].notna().all()


def test_the_table_has_the_points_that_the_slope_is_of(tmp_path):
    made = Pretrained(EIGHT, beta=0.5)
    found = pd.DataFrame(rows_between_runs(made.regressions()))
    write_table(tmp_path / "between_runs.parquet", found, BETWEEN_RUNS)
    rows = read_frame(tmp_path / "between_runs.parquet", BETWEEN_RUNS)
    assert len(rows) == 3 * 8 * (len(STEPS) - 1)
    for quantity, points in rows.groupby("quantity"):
        fitted = np.polyfit(points["entropy_residual_nats"], points["residual"], 1)
        assert fitted == pytest.approx([points["slope"].iloc[0], 0.0], abs=1e-9), quantity
    assert set(rows["family"]) == {"lean", "rich"}
