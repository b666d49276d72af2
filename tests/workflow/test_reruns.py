"""What a change makes a run do again: exactly what depends on it, on the finished smoke study."""

import json
import re
import shutil
from collections import Counter

import pytest

from ke_steps.figures.needs import available
from ke_steps.job import provenance
from ke_steps.planning.why import lines, read_dry_run
from ke_steps.study.reading import read_study
from tests.invented.configs import NUM_JOBS
from tests.invented.project import ROOT

TELL = {"summarize": 1, "plot_figures": 1, "write_report": 1}
LEARN = {
    "inject_knowledge": 10,
    "evaluate_knowledge": 10,
    "aggregate_updates": 10,
    "evaluate_retention_after_learning": 10,
    "fit_decay": 2,
} | TELL
LEARN_CHANGED = {
    "inject_knowledge": 2,
    "evaluate_knowledge": 2,
    "aggregate_updates": 2,
    "evaluate_retention_after_learning": 2,
} | TELL
SCHEDULE = {"schedule_injections": 4} | LEARN
MEASURE_BOOSTED = {
    "intervene": 1,
    "extract_coefficients": 1,
    "aggregate_entropy": 1,
    "evaluate_retention": 1,
} | LEARN_CHANGED
MEASURED = {"extract_coefficients": 1, "aggregate_entropy": 1, "evaluate_retention": 1} | TELL
WARM = {"intervene": 1} | MEASURED | LEARN_CHANGED
"""A variant that learns, and one that is measured alone."""
RESCALED = {"intervene": 1} | MEASURED
INTERVENED = {
    **{"intervene": 4, "extract_coefficients": 4, "aggregate_entropy": 4, "evaluate_retention": 4},
    **{rule: 2 * number for rule, number in LEARN_CHANGED.items()},
    **TELL,
}
EXTRACT = (
    MEASURE_BOOSTED
    | {"extract_coefficients": 8, "aggregate_entropy": 8, "describe_memories": 2}
    | {"aggregate_updates": 10, "intervene": 2, "evaluate_retention": 2}
    | {"measure_rivals": 2}
)
RETENTION = {"evaluate_retention": 6, "evaluate_retention_after_learning": 10} | TELL
CONTINUAL = (
    {"prepare_corpus": 1, "extract_coefficients": 2, "aggregate_entropy": 2, "evaluate_novelty": 1}
    | {"evaluate_retention": 6, "measure_rivals": 2}
    | LEARN
)
BEFORE_NURSERY = {
    "train_tokenizer": 1,
    "prepare_corpus": 2,
    "prepare_knowledge": 1,
    "encode_probes": 1,
    "schedule_injections": 4,
}
NURSERY = {rule: number for rule, number in NUM_JOBS.items() if rule not in BEFORE_NURSERY}
TOKENIZER = NURSERY | {"train_tokenizer": 1, "prepare_corpus": 2, "encode_probes": 1}
KNOWLEDGE = {"prepare_knowledge": 1, "encode_probes": 1} | SCHEDULE
CORPORA = NURSERY | {"prepare_corpus": 2}
MODEL_JOBS = EXTRACT | {"evaluate_novelty": 1} | RETENTION | LEARN
PER_STEP = {"extract_coefficients": 2, "aggregate_entropy": 2, "describe_memories": 1}
PER_STEP |= {"measure_rivals": 1}
RUNS = ("inject_knowledge", "evaluate_knowledge", "aggregate_updates")
RUNS_PER_STEP = dict.fromkeys((*RUNS, "evaluate_retention_after_learning"), 2)
COLUMN = PER_STEP | RUNS_PER_STEP | {"evaluate_retention": 1}
"""The jobs of one more stage of the smoke study, beside that which makes it."""

ONE_MORE_SEED = {
    "schedule_injections": 2,
    "inject_knowledge": 5,
    "evaluate_knowledge": 5,
    "aggregate_updates": 5,
    "evaluate_retention_after_learning": 5,
    "fit_decay": 1,
} | TELL

SETTINGS = [
    # key, new value, what a run does again
    ("world.seed", 1, NUM_JOBS),
    ("train_tokenizer.num_documents", 400, TOKENIZER),
    ("pretrain_nursery.learning_rate", 1e-3, NURSERY),
    ("corpora.continual.num_sequences", 60, CONTINUAL),
    ("knowledge.num_once_passages", 3, KNOWLEDGE),
    ("extract_coefficients.active_threshold", 0.02, EXTRACT),
    ("extract_coefficients.other_corpora", [], TELL),
    ("aggregate_entropy.num_bootstrap", 200, {"aggregate_entropy": 8} | TELL),
    ("describe_memories.num_tokens", 2, {"describe_memories": 2} | TELL),
    ("measure_rivals.num_draws", 3, {"measure_rivals": 2} | TELL),
    ("evaluate_novelty.num_documents", 5, {"evaluate_novelty": 1} | TELL),
    ("variants.boost.quantile", 0.4, MEASURE_BOOSTED),
    ("variants.warm.temperature", 3.0, WARM),
    ("variants.warm.course", "constant", WARM),
    ("variants.rescaled.temperature", 3.0, RESCALED),
    (
        "variants.mild",
        {"kind": "temper_attention", "temperature": 1.5, "steps": [8]},
        {"intervene": 1} | MEASURED,
    ),
    ("variants.shuffled.num_draws", 2, {"intervene": 1} | MEASURED),  # the first is there
    ("variants.rescaled", None, TELL),
    (
        "recipes.baseline.learning_rate",
        2e-3,
        LEARN
        | {"inject_knowledge": 8, "evaluate_knowledge": 8, "aggregate_updates": 8}
        | {"evaluate_retention_after_learning": 8, "fit_decay": None},
    ),
    ("recipes.longer", None, TELL),
    ("fit_decay.num_bootstrap", 200, {"fit_decay": 2} | TELL),
    ("aggregate_updates.num_permutations", 200, {"aggregate_updates": 10} | TELL),
    ("evaluate_knowledge.num_bootstrap", 200, {"evaluate_knowledge": 10} | TELL),
    ("evaluate_retention.num_items_per_task", 5, RETENTION),
    ("summarize.min_points", 3, TELL),
    ("plot_figures.figures", ["entropy_by_stage"], {"plot_figures": 1, "write_report": 1}),
    ("write_report.title", "Another title", {"write_report": 1}),
    ("seeds", [0, 1, 2], ONE_MORE_SEED),
    ("seeds", [0, 2], ONE_MORE_SEED),
    ("seeds", [0], TELL),
    ("num_threads", 2, MODEL_JOBS),
    ("cluster", {"account": "physics", "jobs": {"summarize": {"memory_gb": 64}}}, {}),
    ("keep_models", "none", {}),
    ("results_dir", "results/elsewhere", NUM_JOBS),
]

STEPS = {
    "train_tokenizer": TOKENIZER,
    "prepare_corpus": CORPORA,
    "prepare_knowledge": KNOWLEDGE,
    "encode_probes": {"encode_probes": 1} | LEARN,
    "schedule_injections": SCHEDULE,
    "pretrain_nursery": NURSERY,
    "keep_checkpoint": NURSERY | {"pretrain_nursery": 0},
    "fetch_checkpoint": {},
    "branch_checkpoint": {},
    "extract_coefficients": EXTRACT,
    "aggregate_entropy": {"aggregate_entropy": 8} | TELL,
    "describe_memories": {"describe_memories": 2} | TELL,
    "measure_rivals": {"measure_rivals": 2} | TELL,
    "evaluate_novelty": {"evaluate_novelty": 1} | TELL,
    "intervene": INTERVENED,
    "inject_knowledge": LEARN,
    "evaluate_knowledge": {"evaluate_knowledge": 10} | TELL,
    "fit_decay": {"fit_decay": 2} | TELL,
    "aggregate_updates": {"aggregate_updates": 10} | TELL,
    "evaluate_retention": RETENTION,
    "summarize": TELL,
    "plot_figures": {"plot_figures": 1, "write_report": 1},
    "write_report": {"write_report": 1},
}
LEFT_OUT = [
    *("settings/learning", "job/command_line", "study/contradictions", "planning/costs"),
    *("running/lock", "public/command"),
]
"""A file of each room that no result depends on but through settings."""

HELPERS = {
    "artefacts/learning_schemas": ["pretrain_nursery"],
    "artefacts/replicates": [
        *("aggregate_entropy", "evaluate_knowledge", "evaluate_retention", "measure_rivals"),
    ],
    "artefacts/summary_schemas": ["summarize"],
    "formulas/decay": ["fit_decay"],
    "formulas/multipliers": ["intervene"],
    "formulas/entropy": ["aggregate_entropy", "aggregate_updates"],
    "formulas/permutation": ["aggregate_updates"],
    "hub/calls": ["fetch_checkpoint", "train_tokenizer", "prepare_knowledge"],
    "texts/passages": ["prepare_knowledge"],
    "texts/packing": ["prepare_corpus"],
    "checkpoints/checkpoint_files": ["pretrain_nursery", "intervene"],
    "checkpoints/native_olmo": ["fetch_checkpoint"],
    "models/feed_forward": ["pretrain_nursery"],
    "models/attention": ["extract_coefficients"],
    "scoring/probes": ["inject_knowledge"],
    "scoring/tasks": ["evaluate_retention"],
    "measuring/moments": ["extract_coefficients"],
    "measuring/perturbation": ["measure_rivals"],
    "measuring/updates": ["inject_knowledge"],
    "training/train": ["pretrain_nursery"],
    "training/injection": ["schedule_injections", "inject_knowledge"],
    "summary/rows": ["summarize"],
    "claims/judging": ["summarize"],
    "figures/curves": ["plot_figures"],
    "report/tables": ["write_report"],
}
"""A file of each other room, with the first steps behind it: what they make leads to the rest."""


@pytest.fixture
def project(finished_smoke, tmp_path):
    return finished_smoke.copy(tmp_path)


def change(project, key, value):
    """Set a dotted key of the study; None removes it."""
    *parents, last = key.split(".")
    section = project.study
    for parent in parents:
        section = section[parent]
    if value is None:
        del section[last]
    else:
        section[last] = value


def listed(jobs):
    return {rule: number for rule, number in jobs.items() if number}


@pytest.mark.parametrize(
    ("key", "value", "again"), SETTINGS, ids=[f"{key}={value}" for key, value, _ in SETTINGS]
)
def test_a_changed_setting(project, key, value, again):
    change(project, key, value)
    assert project.pending() == listed(again)


@pytest.mark.parametrize(("step", "again"), STEPS.items(), ids=STEPS)
def test_a_changed_step(project, step, again):
    append(project, f"ke_steps/{step}.py", "\nCHANGED = True\n")
    assert project.pending() == listed(again)


def again_of(steps):
    """Return the jobs that run again when the code of these steps changes."""
    again = Counter()
    for step in steps:
        again |= Counter(STEPS[step])
    return listed(again)


@pytest.mark.parametrize(("module", "steps"), HELPERS.items(), ids=HELPERS)
def test_a_changed_helper(module, steps, monkeypatch):
    """It is in the digests of these steps, a change of which reruns what it does above."""
    before = {step: provenance.code_digest(step) for step in STEPS}
    read = provenance._read
    name = f"ke_steps.{module.replace('/', '.')}"
    changed = {name: read(name)._replace(meaning=b"CHANGED = True")}
    monkeypatch.setattr(provenance, "_read", lambda each: changed.get(each) or read(each))
    found = [step for step in STEPS if provenance.code_digest(step) != before[step]]
    assert set(steps) <= set(found)
    assert again_of(found) == again_of(steps)


def test_a_changed_file_of_a_room(project):
    append(project, "ke_steps/measuring/perturbation.py", "\nCHANGED = True\n")
    assert project.pending() == again_of(HELPERS["measuring/perturbation"])


def test_changes_that_no_result_depends_on(project):
    for module in LEFT_OUT:
        append(project, f"ke_steps/{module}.py", "\nCHANGED = True\n")
    assert project.pending() == {}


def test_a_file_of_every_room_is_changed():
    rooms = {path.parent.name for path in (ROOT / "ke_steps").glob("*/*.py")}
    assert rooms == {module.partition("/")[0] for module in (*HELPERS, *LEFT_OUT)}


def test_a_comment_a_docstring_and_a_touch_rerun_nothing(project):
    for path in (project.folder / "ke_steps").rglob("*.py"):
        text = path.read_text().replace('"""', '"""Said otherwise: ', 1)
        path.write_text(f"# a comment\n{text}")
    for path in (project.folder / "workflow").rglob("*"):
        path.touch()
    project.results("intervene/tiny/step8/boost/intervention.safetensors").touch()
    project.results("pretrain_nursery/tiny/step8/manifest.json").touch()
    assert project.pending() == {}


def test_the_report_follows_its_template_and_captions(project):
    append(project, "workflow/report/page/page.html.j2", "<!-- changed -->")
    assert project.pending() == {"write_report": 1}


def test_a_new_figure_is_drawn_and_reported(project):
    figures = available(read_study(project.study))
    project.study["plot_figures"]["figures"] = [*figures[1:], figures[0]]
    assert project.pending() == {"plot_figures": 1, "write_report": 1}


def test_a_changed_command_reruns_its_rule(project):
    path = project.folder / "workflow/rules/learn.smk"
    path.write_text(path.read_text().replace('step("fit_decay"', 'step("fit_decay "'))
    assert project.pending() == STEPS["fit_decay"]


def test_a_new_recipe_runs_on_its_own(project):
    baseline = project.study["recipes"]["baseline"]
    project.study["recipes"]["slow"] = baseline | {"steps": [8], "variants": ["original"]}
    runs = dict.fromkeys((*RUNS, "evaluate_retention_after_learning"), 2)
    assert project.pending() == runs | {"schedule_injections": 2} | TELL


def test_a_lost_table_is_made_again_with_what_follows(project):
    project.results("evaluate_knowledge/tiny/step8/boost/baseline/seed1/knowledge.parquet").unlink()
    assert project.pending() == {"evaluate_knowledge": 1} | TELL


def test_trained_weights_may_be_removed(project):
    folder = project.results("inject_knowledge/tiny/step8/boost/baseline/seed1")
    for name in ("manifest.json", "model.safetensors"):
        (folder / name).unlink(missing_ok=True)
    assert project.pending() == {}


def append(project, path, text):
    path = project.folder / path
    path.write_text(path.read_text() + text)


# Results copied into a fresh clone, where Snakemake has no memory of them.


@pytest.fixture
def clone(finished_smoke, tmp_path):
    clone = finished_smoke.clone(tmp_path)
    # other times than before, and in another order
    shutil.copytree(
        finished_smoke.folder / "results", tmp_path / "results", copy_function=shutil.copyfile
    )
    return clone


def test_results_copied_into_a_clone_are_taken_as_they_are(clone):
    assert clone.pending() == {}


def test_results_copied_into_a_clone_follow_its_study(clone):
    clone.study["fit_decay"]["num_bootstrap"] = 200
    append(clone, "ke_steps/describe_memories.py", "\nCHANGED = True\n")
    assert clone.pending() == STEPS["fit_decay"] | STEPS["describe_memories"]


def test_copied_results_of_unknown_origin_are_made_again(clone):
    clone.results("metadata.jsonl").unlink()
    assert clone.pending() == NUM_JOBS


def test_a_copied_result_that_was_changed_on_the_way_is_made_again(clone):
    path = "evaluate_knowledge/tiny/step8/boost/baseline/seed1/knowledge.parquet"
    clone.results(path).write_bytes(b"another one")
    assert clone.pending() == {"evaluate_knowledge": 1} | TELL


def test_another_study_copied_over_a_finished_one_is_noticed(project):
    memory = project.results("metadata.jsonl")
    first, rest = memory.read_text().split("\n", 1)
    memory.write_text(json.dumps(json.loads(first) | {"id": "another"}) + "\n" + rest)
    path = "evaluate_knowledge/tiny/step8/boost/baseline/seed1/knowledge.parquet"
    project.results(path).write_bytes(b"of the other study")
    assert project.pending() == {"evaluate_knowledge": 1} | TELL


def test_a_renamed_results_folder_keeps_its_results(project):
    project.results().rename(project.folder / "results/renamed")
    project.study["results_dir"] = "results/renamed"
    assert project.pending() == TELL  # the summary names its inputs, the report its study


# Stages of a nursery. Steps are pretended, and so what a training makes is always the same.


@pytest.fixture(scope="module")
def finished_nursery(finished_smoke, tmp_path_factory):
    project = finished_smoke.clone(tmp_path_factory.mktemp("nursery"))
    assert project.pretend() == [NUM_JOBS]
    assert project.pending() == {}
    return project


@pytest.mark.parametrize(
    ("steps", "again"),
    [
        ([0, 4, 8], {"keep_checkpoint": 1} | COLUMN | TELL),
        ([8], TELL),
    ],
    ids=str,
)
def test_a_nursery_with_other_stages_is_trained_first_and_the_rest_follows_from_files(
    finished_nursery, tmp_path, steps, again
):
    project = finished_nursery.copy(tmp_path)
    project.study["models"]["tiny"]["steps"] = steps
    assert project.pretend() == [{"pretrain_nursery": 1}, again]
    assert project.pretend() == []


def test_a_nursery_that_was_cut_off_goes_on_alone(finished_nursery, tmp_path):
    project = finished_nursery.copy(tmp_path)
    project.results("pretrain_nursery/tiny/training.parquet").unlink()
    assert project.pretend() == [{"pretrain_nursery": 1}]


def test_what_is_new_beside_a_new_stage_is_done_with_it(finished_nursery, tmp_path):
    project = finished_nursery.copy(tmp_path)
    project.study["models"]["tiny"]["steps"] = [0, 4, 8]
    change(project, "describe_memories.num_tokens", 2)
    first, then = project.pretend()
    assert first == {"pretrain_nursery": 1}
    assert then == {"keep_checkpoint": 1} | COLUMN | {"describe_memories": 3} | TELL


# Stages of a model from outside. Its steps are pretended: rules, files and Snakemake are real.


@pytest.fixture(scope="module")
def finished_fetched(finished_smoke, tmp_path_factory):
    """A study of two checkpoints in directories, finished; a third one lies there too."""
    project = finished_smoke.clone(tmp_path_factory.mktemp("fetched"))
    for step in (0, 4, 6, 8):
        source = finished_smoke.results(f"pretrain_nursery/tiny/step{min(step, 8) // 8 * 8}")
        shutil.copytree(source, project.folder / f"results/checkpoints/step{step:03d}")
    source = {"kind": "directory", "path": "results/checkpoints/step{step:03d}"}
    project.study["models"] = {"tiny": {"source": source, "steps": [0, 6]}}
    for section in ("train_tokenizer", "pretrain_nursery"):
        del project.study[section]
    project.study["results_dir"] = "results/fetched"
    for variant in project.study["variants"].values():
        variant["steps"] = [6]
    project.study["recipes"]["longer"]["steps"] = [6]
    project.pretend()
    assert project.pending() == {}
    return project


FETCHED_COLUMN = {"fetch_checkpoint": 1} | COLUMN | TELL


@pytest.mark.parametrize(
    ("steps", "again"),
    [
        ([0, 4, 6], FETCHED_COLUMN),
        ([0, 6, 8], FETCHED_COLUMN | {"evaluate_novelty": 1}),  # of the last stage alone
    ],
    ids=str,
)
def test_a_new_stage_adds_its_own_column(finished_fetched, tmp_path, steps, again):
    project = finished_fetched.copy(tmp_path)
    project.study["models"]["tiny"]["steps"] = steps
    assert project.pending() == again


def test_a_removed_stage_changes_the_summary_only(finished_fetched, tmp_path):
    project = finished_fetched.copy(tmp_path)
    project.study["models"]["tiny"]["steps"] = [0, 4, 6]
    project.pretend()
    project.study["models"]["tiny"]["steps"] = [0, 6]
    assert project.pending() == TELL


def test_a_removed_checkpoint_is_fetched_again(finished_fetched, tmp_path):
    project = finished_fetched.copy(tmp_path)
    shutil.rmtree(project.results("fetch_checkpoint/tiny/step6"))
    assert project.pending()["fetch_checkpoint"] == 1


def test_a_changed_weight_file_is_fetched_again(finished_fetched, tmp_path):
    project = finished_fetched.copy(tmp_path)
    path = project.folder / "results/checkpoints/step000/manifest.json"
    path.write_text(path.read_text() + "\n")
    pending = project.pending()
    assert pending["fetch_checkpoint"] == 1


# What is said about it


def test_every_pending_job_has_its_reason(project):
    change(project, "variants.boost.quantile", 0.4)
    change(project, "variants.rescaled", None)
    append(project, "ke_steps/formulas/decay.py", "\nCHANGED = True\n")
    project.results("evaluate_retention/tiny/step0/original/retention.parquet").unlink()
    dry_run = project.dry_run()
    said = "\n".join(lines(read_dry_run(dry_run)))
    changed = r"settings changed: intervention.quantile 0.5 → 0.4"
    assert re.search(rf"intervene +tiny step 8 boost +{changed}", said)
    assert re.search(r"fit_decay +tiny step 8 original longer seed 1 +code changed", said)
    assert re.search(r"evaluate_retention +tiny step 0 original +not there yet", said)
    assert re.search(r"inject_knowledge +tiny step 8 boost baseline seed 0 +follows inter", said)
    number = re.search(r"^total +(\d+)$", dry_run, re.MULTILINE)  # in Snakemake's own table
    assert number is not None
    assert said.endswith(f"\n{int(number[1]) - 1} jobs")  # the target left out
