"""Every wrong study is refused before a job starts, in one line that says what would be right."""

import json

import pytest
import yaml

from ke_steps.job.errors import UserError
from ke_steps.settings.checkpoints import Model
from ke_steps.settings.study import Study
from ke_steps.study.places import folders
from ke_steps.study.reading import read_study
from tests.invented.configs import REMOVE, changed
from tests.invented.project import ROOT

WRONG = [
    # path of the change, value, what the line must say
    ("recipies", {}, ["recipies: unknown key", "did you mean 'recipes'", "valid keys"]),
    ("models/nursery/stepz", [1], ["models.nursery.stepz: unknown key", "did you mean 'steps'"]),
    ("models/nursery/source/kindd", 1, ["models.nursery.source.kindd: unknown key", "kind"]),
    (
        "models/nursery/source",
        {"kind": "ftp"},
        ["models.nursery.source.kind: got 'ftp'", "nursery", "directory", "gguf"],
    ),
    ("models/nursery/source", {}, ["models.nursery.source", "needs a key 'kind'", "gguf"]),
    ("models", {}, ["models: got {}", "at least 1"]),
    ("models/nursery/steps", [], ["models.nursery.steps", "at least 1"]),
    ("models/nursery/steps", [100, 0], ["models.nursery: steps must ascend", "[100, 0]"]),
    ("models/nursery/steps", [0, -5], ["models.nursery.steps[1]: got -5"]),
    (
        "models/nursery/end_of_text",
        "<end>",
        ["models.nursery: end_of_text is for checkpoints from outside; remove it"],
    ),
    ("models/nursery/end_of_text", "", ["models.nursery.end_of_text"]),
    ("models/nursery/steps", [0, 900], ["models.nursery.steps: 900", "num_steps 400"]),
    (
        "models/other",
        {"source": {"kind": "nursery", "learning_rate": "fast"}, "steps": [0]},
        ["models.other.source.learning_rate: got 'fast'"],
    ),
    (
        "models/other",
        {"source": {"kind": "nursery", "weight_decays": 1.0}, "steps": [0]},
        ["models.other.source.weight_decays: unknown key; did you mean 'weight_decay'?"],
    ),
    (
        "models/other",
        {"source": {"kind": "nursery", "hidden_size": 90}, "steps": [0]},
        ["models.other.source: hidden_size 90 must be a multiple"],
    ),
    (
        "models/other",
        {"source": {"kind": "nursery", "corpus": "dolma"}, "steps": [0]},
        ["models.other.source.corpus: no corpus 'dolma'"],
    ),
    (
        "models/other",
        {"source": {"kind": "nursery", "num_steps": 300}, "steps": [0, 400]},
        ["models.other.steps: 400 is beyond models.other.source.num_steps 300"],
    ),
    (
        "models/other",
        {"source": {"kind": "nursery", "num_steps": 500}, "steps": [0]},
        ["12800 is too few: models.other.source reads 16000"],
    ),
    (
        "corpora/pretraining/source",
        {"kind": "token_file", "location": "http://host/ids.npy", "dtype": "uint16"},
        ["pretrain_nursery.corpus: corpora.pretraining is a file of token ids", "corpus of texts"],
    ),
    (
        "models/nursery/steps",
        {"log_spaced": [1, 10, 12]},
        ["models.nursery.steps: log_spaced: [1, 10, 12]: rounded to whole", "two of them are 1"],
    ),
    ("models/nursery/steps", {"log_spaced": [0, 10, 3]}, ["models.nursery.steps: log_spaced: [0"]),
    ("models/nursery/steps", {"log_spaced": [1, 9]}, ["models.nursery.steps: got {'log_spaced'"]),
    ("models/nursery/steps", {"log_spaced": [1, 9.5, 3]}, ["in whole numbers"]),
    (
        "models/local",
        {"source": {"kind": "directory", "path": "/no/such"}, "steps": [1]},
        ["models.local.source.path: no such file or directory: /no/such"],
    ),
    (
        "models/local",
        {"source": {"kind": "directory", "path": "/data/m"}, "steps": [1, 2]},
        ["models.local: source.path '/data/m' needs '{step}'"],
    ),
    ("models/nursery/begin_of_text", "yes", ["models.nursery.begin_of_text: got 'yes'", "'never'"]),
    (
        "models/nursery/begin_of_text",
        "always",
        ["models.nursery.begin_of_text: the nursery's tokenizer has no begin-of-text token"],
    ),
    ("models/bad name", {"source": {"kind": "nursery"}, "steps": [0]}, ["models.bad name"]),
    ("models/..", {"source": {"kind": "nursery"}, "steps": [0]}, ["models...", "pattern"]),
    ("models/$(id)", {"source": {"kind": "nursery"}, "steps": [0]}, ["models.$(id)", "pattern"]),
    ("seeds", [], ["seeds", "at least 1"]),
    ("seeds", [1, 1], ["seeds: must not repeat"]),
    ("seeds", ["one"], ["seeds[0]: got 'one'"]),
    ("num_threads", 0, ["num_threads: got 0", "greater than or equal to 1"]),
    ("num_threads", True, ["num_threads: got True"]),
    ("results_dir", "../elsewhere", ["results_dir", "'..'"]),
    ("results_dir", "a b", ["results_dir: got 'a b'"]),
    ("world", REMOVE, ["world: missing", "corpora.pretraining.source"]),
    ("pretrain_nursery", REMOVE, ["pretrain_nursery: missing", "models.nursery"]),
    ("train_tokenizer", REMOVE, ["train_tokenizer: missing", "models.nursery"]),
    ("knowledge", REMOVE, ["knowledge: missing, but needed by recipes: baseline"]),
    ("recipes", REMOVE, ["recipes: missing: no recipe learns what knowledge has"]),
    ("models", REMOVE, ["models: missing; this key is required"]),
    ("corpora", REMOVE, ["corpora: missing; this key is required"]),
    ("corpora", {}, ["corpora: got {}", "at least 1"]),
    (
        "models/local",
        {"source": {"kind": "directory", "path": "/data/step{step}"}},
        ["models.local: steps: missing; the source needs them"],
    ),
    (
        "corpora/continual/num_sequences",
        None,
        ["corpora.continual.num_sequences: absent, hence at most 512 is too few", "720"],
    ),
    ("pretrain_nursery/hidden_size", 90, ["pretrain_nursery: hidden_size 90", "multiple"]),
    (
        "pretrain_nursery/corpus",
        "dolma",
        ["pretrain_nursery.corpus: no corpus 'dolma'", "held_out"],
    ),
    ("pretrain_nursery/learning_rate", "fast", ["pretrain_nursery.learning_rate: got 'fast'"]),
    ("pretrain_nursery/learning_rate", -1.0, ["pretrain_nursery.learning_rate: got -1.0"]),
    ("pretrain_nursery/num_steps", 5000, ["corpora.pretraining.num_sequences: 12800 is too few"]),
    ("corpora/continual/num_sequences", 10, ["corpora.continual.num_sequences", "720"]),
    ("corpora/continual/sequence_length_tokens", 256, ["corpora.continual", "256 exceeds", "128"]),
    (
        "corpora/continual/source",
        {"kind": "text", "paths": ["no/such.txt"]},
        ["corpora.continual.source.paths[0]: no such file: no/such.txt"],
    ),
    ("corpora/continual/source/domain", "medicine", ["domain: got 'medicine'", "'continual'"]),
    ("knowledge/num_once_passages", 200, ["recipes.baseline.batch_size_sequences: 12", "28 texts"]),
    (
        "knowledge/source",
        {"kind": "fictional_knowledge", "paraphrase_path": "a.json", "once_path": "b.json"},
        ["knowledge.source.paraphrase_path: no such file", "knowledge.source.once_path"],
    ),
    (
        "knowledge/source",
        {"kind": "preset", "name": "facts"},
        ["knowledge.source.name: got 'facts'"],
    ),
    (
        "knowledge/source",
        {"kind": "preset", "name": "fictional_knowledge", "folder": "no/such"},
        [
            f"knowledge.source.folder: no such file: no/such/fictional_knowledge_paraphrased_{name}"
            for name in ("paraphrase70.json", "once60.json")
        ],
    ),
    ("extract_coefficients/padding", "maybe", ["extract_coefficients.padding", "'reference'"]),
    ("extract_coefficients/precision", "fp8", ["extract_coefficients.precision", "'bf16'"]),
    ("extract_coefficients/num_groups", 100, ["num_groups 100 must divide num_sequences 256"]),
    ("extract_coefficients/num_sequences", 12816, ["corpora.pretraining.num_sequences: 12800"]),
    ("extract_coefficients/active_threshold", float("nan"), ["active_threshold: got nan"]),
    ("aggregate_entropy/confidence", 1.0, ["aggregate_entropy.confidence: got 1.0"]),
    ("variants/original", {"kind": "resuscitate", "quantile": 0.5, "boost": 1.0}, ["taken"]),
    ("variants/boost_p50_q2/quantile", 1.5, ["variants.boost_p50_q2.quantile: got 1.5"]),
    ("variants/boost_p50_q2/kind", "wake", ["variants.boost_p50_q2.kind: got 'wake'"]),
    ("describe_memories/steps", [7], ["describe_memories.steps: no model has step 7"]),
    ("describe_memories/models", ["olmo"], ["describe_memories.models: no model 'olmo'"]),
    ("variants/boost_p50_q2/steps", [7], ["variants.boost_p50_q2.steps: no model has step 7"]),
    ("recipes/baseline/corpus", "c4", ["recipes.baseline.corpus: no corpus 'c4'", "continual"]),
    ("recipes/baseline/num_injections", 21, ["recipes.baseline", "step 63, beyond num_steps 60"]),
    ("recipes/baseline/num_epochs", 7, ["recipes.baseline", "7 must divide num_steps 60"]),
    ("recipes/baseline/num_epochs", 3, ["recipes.baseline", "step 30, beyond num_steps 20"]),
    ("recipes/baseline/variants", ["q2"], ["recipes.baseline.variants: no variant 'q2'"]),
    ("recipes/baseline/models", ["olmo"], ["recipes.baseline.models: no model 'olmo'", "nursery"]),
    ("recipes/baseline/steps", [7], ["recipes.baseline.steps: no model has step 7"]),
    ("variants/step7", {"kind": "resuscitate", "quantile": 0.5, "boost": 1.0}, ["variants.step7"]),
    (
        "models/olmo",
        {"source": {"kind": "hub", "repo": "OLMo-1B", "revision": "step{step}-*"}, "steps": [1]},
        ["models.olmo.source", "repo: got 'OLMo-1B'"],
    ),
    (
        "models/olmo",
        {"source": {"kind": "hub", "repo": "a/b", "revision": "main"}, "steps": [1, 2]},
        ["models.olmo: source.revision 'main' needs '{step}'"],
    ),
    (
        "corpora/continual/source",
        {"kind": "preset", "name": "pile"},
        ["corpora.continual.source.name: got 'pile'", "'dolma_first_batch'"],
    ),
    (
        "corpora/continual/source",
        {"kind": "token_file", "location": "no/such.npy", "dtype": "uint16"},
        ["corpora.continual.source.location: no such file: no/such.npy"],
    ),
    (
        "extract_coefficients/other_corpora",
        ["c4"],
        ["extract_coefficients.other_corpora: no corpus 'c4'"],
    ),
    ("extract_coefficients/num_attention_sequences", 10, ["num_groups 16 must divide"]),
    ("extract_coefficients/num_attention_sequences", 512, ["512 exceeds num_sequences 256"]),
    ("extract_coefficients/num_attribution_sequences", 24, ["num_groups 16 must divide"]),
    ("extract_coefficients/num_shards", 3, ["num_shards 3 must divide num_groups 16"]),
    ("extract_coefficients/num_shards", 16, ["batch_size_sequences 32 must divide the 16"]),
    ("extract_coefficients/relu_gate", "both", ["extract_coefficients.relu_gate: got 'both'"]),
    ("cluster", {"partition": "a"}, ["cluster.partition: unknown key", "cpu_partition"]),
    ("cluster", {"sharding": "zero"}, ["cluster.sharding: got 'zero'", "'ddp' or 'fsdp'"]),
    ("cluster", {"account": "a; id"}, ["cluster.account: got 'a; id'", "pattern"]),
    ("cluster", {"gpu_model": "a100:2"}, ["cluster.gpu_model: got 'a100:2'", "pattern"]),
    (
        "cluster",
        {"local_rules": ["fetch_checkpoints"]},
        [
            "cluster.local_rules[0]: no rule 'fetch_checkpoints'; did you mean 'fetch_checkpoint'?",
            "summarize",
        ],
    ),
    (
        "cluster",
        {"jobs": {"inject_knowlege": {}}},
        [
            "cluster.jobs.inject_knowlege: unknown key; did you mean 'inject_knowledge'?",
            "fit_decay",
        ],
    ),
    ("cluster", {"jobs": {"summarize": {"num_gpus": 1}}}, ["summarize.num_gpus: unknown key"]),
    (
        "cluster",
        {"jobs": {"describe_memories": {"num_gpus": 2}}},
        ["cluster.jobs.describe_memories.num_gpus: got 2", "less than or equal to 1"],
    ),
    ("cluster", {"jobs": {"summarize": {"memory_gb": 0}}}, ["summarize.memory_gb: got 0"]),
    (
        "cluster",
        {"jobs": {"inject_knowledge": {"num_gpus": 5}}},
        ["cluster.jobs.inject_knowledge.num_gpus: 5 GPUs", "12", "recipes.baseline.batch_size"],
    ),
    (
        "cluster",
        {"jobs": {"pretrain_nursery": {"num_gpus": 3}}},
        ["cluster.jobs.pretrain_nursery.num_gpus: 3 GPUs", "32", "pretrain_nursery.batch_size"],
    ),
    ("evaluate_novelty/corpora", ["c4"], ["evaluate_novelty.corpora: no corpus 'c4'"]),
    ("measure_rivals/new_corpus", "c4", ["measure_rivals.new_corpus: no corpus 'c4'"]),
    ("measure_rivals/held_out_corpus", "c4", ["measure_rivals.held_out_corpus: no corpus 'c4'"]),
    (
        "measure_rivals/num_sequences",
        80,
        ["corpora.held_out.num_sequences: 64 is too few: measure_rivals reads 80"],
    ),
    ("measure_rivals/noise_scales", [0.1, 0.1], ["measure_rivals", "must not repeat"]),
    ("recipes/baseline/micro_batch_size_sequences", 5, ["recipes.baseline", "must divide"]),
    ("recipes/baseline/num_steps", 6.5, ["recipes.baseline.num_steps: got 6.5"]),
    ("evaluate_retention/tasks", ["mmlu"], ["evaluate_retention.tasks[0]: got 'mmlu'", "'piqa'"]),
    ("evaluate_retention/tasks", ["piqa", "piqa"], ["evaluate_retention: tasks must not repeat"]),
    ("plot_figures/figures", ["pie"], ["plot_figures.figures[0]: got 'pie'", "'probe_curves'"]),
    ("write_report/title", "", ["write_report.title"]),
]


@pytest.mark.parametrize(("path", "value", "says"), WRONG, ids=[f"{p}={v}" for p, v, _ in WRONG])
def test_wrong_study_is_refused(path, value, says):
    with pytest.raises(UserError) as refusal:
        read_study(changed(path, value))
    message = str(refusal.value)
    for text in says:
        assert text in message
    assert "\n\n" not in message
    assert "pydantic" not in message


def test_each_fault_has_its_own_line():
    study = changed("seeds", ["one"])
    study["corpora"]["continual"]["num_sequences"] = 0
    study["colour"] = "red"
    with pytest.raises(UserError) as refusal:
        read_study(study)
    assert len(str(refusal.value).splitlines()) == 3


def test_scientific_notation_of_yaml_1_1_is_a_number():
    assert read_study(changed("recipes/baseline/learning_rate", "4e-4")).recipes[
        "baseline"
    ].learning_rate == pytest.approx(4e-4)


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_study_has_no_wrong_key(path):
    assert read_study(yaml.safe_load(path.read_text()), need_files=False)


def test_every_key_of_the_default_study_is_explained():
    for line in (ROOT / "config/config.yaml").read_text().splitlines():
        assert "\t" not in line
    schema = json.loads((ROOT / "config/schema.json").read_text())
    text = (ROOT / "config/config.yaml").read_text()
    for key in schema["properties"]:
        assert f"{key}:" in text, f"config/config.yaml does not show the key {key}"


def test_schema_is_in_step():
    schema = json.loads((ROOT / "config/schema.json").read_text())
    assert schema == Study.model_json_schema(), "run `make schema`"


TWO_LINES = {
    "models": {"mine": {"source": {"kind": "gguf", "path": "model.gguf"}}},
    "corpora": {
        "text": {"source": {"kind": "text", "paths": ["a.txt"]}},
        "other": {"source": {"kind": "text", "paths": ["b.txt"]}},
    },
}


def test_models_and_corpora_are_enough():
    study = read_study(TWO_LINES, need_files=False)
    assert study.main_corpora() == {"mine": "text"}
    assert [*study.states()] == [("mine", 0, "original")]
    assert study.runs() == []
    assert {name for name, found in folders(study).items() if found} == {
        *(
            "fetched_checkpoints",
            "described_checkpoints",
            "states",
            "measurements",
            "main_measurements",
            "original_measurements",
        )
    }


def test_sections_that_name_no_corpus_read_the_first():
    asked = {"extract_coefficients": {"num_groups": 4}, "evaluate_retention": {}}
    asked |= {"evaluate_novelty": {}, "measure_rivals": {"new_corpus": "other"}}
    study = read_study(TWO_LINES | asked, need_files=False)
    assert study.measure_rivals.held_out_corpus == "text"
    assert study.main_corpora() == {"mine": "text"}
    assert study.evaluate_retention.held_out_corpus == "text"
    assert study.evaluate_novelty.corpora == ["text", "other"]
    assert "world_recall" not in study.evaluate_retention.tasks
    named = {"extract_coefficients": {"corpus": "other"}}
    assert read_study(TWO_LINES | named, need_files=False).main_corpora() == {"mine": "other"}


@pytest.mark.parametrize(
    ("source", "steps", "untrained"),
    [
        ({"kind": "directory", "path": "m"}, [0], False),
        ({"kind": "directory", "path": "m/step{step}"}, [0, 5], True),
        ({"kind": "directory", "path": "m/step{step}"}, [5], False),
        ({"kind": "hub", "repo": "a/b", "revision": "main"}, [0], False),
        ({"kind": "hub", "repo": "a/b", "revision": "step{step:03d}"}, [0], True),
        ({"kind": "nursery"}, [0, 4], True),
    ],
)
def test_step_0_is_the_untrained_model_where_steps_are_told_apart(source, steps, untrained):
    model = Model.model_validate({"source": source, "steps": steps})
    assert model.has_untrained == untrained


def test_scopes_limit_variants_and_recipes():
    study = changed("recipes/baseline/variants", ["boost_p50_q2"])
    study["recipes"]["late"] = study["recipes"]["baseline"] | {
        "variants": ["original"],
        "steps": [400],
    }
    read = read_study(study)
    steps = [s.step for s in read.states() if s.variant == "original"]
    assert steps == [0, 80, 140, 200, 300, 400]
    assert [s.step for s in read.states() if s.variant == "boost_p50_q2"] == [200, 400]
    runs = [(r.step, r.variant, r.recipe) for r in read.runs() if r.seed == 1]
    assert runs == [
        (400, "original", "late"),
        (200, "boost_p50_q2", "baseline"),
        (400, "boost_p50_q2", "baseline"),
    ]


def test_recipes_that_differ_in_one_setting_alone_are_a_group_wherever_they_run():
    study = changed("recipes/baseline/contribution_entropy_weight", 1.0)
    baseline = study["recipes"]["baseline"]
    study["recipes"] |= {
        "none": baseline | {"contribution_entropy_weight": 0, "steps": [400]},
        "again": baseline | {"variants": ["original"]},
        "faster": baseline | {"contribution_entropy_weight": "1e-2", "learning_rate": 2e-3},
    }
    read = read_study(study)
    expected = {"none": 0.0, "baseline": 1.0}
    assert read.recipes_by("contribution_entropy_weight") == {"baseline": expected}
    (group,) = read.recipes_by("contribution_entropy_weight").values()
    assert list(group) == list(expected)
    assert read.recipes_by("num_steps") == {}


def test_a_gauge_alone_is_compensated():
    multipliers = {"quantile": 0.5, "boost": 2.0, "steps": [400]}
    study = changed("recipes/baseline/compensate_gauge", True)
    study["variants"] = {
        "gauge": multipliers | {"kind": "gauge"},
        "moved": multipliers | {"kind": "permuted", "of": "inverse_gauge", "num_draws": 2},
        "woken": multipliers | {"kind": "resuscitate"},
        "noise": multipliers | {"kind": "noise", "of": "gauge", "num_draws": 1},
    }
    study["recipes"]["baseline"]["variants"] = ["original", "gauge", "moved"]
    assert read_study(study).recipes["baseline"].compensate_gauge
    study["recipes"]["baseline"]["variants"] = ["original"]
    with pytest.raises(UserError, match=r"compensate_gauge: original: no gauge"):
        read_study(study)
    del study["recipes"]["baseline"]["variants"]
    with pytest.raises(UserError) as error:
        read_study(study)
    (line,) = [x for x in str(error.value).splitlines() if "compensate_gauge" in x]
    assert "recipes.baseline.compensate_gauge: noise_draw0, woken: no gauge" in line
    study["recipes"]["baseline"]["variants"] = ["gauge"]
    study["cluster"] = {"sharding": "fsdp", "jobs": {"inject_knowledge": {"num_gpus": 2}}}
    with pytest.raises(UserError, match=r"compensate_gauge: not with cluster\.sharding: fsdp"):
        read_study(study)
