"""Models that branch off others: what they share, what they cost, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ke_steps.planning.costs import jobs
from ke_steps.planning.model_sizes import find_size
from ke_steps.settings.study import Study
from ke_steps.study.branches import branch_faults
from ke_steps.study.jobs import settings_for
from ke_steps.study.places import places, preparations
from tests.invented.project import ROOT

SMOKE = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
BRANCH = {
    "kind": "branch",
    "model": "tiny",
    "corpus": "continual",
    "num_steps": 3,
    "batch_size_sequences": 4,
    "micro_batch_size_sequences": 2,
    "learning_rate": 1e-3,
}


def study(steps: list[int], *, model: dict[str, Any] | None = None, **source: Any) -> Study:
    branch = {"source": BRANCH | source, "steps": steps, **(model or {})}
    return Study.model_validate(SMOKE | {"models": SMOKE["models"] | {"cooled": branch}})


def test_a_branch_has_tokenizer_and_corpora_of_its_trunk() -> None:
    cooled = study([0, 8])
    assert (cooled.trunk("cooled"), cooled.trunk("tiny")) == ("tiny", "tiny")
    assert cooled.speaker("cooled") == "tiny"
    assert cooled.main_corpus("cooled") == cooled.main_corpus("tiny")
    assert {preparation.model for preparation in preparations(cooled)} == {"tiny"}
    there = places(cooled)
    assert [tuple(each) for each in there.branched_checkpoints] == [("cooled", 0), ("cooled", 8)]
    assert not there.fetched_checkpoints
    assert {state.step for state in there.states if state.model == "cooled"} == {0, 8}


def test_trained_steps_make_the_untrained_model_a_stage() -> None:
    assert not study([0, 8]).models["cooled"].has_untrained
    assert study([0, 8], num_steps=0).models["cooled"].has_untrained


def test_its_job_is_not_told_where_it_branches_off() -> None:
    told = settings_for(study([8]), "branch_checkpoint", {"model": "cooled", "step": "8"})
    assert told.keys() >= {"corpus", "num_steps", "learning_rate", "schedule", "num_threads"}
    assert not {"model", "kind"} & told.keys()


def test_the_plan_has_its_training() -> None:
    cooled = study([0, 8])
    size, own = (find_size(cooled, name) for name in ("tiny", "cooled"))
    assert size is not None
    assert own is not None
    assert own.shape == size.shape
    planned = [
        job
        for job in jobs(cooled, {"tiny": size, "cooled": own})
        if job.rule == "branch_checkpoint"
    ]
    length = cooled.corpora["continual"].sequence_length_tokens
    assert [job.training_tokens for job in planned] == [3 * 4 * length] * 2
    tokens = 3 * 4 * length
    assert sum(planned[0].flops.values()) == size.shape.training_flops(tokens, length)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (study([8], model={}, **{"corpus": "continual"}), None),
        (study([4]), ("models.cooled.steps", "models.tiny has no step 4; its steps are [0, 8]")),
        (
            study([8], model={"begin_of_text": "never"}),
            (
                "models.cooled.begin_of_text",
                "never, but models.tiny, whose tokenizer it has, says tokenizer",
            ),
        ),
    ],
)
def test_what_its_trunk_has_not_is_refused(changed: Study, fault: tuple[str, str] | None) -> None:
    assert list(branch_faults(changed)) == ([fault] if fault else [])


def test_a_trunk_that_is_not_there_or_a_branch_is_refused() -> None:
    models = {
        "lost": {"source": BRANCH | {"model": "elsewhere"}, "steps": [8]},
        "cooled": {"source": BRANCH, "steps": [8]},
        "again": {"source": BRANCH | {"model": "cooled"}, "steps": [8]},
    }
    found = Study.model_validate(SMOKE | {"models": SMOKE["models"] | models})
    assert dict(branch_faults(found)) == {
        "models.lost.source.model": ("no model 'elsewhere'; models has tiny, lost, cooled, again"),
        "models.again.source.model": "cooled is a branch; name what it branches off, tiny",
    }
