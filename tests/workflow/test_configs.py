"""Every study of config/ is valid, the paper's DAGs build, and config/README.md is right."""

import re
import resource

import pytest
import yaml

from ke_steps.planning.costs import costs_by_rule, jobs
from ke_steps.planning.model_sizes import UNKNOWN
from ke_steps.settings.learning import ORIGINAL, Training
from ke_steps.settings.study import Study
from ke_steps.study.reading import read_study
from ke_steps.training.injection import injection_steps
from tests.invented.project import ROOT, Project

STUDIES = sorted(path.stem for path in (ROOT / "config").glob("*.yaml"))
README = (ROOT / "config/README.md").read_text()
TABLE_STEPS = (117850, 369000, 554000, 738020)
"""Of the paper's tables 1 and 2."""


def read(name):
    config = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    return read_study(config, need_files=False)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_valid_and_has_results_of_its_own(name):
    others = {read(other).results_dir for other in STUDIES if other != name}
    assert read(name).results_dir not in others


@pytest.mark.parametrize("name", ["olmo_1b", "olmo_7b", "pythia_1.4b"])
def test_the_dag_of_the_papers_studies_builds(name, tmp_path):
    project = Project(tmp_path)
    project.study = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pending = project.pending()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 10  # of the CPU: the clock is others' business, too
    study = read(name)
    costs = costs_by_rule(jobs(study, dict.fromkeys(study.models, UNKNOWN)))
    assert pending == {rule: cost.num_jobs for rule, cost in costs.items()}


def test_the_papers_recipes_are_run_on_the_originals_at_the_steps_of_its_tables():
    study = read("olmo_1b")
    assert len(study.models["olmo-1b"].steps) >= 8
    places = {
        recipe: {(run.step, run.variant) for run in study.runs() if run.recipe == recipe}
        for recipe in study.recipes
    }
    for recipe in ("batch2048", "lr1e-3", "lr1e-4", "epochs3", "c4"):
        assert places[recipe] == {(step, ORIGINAL) for step in TABLE_STEPS}
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
    recipes.pop("tail")  # not of the paper
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


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_follows_new_knowledge_for_ten_intervals_after_the_last_injection(name):
    """One recipe of each, but for smoke.yaml, whose numbers mean nothing."""
    study = read(name)
    tails = {
        key: (recipe.num_steps - injection_steps(recipe)[-1]) // recipe.injection_interval_steps
        for key, recipe in study.recipes.items()
        if recipe.probe_interval_steps
    }
    assert len(tails) == 1
    assert study.fit_decay is not None
    assert name == "smoke" or min(tails.values()) >= 10


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


def test_the_readmes_study_of_ten_lines_is_valid():
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(example.splitlines()) == 10
    study = read_study(yaml.safe_load(example), need_files=False)
    assert len(study.runs()) == 3


def test_the_readme_has_a_row_for_every_section():
    rows = re.findall(r"^\| (`.*?) \|.*\| (.*) \|$", README.partition("| section |")[2], re.M)
    needed = {name: need for cell, need in rows for name in re.findall(r"`(\w+)`", cell)}
    assert needed.keys() == Study.model_fields.keys()
    for name, field in Study.model_fields.items():
        assert (needed[name] == "yes") == field.is_required(), name
