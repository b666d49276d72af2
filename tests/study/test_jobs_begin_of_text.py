"""How a model's texts begin is told to every job that makes tokens of text, and to no other."""

import pytest

from ke_steps.settings.checkpoints import FetchCheckpoint
from ke_steps.settings.cluster import Jobs
from ke_steps.study.jobs import settings_for
from ke_steps.study.reading import read_study
from tests.invented.configs import changed

OUTSIDE = {"source": {"kind": "hub", "repo": "a/b", "revision": "main"}, "steps": [7]}
WILDCARDS = {"model": "outside", "step": "7", "variant": "boost_p50_q2", "recipe": "baseline"}
WILDCARDS |= {"corpus": "held_out", "seed": "0", "shard": "0"}
TOLD = ["prepare_corpus", "encode_probes", "inject_knowledge", "evaluate_retention"]


def settings(setting):
    """Return the settings of every step about a model from outside."""
    study = read_study(changed("models/outside", OUTSIDE | setting))
    unset = {
        "train_tokenizer",
        "pretrain_nursery",
        "keep_checkpoint",
        "branch_checkpoint",
        "evaluate_retention_after_learning",
        "write_report",
    }
    return {step: settings_for(study, step, WILDCARDS) for step in Jobs.model_fields.keys() - unset}


@pytest.mark.parametrize("setting", ["tokenizer", "always", "never"])
def test_the_setting_reaches_the_jobs_that_tokenise(setting):
    found = settings({"begin_of_text": setting})
    assert {step: found[step].get("begin_of_text") for step in TOLD} == dict.fromkeys(TOLD, setting)


def test_a_change_changes_no_other_job():
    one, two = settings({}), settings({"begin_of_text": "never"})
    assert sorted(step for step in one if one[step] != two[step]) == sorted(TOLD)
    received = FetchCheckpoint.model_validate(one["fetch_checkpoint"])
    assert (received.step, received.source.kind) == (7, "hub")
