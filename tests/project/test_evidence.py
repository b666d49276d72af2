"""What docs/evidence says is in the tables beside it; a study's own come there by the script."""

import re
import runpy

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.invented.project import ROOT

EVIDENCE = ROOT / "docs/evidence"
SCRIPT = runpy.run_path(str(ROOT / "workflow/scripts/collect_evidence.py"))
VERDICTS = ("not supported", "inconclusive", "supported")


def claims_of(study):
    return pd.read_parquet(EVIDENCE / study / "claims.parquet")


def number(text):
    return float(text.replace("−", "-").replace("+", ""))


def test_the_grids_predictions_came_out_as_the_page_says():
    page = (EVIDENCE / "nursery_grid.md").read_text()
    found = claims_of("nursery_grid")
    found = found[found["origin"] == "prediction"]
    assert len(found) == 7
    for claim in found.to_dict("records"):
        name = claim["statement"].partition(":")[0]
        (row,) = re.findall(rf"^\| {name}: .*$", page, re.M)
        *_, estimate, _interval, p_value, verdict, _end = row.split("|")
        assert claim["verdict"] == next(word for word in VERDICTS if word in verdict), name
        values = [number(value) for value in re.findall(r"[−+]\d+\.\d+", estimate)]
        percent = 100 if claim["unit"] == "points" else 1
        assert min(abs(value - percent * claim["value"]) for value in values) < 0.051, name
        if "·" not in p_value:
            assert float(p_value) == pytest.approx(claim["adjusted_p_value"], abs=6e-4), name


@pytest.mark.parametrize(
    ("study", "claim", "verdicts"),
    [
        ("confirmation", "entropy_falls", ["supported"] * 3),
        ("confirmation", "contribution_entropy_falls", ["supported"] * 3),
        ("confirmation", "knowledge_after_falls", ["supported"] * 3),
        ("confirmation", "forgetting_rises", ["supported"] * 3),
        ("confirmation", "resuscitation_raises_entropy", ["supported"] * 3),
        ("gcide", "entropy_falls", ["not supported"] * 3),
        ("gcide_14m", "entropy_falls", ["not supported"]),
        ("gcide", "knowledge_after_falls", ["not supported"] * 3),
        ("nursery_grid", "knowledge_after_goes_with_entropy_between_runs", ["inconclusive"]),
        ("nursery_grid", "forgetting_goes_with_entropy_between_runs", ["inconclusive"]),
        ("nursery_grid", "last_layer_falls_most", ["not supported"] * 28),
    ],
)
def test_verdicts_on_the_first_page(study, claim, verdicts):
    found = claims_of(study)
    assert sorted(found.loc[found["claim"] == claim, "verdict"]) == verdicts


def test_forgetting_rises_with_decay_alone():
    phases = pd.read_parquet(EVIDENCE / "nursery_grid/phases.parquet")
    found = phases[(phases["quantity"] == "forgetting_above_chance") & phases["family"].notna()]
    changes = found.groupby("family")["change_after"].mean()
    is_high = changes.index.str.contains("_high_")
    assert changes[is_high].between(0.355, 0.585).all()
    assert changes[~is_high].between(-0.075, -0.02).all()


def test_what_interventions_do_is_what_the_page_says():
    found = claims_of("interventions").set_index(["claim", "variant", "model"]).sort_index()
    alone = found.loc["entropy_alone_changes_learning"]
    assert set(alone["verdict"]) == {"not supported"}
    assert alone[["value", "low", "high"]].abs().to_numpy().max() < 1e-6
    assert alone["value"].abs().max() < 1e-7
    seeds = [f"nursery_seed{seed}" for seed in (201, 202, 203)]
    for claim, variant, verdicts, mean in (
        ("gauge_changes_learning", "gauge", ["supported"] * 2 + ["not supported"], 0.13),
        ("function_changes_learning", "function", ["supported"] + ["inconclusive"] * 2, 0.04),
    ):
        of_runs = found.loc[claim, variant]
        assert list(of_runs.loc[seeds, "verdict"]) == verdicts
        assert of_runs.loc["nursery", "verdict"] == "inconclusive"
        assert of_runs.loc["nursery", "value"] == pytest.approx(mean, abs=5e-3)
    dormant = found.loc["dormant_memories_learn_more_than_others", "verdict"]
    assert sorted(dormant) == ["inconclusive"] * 5 + ["not supported"]
    effects = pd.read_parquet(EVIDENCE / "interventions/effects.parquet")
    is_kept = (effects["quantity"] == "accuracy_after") & effects["recipe"].isna()
    kept = effects[is_kept & (effects["effect"] == "permuted")]["value"]
    assert kept.between(0.06, 0.214).all() and len(kept) == 6
    gauge = effects[is_kept & (effects["effect"] == "gauge")].set_index("model")["value"]
    assert list(gauge[seeds]) == pytest.approx([-0.0075, -0.051, -0.016], abs=5e-4)
    frontier = found.loc["variant_learns_more_by_frontier", "verdict"]
    assert "supported" not in set(frontier["gauge"]) | set(frontier["resuscitate"])


def test_a_studys_tables_are_copied_with_the_code_that_made_them(tmp_path):
    for folder in ("summarize", "plot_figures"):
        (tmp_path / "results" / folder).mkdir(parents=True)
    for name in SCRIPT["TABLES"]:
        source, target = EVIDENCE / f"nursery_grid/{name}.parquet", tmp_path / "results/summarize"
        rows = (
            pq.read_table(source) if source.exists() else pa.table({"model": pa.array([], "str")})
        )
        pq.write_table(rows, target / f"{name}.parquet")
    (tmp_path / "results/plot_figures/one.png").write_bytes(b"a picture")
    SCRIPT["main"](tmp_path / "results", tmp_path / "evidence", "one")
    copied = {path.stem for path in (tmp_path / "evidence").glob("*.parquet")}
    assert copied == {path.stem for path in (EVIDENCE / "nursery_grid").glob("*.parquet")}
    assert (tmp_path / "evidence/one.png").read_bytes() == b"a picture"
    for name in copied:
        made, there = (
            pq.read_table(folder / f"{name}.parquet")
            for folder in (tmp_path / "evidence", EVIDENCE / "nursery_grid")
        )
        assert made.equals(there, check_metadata=True)
        assert b"versions" in made.schema.metadata[b"ke_steps"]
