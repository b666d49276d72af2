"""All faults of a study in one refusal, and none that is not there."""

import copy

import pytest
import yaml

from ke_steps.job.errors import UserError
from ke_steps.settings.study import Study
from ke_steps.study.reading import read_study
from ke_steps.study.right_part import Faulty
from tests.invented.configs import WHOLE
from tests.invented.project import ROOT

NURSERY = {"source": {"kind": "nursery"}, "steps": [0]}
RECIPE = WHOLE["recipes"]["baseline"]
NONSENSE = {"no such key": "¬"}


def with_faults(faults, config=WHOLE):
    """A study with some values, by their keys with slashes between them."""
    study = copy.deepcopy(config)
    for path, value in faults.items():
        *outer, last = path.split("/")
        holder = study
        for key in outer:
            holder = holder.setdefault(key, {})
        holder[last] = value
    return study


def refusal(config):
    """The lines of a refusal; none if there is none."""
    try:
        read_study(config, need_files=False)
    except UserError as error:
        return str(error).splitlines()
    return []


def keys(lines):
    return [line.partition(": ")[0] for line in lines]


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        ({"num_threads": "x", "seeds": [1, 1]}, ["num_threads", "seeds"]),
        (
            {"recipes/baseline/batch_size_sequences": "x", "variants/boost_p50_q2/steps": [7]},
            ["recipes.baseline.batch_size_sequences", "variants.boost_p50_q2.steps"],
        ),
        (  # the only model, which a study cannot be without
            {"models/nursery/steps": "all", "extract_coefficients/corpus": "nowhere"},
            ["models.nursery.steps", "extract_coefficients.corpus"],
        ),
        (  # the first corpus, which sections read that name none
            {"corpora/pretraining/source": None, "recipes/baseline/variants": ["q"]},
            ["corpora.pretraining.source", "recipes.baseline.variants", "recipes.baseline"],
        ),
        (
            {"pretrain_nursery/num_steps": 0, "evaluate_retention/held_out_corpus": "nowhere"},
            ["pretrain_nursery.num_steps", "evaluate_retention.held_out_corpus"],
        ),
        ({"evaluate_retension": {}, "seeds": [1, 1]}, ["evaluate_retension", "seeds"]),
        ({"models": None, "seeds": [1, 1]}, ["models", "seeds"]),
        ({"models/a b": NURSERY, "seeds": [1, 1]}, ["models.a b", "seeds"]),
        ({"models": {"a b": NURSERY}, "seeds": [1, 1]}, ["models.a b", "seeds"]),
        ({"recipes/a b": RECIPE, "seeds": [1, 1]}, ["recipes.a b", "seeds"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_contradictions_are_told_with_faults_of_single_values(faults, expected):
    assert keys(refusal(with_faults(faults))) == expected


def test_what_rests_on_a_faulty_value_is_not_told():
    """A batch of no size may hold so many passages, or not."""
    size, once = "recipes/baseline/batch_size_sequences", "knowledge/num_once_passages"
    assert keys(refusal(with_faults({once: 10_000}))) == [size.replace("/", ".")]
    assert keys(refusal(with_faults({once: 10_000, size: "x"}))) == [size.replace("/", ".")]


def leaves(node, path=""):
    """The keys of all values that are no mappings."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}/")
        else:
            yield f"{path}{key}"


@pytest.mark.parametrize("name", ["whole", "interventions", "config"])
def test_a_fault_makes_no_other_where_there_is_none(name):
    """Each value of a right study made wrong, then each mapping given a key that it has not."""
    file = ROOT / f"config/{name}.yaml"
    config = yaml.safe_load(file.read_text()) if file.is_file() else WHOLE
    assert refusal(config) == []
    for path in leaves(config):
        for key in (path, f"{path.rpartition('/')[0]}/no_such_key".lstrip("/")):
            lines = refusal(with_faults({key: NONSENSE}, config))
            assert lines
            for line in lines:
                assert line.startswith(key.partition("/")[0]), (key, lines)


def test_studies_that_are_read_later_have_nothing_faulty():
    refusal(with_faults({"summarize/no_such_key": 1, "seeds": [1, 1]}))
    study = read_study(WHOLE, need_files=False)
    assert study == Study.model_validate(study.model_dump())


def test_each_look_at_what_is_faulty_fails():
    faulty = Faulty()
    looks = (
        lambda: faulty.name, lambda: bool(faulty), lambda: faulty == 1, lambda: faulty in [1],
        lambda: f"{faulty}", lambda: repr(faulty), lambda: {faulty: 1}, lambda: {}[faulty],
        lambda: isinstance(faulty, Study), lambda: sorted([faulty, faulty]), lambda: faulty < 1,
        lambda: len(faulty), lambda: list(faulty), lambda: faulty + 1,
    )  # fmt: skip
    for look in looks:
        with pytest.raises((LookupError, TypeError)):
            look()
