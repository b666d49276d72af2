"""Each job receives what it depends on and nothing else, and accepts it."""

import copy

import pytest

from ke_steps.job.files import canonical_json
from ke_steps.settings.checkpoints import KeepCheckpoint, PretrainNursery, TrainTokenizerJob
from ke_steps.settings.interventions import Intervene
from ke_steps.settings.learning import (
    EncodeProbes,
    EvaluateKnowledge,
    EvaluateRetentionJob,
    FitDecay,
    InjectKnowledge,
    ScheduleInjections,
)
from ke_steps.settings.measures import (
    AggregateEntropy,
    AggregateUpdates,
    DescribeMemoriesJob,
    ExtractCoefficientsJob,
    ExtractShardJob,
    MeasureRivalsJob,
)
from ke_steps.settings.telling import PlotFiguresJob, SummarizeJob, WriteReportJob
from ke_steps.settings.texts import EvaluateNoveltyJob, PrepareCorpus, PrepareKnowledge
from ke_steps.study.jobs import settings_for
from ke_steps.study.presets import FICTIONAL_KNOWLEDGE
from ke_steps.study.reading import read_study
from tests.invented.configs import WHOLE, changed

ALGORITHM = {"quantile": 0.5, "boost": 2.0}
EVERY_KIND = {
    **{kind: {"kind": kind, **ALGORITHM} for kind in ("resuscitate", "gauge", "inverse_gauge")},
    "function": {"kind": "function", **ALGORITHM},
    **{kind: {"kind": kind, "of": "gauge", **ALGORITHM} for kind in ("permuted", "top", "noise")},
    **{
        kind: {"kind": kind, "temperature": 2.0} for kind in ("temper_attention", "rescale_queries")
    },
}


def test_draws_are_arms_of_their_own_that_differ_in_their_number_alone():
    study = copy.deepcopy(WHOLE)
    study["variants"] = EVERY_KIND
    study["variants"]["permuted"] = EVERY_KIND["permuted"] | {"num_draws": 2, "steps": [200]}
    study["recipes"]["baseline"] |= {"variants": ["permuted", "top"]}
    study = read_study(study)
    draws = ["permuted_draw0", "permuted_draw1"]
    noise = [f"noise_draw{draw}" for draw in range(5)]
    names = [name for name in EVERY_KIND if name not in ("permuted", "noise")]
    assert set(study.arms) == {*names, *draws, *noise}
    assert {s.variant for s in study.states() if s.step == 200} == {"original", *study.arms}
    assert not {s.variant for s in study.states() if s.step == 400} & set(draws)
    assert {run.variant for run in study.runs()} == {*draws, "top"}
    first, second = (settings_for(study, "intervene", {"variant": name}) for name in draws)
    assert (first.pop("draw"), second.pop("draw")) == (0, 1)
    assert first == second
    assert first["intervention"].keys().isdisjoint({"num_draws", "models", "steps"})
    told = SummarizeJob.model_validate(settings_for(study, "summarize", {}))
    assert told.variants["noise_draw3"].kind == "noise"
    drawn = PlotFiguresJob.model_validate(settings_for(study, "plot_figures", {}))
    assert list(drawn.variants) == list(study.arms)


def test_settings_of_a_job_hold_only_what_it_depends_on():
    study = read_study(WHOLE)
    wildcards = {"model": "nursery", "step": "200", "variant": "boost_p50_q2", "corpus": "held_out"}
    wildcards |= {"recipe": "baseline", "seed": "1"}
    algorithm = {"quantile": 0.5, "boost": 2.0, "max_multiplier": None}
    assert settings_for(study, "intervene", wildcards) == {
        "intervention": {"kind": "resuscitate", **algorithm, "rows": "up"},
        "draw": 0,
    }
    assert settings_for(study, "schedule_injections", wildcards) == {
        "num_steps": 60,
        "num_epochs": 1,
        "num_injections": 10,
        "injection_interval_steps": 3,
        "batch_size_sequences": 12,
        "seed": 1,
    }
    assert settings_for(study, "prepare_corpus", wildcards)["skip_sequences"] == 12800
    of_extraction = settings_for(study, "extract_coefficients", wildcards)
    assert not {"other_corpora", "num_shards"} & set(of_extraction)
    few = read_study(changed("describe_memories/steps", [200]))
    described = settings_for(few, "describe_memories", wildcards)
    assert described == {"num_memories": 3, "num_tokens": 8, "num_threads": 1}


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_retention_below_fp32_is_compared_on_the_last_checkpoint_of_a_model(precision):
    study = read_study(changed("evaluate_retention/precision", precision))
    last = max(study.models["nursery"].steps)
    run = {"recipe": "baseline", "seed": "0"}
    for step, variant, of_run, compared in [
        (last, "original", {}, True),
        (min(study.models["nursery"].steps), "original", {}, False),
        (last, "boost_p50_q2", {}, False),
        (last, "original", run, False),
    ]:
        wildcards = {"model": "nursery", "step": str(step), "variant": variant} | of_run
        told = settings_for(study, "evaluate_retention", wildcards)
        assert told["precision"] == precision
        assert told["compare_with_fp32"] == (compared and precision != "fp32")


def test_coefficients_below_fp32_are_compared_on_the_last_checkpoint_and_the_main_corpus():
    study = read_study(changed("extract_coefficients/precision", "bf16"))
    last, main = max(study.models["nursery"].steps), study.main_corpus("nursery")
    original = {"model": "nursery", "step": str(last), "variant": "original", "corpus": main}
    others = [{"step": "0"}, {"variant": "boost_p50_q2"}, {"corpus": "held_out"}]
    for change in ({}, *others):
        told = settings_for(study, "extract_coefficients", original | change)
        assert told["compare_with_fp32"] == (not change)
    whole = settings_for(read_study(WHOLE), "extract_coefficients", original)
    assert whole["precision"] == "fp32"
    assert not whole["compare_with_fp32"]


def test_a_preset_of_knowledge_is_spelled_out_and_needs_no_world():
    preset = {"kind": "preset", "name": "fictional_knowledge"}
    settings = settings_for(
        read_study(changed("knowledge/source", preset)), "prepare_knowledge", {}
    )
    received = PrepareKnowledge.model_validate(settings)
    assert received.source == FICTIONAL_KNOWLEDGE
    assert received.world is None
    counts = (received.num_paraphrase_passages, received.num_once_passages)
    assert counts == (8, 20)


@pytest.mark.parametrize(("number", "received"), [(None, (512, True)), (40, (40, False))])
def test_a_corpus_without_a_number_is_what_the_text_has(number, received):
    study = read_study(changed("corpora/held_out/num_sequences", number))
    settings = settings_for(study, "prepare_corpus", {"model": "nursery", "corpus": "held_out"})
    job = PrepareCorpus.model_validate(settings)
    assert (job.num_sequences, job.may_be_fewer) == received


def test_every_job_accepts_its_own_settings():
    study = read_study(changed("variants", EVERY_KIND))
    wildcards = {"model": "nursery", "step": "0"}
    wildcards |= {"recipe": "baseline", "seed": "1", "corpus": "held_out", "shard": "0"}
    for step, received in {
        "train_tokenizer": TrainTokenizerJob,
        "pretrain_nursery": PretrainNursery,
        "keep_checkpoint": KeepCheckpoint,
        "encode_probes": EncodeProbes,
        "prepare_corpus": PrepareCorpus,
        "prepare_knowledge": PrepareKnowledge,
        "schedule_injections": ScheduleInjections,
        "extract_coefficients": ExtractCoefficientsJob,
        "extract_shard": ExtractShardJob,
        "merge_shards": ExtractCoefficientsJob,
        "aggregate_entropy": AggregateEntropy,
        "intervene": Intervene,
        "inject_knowledge": InjectKnowledge,
        "evaluate_knowledge": EvaluateKnowledge,
        "evaluate_retention": EvaluateRetentionJob,
        "fit_decay": FitDecay,
        "aggregate_updates": AggregateUpdates,
        "describe_memories": DescribeMemoriesJob,
        "measure_rivals": MeasureRivalsJob,
        "evaluate_novelty": EvaluateNoveltyJob,
        "summarize": SummarizeJob,
        "plot_figures": PlotFiguresJob,
        "write_report": WriteReportJob,
    }.items():
        for variant in study.arms:
            received.model_validate(settings_for(study, step, wildcards | {"variant": variant}))


def test_names_keep_the_order_of_the_study_where_the_first_one_counts():
    """Settings reach a job as JSON that is sorted by name; rates are joined in their own order."""
    study = changed("recipes/baseline/learning_rate", 1e-3)
    recipe = study["recipes"].pop("baseline")
    study["recipes"] = {
        "main": recipe,
        "fast": recipe | {"learning_rate": 4e-3},
        "slow": recipe | {"learning_rate": 2e-4},
        "also_slow": recipe | {"contribution_entropy_weight": 1.0},
        "before_all": recipe | {"contribution_entropy_weight": -1.0},
    }
    study["variants"] = dict.fromkeys(("woken", "again"), EVERY_KIND["resuscitate"])
    said = canonical_json(settings_for(read_study(study), "summarize", {}))
    job = SummarizeJob.model_validate_json(said)
    assert list(job.frontiers["main"]) == ["slow", "main", "fast"]
    assert list(job.doses["main"]) == ["before_all", "main", "also_slow"]
    assert job.order.of_recipes(["fast", "main", "unknown"]) == ["main", "fast", "unknown"]
    assert job.order.of_variants(["again", "woken"]) == ["woken", "again"]
