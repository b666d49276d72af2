"""Every claim has a rule, and says of which model, recipe and variant it holds."""

from __future__ import annotations

from pathlib import Path

from ke_steps.artefacts import summary_schemas
from ke_steps.artefacts.parquet import read_frame
from ke_steps.claims.judging import CLAIMS
from tests.invented.claims import DECIDERS
from tests.invented.study import SyntheticStudy


def test_a_single_checkpoint_leaves_trends_inconclusive(tmp_path: Path) -> None:
    tables = SyntheticStudy(tmp_path, steps=(2000,), seeds=(0,), variants={}).build()
    findings = read_frame(tables["claims"], summary_schemas.CLAIMS)
    verdicts = dict(zip(findings["claim"], findings["verdict"], strict=True))
    assert verdicts.pop("once_knowledge_is_lost") == "supported"
    assert set(verdicts.values()) == {"inconclusive"}
    assert findings["evidence"].str.len().min() > 10


def test_claims_carry_model_recipe_variant_and_unit(tables: dict[str, Path]) -> None:
    findings = read_frame(tables["claims"], summary_schemas.CLAIMS)
    assert set(findings["claim"]) == {name for name in DECIDERS if "temperature" not in name}
    assert set(findings["model"]) == {"nursery"}
    woken = findings[findings["claim"].str.startswith("resuscitation")]
    assert set(woken["variant"]) == {"boost_p50_q2"}
    trends = findings[findings["claim"].str.contains("with_entropy|as_entropy")]
    assert set(trends["recipe"]) == {"baseline"}


def test_a_recipe_at_few_stages_has_no_trend(tmp_path: Path) -> None:
    class Limited(SyntheticStudy):
        def _write_run(self, files, run, *values) -> None:
            if "/lr1e-4/" not in run or "/step2000/" in run:
                super()._write_run(files, run, *values)

    study = Limited(tmp_path, variants={}, recipes=("baseline", "lr1e-4"))
    findings = read_frame(study.build()["claims"], summary_schemas.CLAIMS)
    limited = findings[(findings["recipe"] == "lr1e-4") & findings["variant"].isna()]
    assert dict(zip(limited["claim"], limited["num_points"], strict=True)) == {
        "acquisition_falls_with_entropy": 1,
        "forgetting_rises_as_entropy_falls": 1,
        "performance_after_best_at_mid_stage": 1,
        "accuracy_after_best_at_mid_stage": 1,
        "once_knowledge_is_lost": 1,
        "active_memories_change_most": 1,
        "late_stages_concentrate_updates": 1,
        "resuscitation_improves_acquisition": 0,
        "resuscitation_lowers_forgetting": 0,
    }
    assert "nan" not in " ".join(limited["evidence"])


def test_every_claim_has_its_own_rule() -> None:
    assert set(DECIDERS.values()) == set(CLAIMS)
