"""Every study of config/ is valid, DAGs of hub models build, and config/README.md is right."""

import re

import pytest
import yaml

from ke_steps.hub.refs import Ref, choose_ref
from ke_steps.planning.costs import costs_by_rule, jobs
from ke_steps.planning.model_sizes import UNKNOWN, find_size
from ke_steps.planning.tables import total
from ke_steps.settings.learning import ORIGINAL, Training
from ke_steps.settings.study import Study
from ke_steps.study.own_results import default_folder
from ke_steps.study.reading import read_study
from ke_steps.training.injection import injection_steps
from tests.invented.project import ROOT, Project
from tests.invented.suites import PYTHIA, SMOLLM3, SUITES, branches

STUDIES = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))
README = (ROOT / "config/README.md").read_text()
WITHOUT_TAIL = {"nursery_grid", "gcide", "gcide_14m", "interventions"}
"""Studies that do not follow what is learned after the last injection."""
TABLE_STEPS = (117850, 369000, 554000, 738020)
"""Of the paper's tables 1 and 2."""


def read(name):
    file = ROOT / f"config/{name}.yaml"
    config = {"results_dir": default_folder(file)} | yaml.safe_load(file.read_text())
    return read_study(config, need_files=False)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_valid_and_has_results_of_its_own(name):
    folders = {other: read(other).results_dir for other in STUDIES}
    folder = folders.pop(name)
    assert folder not in folders.values()


@pytest.mark.parametrize("name", SUITES)
def test_the_branches_of_a_public_suite_are_those_documented(name):
    for model in read(name).models.values():
        source = model.source
        refs = [Ref(branch, "0" * 40) for branch in branches(source.repo)]
        for step in model.steps:
            found = choose_ref(refs, source.revision, step, where=source.repo).name
            assert re.fullmatch(rf"(stage\d-)?step-?{step}(-tokens\d+B)?", found)


def test_the_documented_numbers_of_branches():
    """154 of each Pythia; 86, 19 and 13 of SmolLM3's stages."""
    assert len(PYTHIA) == 154
    assert [sum(f"stage{n}" in branch for branch in SMOLLM3) for n in (1, 2, 3)] == [86, 19, 13]


def test_the_seeds_of_polypythias_differ_in_nothing_else():
    models = read("polypythias").models
    sizes = {size: {n: m for n, m in models.items() if size in n} for size in ("14m", "31m")}
    for size, seeds in sizes.items():
        repos = [model.source.repo for model in seeds.values()]
        suffixes = ["", *(f"-seed{seed}" for seed in range(1, 10))]
        assert repos == [f"EleutherAI/pythia-{size}{suffix}" for suffix in suffixes]
        assert [repo.partition("/")[2] for repo in repos] == list(seeds)
        assert len({tuple(model.steps) for model in seeds.values()}) == 1
        assert {model.family for model in seeds.values()} == {f"pythia-{size}"}
    learning = read("polypythias").recipes["baseline"].models
    assert learning == list(sizes["14m"])


def test_what_is_said_of_polypythias_is_what_the_plan_says(tmp_path):
    study = read("polypythias").model_copy(update={"results_dir": str(tmp_path)})
    sizes = {name: find_size(study, name) for name in study.models}
    cost = total(costs_by_rule(jobs(study, sizes)).values())
    said = " ".join((ROOT / "docs/hub.md").read_text().split())
    gigabytes = (cost.download_bytes / 1e9, cost.disk_bytes / 1e9)
    assert "{:.1f} GB to download, {:.1f} GB of disk".format(*gigabytes) in said
    assert f"{cost.num_jobs} jobs" in said


@pytest.mark.parametrize("name", ["olmo_1b", "olmo_7b", "pythia_1.4b", *SUITES])
def test_the_dag_of_a_study_of_hub_models_builds(name, tmp_path):
    project = Project(tmp_path)
    project.study = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    pending = project.pending()
    study = read(name)
    assert all(find_size(study, model) for model in study.models)
    costs = costs_by_rule(jobs(study, dict.fromkeys(study.models, UNKNOWN)))
    assert pending == {rule: cost.num_jobs for rule, cost in costs.items()}


def test_the_papers_recipes_are_run_on_the_originals_at_the_steps_of_its_tables():
    study = read("olmo_1b")
    assert len(study.models["olmo-1b"].steps) >= 8
    places = {
        recipe: {(run.step, run.variant) for run in study.runs() if run.recipe == recipe}
        for recipe in study.recipes
    }
    originals = {(step, ORIGINAL) for step in TABLE_STEPS}
    for recipe in ("batch2048", "epochs3", "c4"):
        assert places[recipe] == originals
    for recipe in ("lr1e-3", "lr2e-4", "lr1e-4"):
        assert {place for place in places[recipe] if place[1] == ORIGINAL} == originals
    assert places["tail"] == {
        (step, variant) for step in TABLE_STEPS for variant in (ORIGINAL, "boost_p50_q2")
    }
    assert places["baseline"] == {(state.step, state.variant) for state in study.states()}


def test_the_papers_sweeps_are_whole():
    final = [
        variant
        for name, variant in read("olmo_1b").variants.items()
        if variant.includes("", 738020)
    ]
    woken = {(v.quantile, v.boost) for v in final if v.kind == "resuscitate"}
    assert woken == {(0.5, q) for q in (0.5, 1, 1.5, 2, 2.5, 3)} | {
        (p, 1) for p in (0.25, 0.75, 0.9)
    }
    assert {v.temperature for v in final if v.kind == "temper_attention"} == {1.5, 2, 2.5, 3}


def test_the_papers_recipes_have_its_numbers():
    recipes = dict(read("olmo_1b").recipes)
    for name in ("tail", "lr2e-4", "compensated"):  # not of the paper
        recipes.pop(name)
    sizes = {name: (r.num_steps, r.batch_size_sequences) for name, r in recipes.items()}
    ordinary = (1600, 128)
    assert sizes == dict.fromkeys(recipes, ordinary) | {
        "batch2048": (100, 2048),
        "epochs3": (4800, 128),
    }
    rates = {name: recipe.learning_rate for name, recipe in recipes.items()}
    assert rates == dict.fromkeys(recipes, 4e-4) | {"lr1e-3": 1e-3, "lr1e-4": 1e-4}
    assert {name for name, recipe in recipes.items() if recipe.corpus != "pubmed"} == {"c4"}
    for recipe in recipes.values():
        assert recipe.num_injections == 10
        injected = 10 * recipe.injection_interval_steps
        assert injected == recipe.num_steps // recipe.num_epochs


@pytest.mark.parametrize("name", sorted({*STUDIES} - WITHOUT_TAIL))
def test_a_study_follows_new_knowledge_for_ten_intervals_after_the_last_injection(name):
    """One recipe of each, but for smoke.yaml, whose numbers mean nothing.

    Those without ask how much is learned and forgotten, not how it fades.
    """
    study = read(name)
    tails = {
        key: (recipe.num_steps - injection_steps(recipe)[-1]) // recipe.injection_interval_steps
        for key, recipe in study.recipes.items()
        if recipe.probe_interval_steps
    }
    assert len(tails) == 1
    assert study.fit_decay is not None
    assert name == "smoke" or min(tails.values()) >= 10


def test_the_confirmation_is_the_embedded_study_on_other_seeds():
    embedded, confirmation = read("config"), read("confirmation")
    differ = {
        section
        for section in Study.model_fields
        if getattr(embedded, section) != getattr(confirmation, section)
    }
    assert differ == {"models", "results_dir", "write_report"}
    ours, others = (
        [model.model_dump() for model in study.models.values()]
        for study in (embedded, confirmation)
    )
    seeds = {model["source"].pop("seed") for model in ours}
    assert not seeds & {model["source"].pop("seed") for model in others}
    assert all(model == ours[0] for model in (*ours, *others))


def test_interventions_are_the_embedded_nursery_at_its_last_stage_on_other_seeds():
    study, others = read("interventions"), [read("config"), read("confirmation")]
    ours = [model.model_dump() for model in study.models.values()]
    seeds = {model["source"].pop("seed") for model in ours}
    assert len(seeds) == 3
    for other in others:
        nurseries = [model.model_dump() for model in other.models.values()]
        assert not seeds & {model["source"].pop("seed") for model in nurseries}
        assert all(model | {"steps": nurseries[0]["steps"]} == nurseries[0] for model in ours)
        assert {step for model in ours for step in model["steps"]} == {nurseries[0]["steps"][-1]}
        same = ("world", "train_tokenizer", "corpora", "knowledge", "evaluate_retention")
        assert all(getattr(study, section) == getattr(other, section) for section in same)
        (woken,) = (other.variants[name] for name in other.variants)
        pushes = [each for name, each in study.variants.items() if name != "temper"]
        assert {(each.quantile, each.boost) for each in pushes} == {(woken.quantile, woken.boost)}


@pytest.mark.parametrize(
    ("name", "model", "step", "recipes"),
    [("interventions", "nursery_seed201", 2000, 2), ("olmo_1b", "olmo-1b", 738020, 1)],
)
def test_gauge_function_and_their_controls_are_whole(name, model, step, recipes):
    study = read(name)
    kinds = {}
    for run in study.runs():
        compensated = study.recipes[run.recipe].compensate_gauge
        if (run.model, run.step) == (model, step) and run.variant != ORIGINAL and not compensated:
            variant = study.arms[run.variant].settings
            told = (variant.kind, getattr(variant, "of", None))
            if getattr(variant, "boost", None) == 2:
                kinds.setdefault(told, set()).add((run.variant, run.recipe))
    assert kinds.keys() == {
        *((kind, None) for kind in ("resuscitate", "gauge", "inverse_gauge", "function")),
        *(("permuted", of) for of in ("gauge", "resuscitate")),
        ("top", "gauge"),
        ("noise", "resuscitate"),
    }
    frontier = {"resuscitate", "gauge", "inverse_gauge", "function"}
    for (kind, _), runs in kinds.items():
        assert kind not in frontier or len({recipe for _, recipe in runs}) >= 4
        assert len({recipe for _, recipe in runs}) >= recipes
        assert kind not in ("permuted", "noise") or len({variant for variant, _ in runs}) > 2


def test_what_is_said_of_interventions_is_what_is_planned():
    study = read("interventions")
    said = (ROOT / "config/interventions.yaml").read_text()
    assert f"counts {len(study.runs())} learning runs" in said
    assert f"each of {len(study.states())} states" in said


@pytest.mark.parametrize("name", ["olmo_1b", "olmo_7b", "pythia_1.4b"])
def test_the_tail_is_the_papers_baseline_gone_on_with(name):
    baseline, tail = (read(name).recipes[key] for key in ("baseline", "tail"))
    changed = {
        field for field in Training.model_fields if getattr(baseline, field) != getattr(tail, field)
    }
    assert changed == {"corpus", "num_steps", "warmup_fraction", "probe_interval_steps"}
    warmups = {round(recipe.warmup_fraction * recipe.num_steps) for recipe in (baseline, tail)}
    assert warmups == {80}
    corpora = read(name).corpora
    assert corpora[tail.corpus].source == corpora[baseline.corpus].source
    assert injection_steps(tail) == injection_steps(baseline)


def test_the_readme_has_a_row_for_every_section():
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*) \|$", README.partition("| section |")[2], re.M)
    needed = {name: need for cell, need in rows for name in re.findall(r"`(\w+)`", cell)}
    assert needed.keys() == Study.model_fields.keys()
    for name, field in Study.model_fields.items():
        assert (needed[name] == "yes") == field.is_required(), name
