"""Interventions that a model does not allow are refused while the study is read."""

import copy

import pytest

from ke_steps.job.errors import UserError
from ke_steps.study.reading import read_study
from tests.invented.configs import WHOLE
from tests.invented.models import build_model

ALGORITHM = {"quantile": 0.5, "boost": 2.0}
GAUGE = {"kind": "gauge", **ALGORITHM}
PERMUTED = {"kind": "permuted", "of": "gauge", **ALGORITHM}


def faults(variants, models=None):
    study = copy.deepcopy(WHOLE)
    study["variants"] = variants
    study["models"] |= models or {}
    study["recipes"]["baseline"]["variants"] = None
    try:
        read_study(study)
    except UserError as error:
        return str(error).splitlines()
    return []


def test_key_rows_of_a_nursery_are_refused():
    (line,) = faults({"g": GAUGE | {"rows": "key"}})
    assert line.startswith("variants.g: models.nursery: olmo has gated feed-forward layers")
    assert not faults({"g": GAUGE})
    assert not faults({"g": GAUGE | {"rows": "key", "models": []}})


@pytest.mark.parametrize(
    ("architecture", "rows", "says"),
    [
        ({"family": "gpt_neox"}, "key", "hidden_act is gelu, which bends a scale of the key rows"),
        ({"family": "gpt2"}, "key", "activation_function is gelu_new, which bends"),
        ({"family": "gpt2"}, "up", "gpt2 has ungated feed-forward layers"),
        ({"family": "gpt2", "activation_function": "relu"}, "key", None),
        ({"family": "llama"}, "up", None),
        ({"family": "llama"}, "key", "llama has gated feed-forward layers"),
    ],
    ids=str,
)
@pytest.mark.parametrize("variant", [GAUGE, PERMUTED], ids=lambda variant: variant["kind"])
def test_what_a_local_model_does_not_allow_is_refused(tmp_path, architecture, rows, says, variant):
    build_model(**architecture, max_position_embeddings=128).save_pretrained(tmp_path)
    local = {"source": {"kind": "directory", "path": str(tmp_path)}}
    found = faults({"g": variant | {"rows": rows, "models": ["local"]}}, {"local": local})
    if says is None:
        assert not found
    else:
        (line,) = found
        assert line.startswith(f"variants.g: models.local: {says}")


def test_queries_that_are_normalised_are_refused(tmp_path):
    build_model("olmo2", max_position_embeddings=128).save_pretrained(tmp_path)
    local = {"source": {"kind": "directory", "path": str(tmp_path)}}
    (line,) = faults({"r": {"kind": "rescale_queries", "temperature": 2.0}}, {"local": local})
    assert "variants.r: models.local: olmo2 normalises its queries" in line


def test_a_folder_that_is_not_there_is_told_once(tmp_path):
    local = {"source": {"kind": "directory", "path": str(tmp_path / "none")}}
    (line,) = faults({"g": GAUGE | {"rows": "key", "models": ["local"]}}, {"local": local})
    assert "no such file or directory" in line


def test_names_of_draws_are_of_them_alone_and_fit():
    (line,) = faults({"p": PERMUTED, "p_draw1": GAUGE})
    assert line == "variants.p_draw1: this name is taken by a draw of another variant"
    (line,) = faults({"x" * 64: PERMUTED})
    assert "the name of its draws" in line
    assert "at most 64 characters" in line
