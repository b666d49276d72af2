"""Several nurseries in one study: whose settings hold, and who shares a tokenizer."""

import copy

import pytest

from ke_steps.job.errors import UserError
from ke_steps.settings.steps import log_spaced
from ke_steps.study.jobs import settings_for
from ke_steps.study.places import folders, preparations
from ke_steps.study.reading import read_study
from tests.invented.configs import WHOLE

TEXT = {"kind": "world", "domain": "continual"}


def study_of(**sources):
    """The whole study with models besides, each a nursery that says so much."""
    study = copy.deepcopy(WHOLE)
    study["corpora"]["other"] = study["corpora"]["pretraining"] | {"source": TEXT}
    for name, source in sources.items():
        study["models"][name] = {"source": {"kind": "nursery", **source}, "steps": [0, 400]}
    return study


def test_a_model_overrides_the_section_key_by_key():
    study = read_study(study_of(heavy={"weight_decay": 1.0, "seed": 3}))
    of_all, heavy = (study.nurseries[name].model_dump() for name in ("nursery", "heavy"))
    assert {key for key in of_all if of_all[key] != heavy[key]} == {"weight_decay", "seed"}
    assert of_all == study.pretrain_nursery.model_dump() | {"kind": "nursery"}
    job = settings_for(study, "pretrain_nursery", {"model": "heavy"})
    assert job == {key: heavy[key] for key in heavy if key != "kind"} | {"steps": [0, 400]}
    assert (job["weight_decay"], job["seed"], job["hidden_size"]) == (1.0, 3, 96)
    kept = settings_for(study, "keep_checkpoint", {"model": "heavy", "step": "400"})
    assert kept == {"step": 400}


def test_a_study_that_was_read_is_read_alike_again():
    study = read_study(study_of(heavy={"weight_decay": 1.0}))
    assert read_study(study.model_dump(mode="json")) == study


def test_a_fault_is_told_once_where_it_is():
    wrong = study_of(heavy={"weight_decay": 1.0}, other={})
    wrong["pretrain_nursery"]["learning_rate"] = "fast"
    with pytest.raises(UserError) as refusal:
        read_study(wrong)
    assert str(refusal.value).splitlines() == [
        "pretrain_nursery.learning_rate: got 'fast'; should be a valid number"
    ]
    wrong["pretrain_nursery"]["learning_rate"] = 1e-3
    wrong["pretrain_nursery"]["corpus"] = "dolma"
    with pytest.raises(UserError) as refusal:
        read_study(wrong)
    (line,) = str(refusal.value).splitlines()
    assert line.startswith("pretrain_nursery.corpus: no corpus 'dolma'")


def test_nurseries_of_one_corpus_share_its_first_ones_tokenizer_and_texts():
    study = read_study(study_of(second={"seed": 1}, third={"corpus": "other"}, fourth={"seed": 2}))
    speakers = {name: study.speaker(name) for name in study.models}
    assert speakers == dict.fromkeys(("nursery", "second", "fourth"), "nursery") | {
        "third": "third"
    }
    read = {corpus for model, corpus in preparations(study) if model == "nursery"}
    assert {model for model, _ in preparations(study)} == {"nursery", "third"}
    assert read == {"pretraining", "held_out", "continual"}
    assert ("third", "other") in preparations(study)
    learnt = settings_for(study, "train_tokenizer", {"model": "third"})
    assert learnt["source"].items() >= TEXT.items()
    assert settings_for(study, "train_tokenizer", {"model": "nursery"}) != learnt
    assert "fourth/step400" in folders(study)["nursery_checkpoints"]


def test_the_tokenizer_needs_a_world_only_where_its_corpus_does():
    study = study_of()
    del study["world"]
    study["corpora"] = {
        name: corpus | {"source": {"kind": "text", "paths": [str(__file__).replace(".py", ".txt")]}}
        for name, corpus in study["corpora"].items()
    }
    with pytest.raises(UserError) as refusal:
        read_study(study, need_files=False)
    (line,) = str(refusal.value).splitlines()
    assert line == "world: missing, but needed by knowledge.source, evaluate_retention.tasks"


def test_a_corpus_must_fit_each_nursery_that_reads_it():
    study = study_of(short={"corpus": "short"})
    study["corpora"]["short"] = study["corpora"]["pretraining"] | {"sequence_length_tokens": 64}
    study["corpora"]["short"]["num_sequences"] = 12800
    with pytest.raises(UserError, match=r"128 exceeds the 64 positions that models\.short learns"):
        read_study(study)


def test_epochs_need_the_sequences_of_one():
    study = study_of(twice={"corpus": "short", "num_epochs": 2})
    study["corpora"]["short"] = study["corpora"]["pretraining"] | {"num_sequences": 6400}
    read_study(study)
    study["corpora"]["short"]["num_sequences"] = 6399
    with pytest.raises(UserError, match=r"6399.* 6400"):
        read_study(study)


def test_epochs_must_divide_the_steps():
    with pytest.raises(UserError, match=r"num_epochs 3 must divide num_steps 400"):
        read_study(study_of(thirds={"num_epochs": 3}))


@pytest.mark.parametrize(
    ("first", "last", "count", "steps"),
    [
        (16, 6000, 3, [16, 310, 6000]),
        (1, 8, 4, [1, 2, 4, 8]),
        (10, 11, 2, [10, 11]),
        (16, 1024, 7, [16, 32, 64, 128, 256, 512, 1024]),
    ],
)
def test_log_spaced_steps(first, last, count, steps):
    assert log_spaced(first, last, count) == steps


def test_a_model_may_have_log_spaced_steps_wherever_it_is_from():
    study = study_of()
    study["models"]["nursery"]["steps"] = {"log_spaced": [25, 400, 5]}
    study["models"]["outside"] = {
        "source": {"kind": "hub", "repo": "a/b", "revision": "step{step}"},
        "steps": {"log_spaced": [25, 400, 5]},
    }
    study["variants"], study["recipes"] = {}, {}
    del study["knowledge"]
    found = read_study(study)
    for model in found.models.values():
        assert model.steps == [25, 50, 100, 200, 400]
