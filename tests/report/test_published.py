"""The paper's numbers: as published, and only beside the paper's own study."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ke_steps.report.published import CORPUS, RECIPES, published_recipe, published_values
from ke_steps.study.reading import read_study_file
from ke_steps.summary.quantities import ACCURACY_AFTER, ACQUISITION, FORGETTING, KNOWLEDGE_AFTER

STEPS = {118000: 117850, 369000: 369000, 554000: 554000, 738000: 738020}


def recipe_of(published: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe of a study that is a published one."""
    settings = {**published, "micro_batch_size_sequences": 8, "probe_interval_steps": None}
    settings["warmup_fraction"] = settings.pop("warmup_steps") / settings["num_steps"]
    return settings


def paper_study() -> dict[str, Any]:
    """Return the paper's own study, as far as it decides; names are a user's own."""
    return {
        "models": {
            "olmo": {
                "source": {"kind": "hub", "repo": "allenai/OLMo-1B-hf"},
                "begin_of_text": "tokenizer",
            }
        },
        "corpora": {
            "abstracts": copy.deepcopy(CORPUS),
            "c4": {**CORPUS, "source": {"kind": "preset", "name": "c4"}},
        },
        "recipes": {
            f"my_{name}": {"corpus": "abstracts", **recipe_of(parameters)}
            for name, parameters in RECIPES.items()
        },
        "knowledge": {
            "source": {"kind": "preset", "name": "fictional_knowledge", "folder": None},
            "num_paraphrase_passages": 70,
            "num_once_passages": 60,
        },
        "evaluate_knowledge": {"score": "reference_padded"},
        "evaluate_retention": {
            "tasks": ["sciq", "winogrande", "piqa", "openbook_qa", "hellaswag", "arc_easy"],
            "num_items_per_task": None,
        },
    }


def test_every_published_number_is_the_papers(shared_data: Path) -> None:
    paper = shared_data.parent / "paper"
    if not paper.is_dir():
        pytest.skip("the paper's tables are not there")
    table_1, table_2 = (pd.read_csv(paper / f"table{n}.csv") for n in (1, 2))
    rows = table_1.merge(table_2, on=["recipe", "step"]).to_dict("records")
    assert len(rows) == 20
    for row in rows:
        found = published_values(paper_study(), "olmo", f"my_{row['recipe']}", STEPS[row["step"]])
        assert found == pytest.approx(
            {
                ACQUISITION: row["acquisition_percent"] / 100,
                FORGETTING: row["forgetting_percent"] / 100,
                KNOWLEDGE_AFTER: row["probe_performance_reference_scale"],
                ACCURACY_AFTER: row["downstream_percent"] / 100,
            }
        )


KNOWLEDGE = {ACQUISITION, KNOWLEDGE_AFTER}
TASKS = {FORGETTING, ACCURACY_AFTER}


@pytest.mark.parametrize(
    ("path", "value", "left"),
    [
        (["models", "olmo", "source", "repo"], "allenai/OLMo-7B-hf", set()),
        (["models", "olmo", "source", "kind"], "directory", set()),
        (["recipes", "my_baseline", "learning_rate"], 5e-4, set()),
        (["recipes", "my_baseline", "num_injections"], 9, set()),
        (["recipes", "my_baseline", "corpus"], "c4", set()),
        (["recipes", "my_baseline", "batch_size_sequences"], 64, set()),
        (["recipes", "my_baseline", "num_steps"], 1601, set()),
        (["recipes", "my_baseline", "num_epochs"], 2, set()),
        (["recipes", "my_baseline", "warmup_fraction"], 0.5, set()),
        (["recipes", "my_baseline", "min_learning_rate_ratio"], 0.0, set()),
        (["recipes", "my_baseline", "weight_decay"], 0.0, set()),
        (["recipes", "my_baseline", "max_gradient_norm"], 0.5, set()),
        (["recipes", "my_baseline", "injection_interval_steps"], 100, set()),
        (["recipes", "my_baseline", "precision"], "fp32", set()),
        (["recipes", "my_baseline", "micro_batch_size_sequences"], 4, KNOWLEDGE | TASKS),
        (["recipes", "my_baseline", "probe_interval_steps"], 10, KNOWLEDGE | TASKS),
        (["corpora", "abstracts", "num_sequences"], 204799, set()),
        (["corpora", "abstracts", "sequence_length_tokens"], 512, set()),
        (["corpora", "abstracts", "skip_sequences"], 1, set()),
        (["corpora", "abstracts", "source", "name"], "c4", set()),
        (["models", "olmo", "begin_of_text"], "always", set()),
        (["models", "olmo", "begin_of_text"], "never", KNOWLEDGE | TASKS),
        (["knowledge", "num_once_passages"], 59, TASKS),
        (["knowledge", "source"], {"kind": "world"}, TASKS),
        (["knowledge", "source", "kind"], "fictional_knowledge", TASKS),
        (["knowledge", "source", "folder"], "copy", KNOWLEDGE | TASKS),
        (["evaluate_knowledge", "score"], "per_token", TASKS | {ACQUISITION}),
        (["evaluate_retention", "tasks"], ["sciq"], KNOWLEDGE),
        (["evaluate_retention", "num_items_per_task"], 100, KNOWLEDGE),
        (["seeds"], [5], KNOWLEDGE | TASKS),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, list) and len(value) > 1 else "",
)
def test_a_study_that_differs_is_not_compared(path: list[str], value: Any, left: set[str]) -> None:
    study = copy.deepcopy(paper_study())
    place = study
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert set(published_values(study, "olmo", "my_baseline", 738020)) == left


@pytest.mark.parametrize(("step", "is_stage"), [(117410, True), (117409, False), (100000, False)])
def test_a_step_within_half_a_percent_is_the_published_stage(step: int, is_stage: bool) -> None:
    assert bool(published_values(paper_study(), "olmo", "my_baseline", step)) == is_stage


def test_recipes_are_told_apart_by_their_hyper_parameters() -> None:
    study = paper_study()
    assert {name: published_recipe(study, name) for name in study["recipes"]} == {
        f"my_{name}": name for name in RECIPES
    }


def test_the_shipped_study_is_the_papers() -> None:
    config = Path(__file__).parents[2] / "config" / "olmo_1b.yaml"
    study = read_study_file(config, need_files=False).model_dump(mode="json")
    assert {name: published_recipe(study, name) for name in study["recipes"]} == {
        **{name: name for name in RECIPES},
        **dict.fromkeys(("c4", "tail", "lr2e-4", "compensated")),
    }
    assert set(published_values(study, "olmo-1b", "baseline", 738020)) == KNOWLEDGE | TASKS
    assert published_values(study, "olmo-1b", "epochs3", 738020)
