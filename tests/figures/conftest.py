"""Figures of an invented study of one model, two recipes and both kinds of variants."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ke_steps.artefacts.summary_schemas import EFFECTS, FRONTIERS
from ke_steps.claims.effect_rows import effect_rows
from ke_steps.claims.frontier_rows import frontier_rows
from ke_steps.claims.regressions import rows_between_runs
from ke_steps.figures import style
from ke_steps.figures.panels import Tables
from tests.invented.between_runs import Pretrained
from tests.invented.effects import crossed, draws
from tests.invented.figures import INPUTS, STEPS, VARIANTS, Drawn, read_tables
from tests.invented.frontiers import line, swept
from tests.invented.once import once
from tests.invented.phases import ARMS, grid, tables_of
from tests.invented.study import SyntheticStudy


@pytest.fixture(scope="session")
def one_model(common_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Return the tables of the study."""
    return once(
        common_folder / "figures_of_one_model.pickle",
        lambda: build_one_model(tmp_path_factory.mktemp("study")),
    )


def build_one_model(folder: Path) -> Tables:
    study = SyntheticStudy(
        folder,
        models=("olmo",),
        steps=STEPS,
        variants=VARIANTS,
        recipes=("baseline", "c4"),
        num_layers=2,
    )
    between = rows_between_runs(Pretrained({"lean": 4, "rich": 4}, beta=0.5).regressions())
    curves = {(400, "original"): line(), (2000, "original"): line(start=-2)}
    frontiers = frontier_rows(swept(curves | {(2000, "boost_p50_q2"): line()}).measured())
    controls = draws((0.0, 0.0), (0.1, 0.0))
    effects = effect_rows(crossed(gauge=(0.2, 0.05), controls=controls, growth=(1, 2)).measured())
    return replace(
        read_tables(study, study.build()),
        between_runs=pd.DataFrame(between),
        frontiers=pd.DataFrame(frontiers).reindex(columns=FRONTIERS.names),
        effects=pd.DataFrame(effects).reindex(columns=EFFECTS.names),
    )


@pytest.fixture(scope="session")
def tables(one_model: Tables) -> Tables:
    """Return the same with a second model."""
    twice = {}
    for name in INPUTS:
        frame = getattr(one_model, name)
        if "model" not in frame or name == "between_runs":
            continue
        twice[name] = pd.concat([frame, frame.assign(model="pythia")], ignore_index=True)
    return replace(one_model, **twice)


@pytest.fixture(autouse=True)
def _style_used() -> None:
    style.use_style()


@pytest.fixture(scope="session")
def drawn(one_model: Tables, tables: Tables) -> Drawn:
    """Return every figure, drawn when a test first asks for it."""
    families = [arm.family for arm in ARMS[:2]]
    told = {"name": "P1", "claim": "entropy_falls_after_saturation", "families": families}
    others = {"learning_by_model": tables, "entropy_by_phase": tables_of(grid([told]))}
    return Drawn(one_model, others)
