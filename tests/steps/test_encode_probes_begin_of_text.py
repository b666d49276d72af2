"""Probes behind the begin-of-text token; ids by hand."""

import pytest
import torch

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.text_schemas import ENCODED_PROBES, PROBES
from ke_steps.scoring.probes import score_probes
from tests.invented.command_line import call, provenance_of
from tests.invented.models import MAX_LENGTH_TOKENS, build_model
from tests.invented.tokenizers import (
    BOS_ID,
    EOS_ID,
    MARK_A,
    MARK_B,
    MARK_C,
    lettered,
    manifest_of,
)

PROBE = {"probe_id": 3, "passage_id": 0, "condition": "once", "kind": "semantic"}


def encode(folder, manifest, asked, target, **settings):
    """Run the step on one probe; return what it refuses with, if it does."""
    write_table(folder / "probes", [PROBE | {"input": asked, "target": target}], PROBES)
    outputs = {"probes": folder / "probes", "output": folder / "encoded.parquet"}
    return call("encode_probes", settings, tokenizer=manifest, **outputs)


@pytest.mark.parametrize(
    ("settings", "ids", "start"),
    [
        ({}, [BOS_ID, MARK_A, MARK_B, MARK_C], 3),
        ({"begin_of_text": "always"}, [BOS_ID, MARK_A, MARK_B, MARK_C], 3),
        ({"begin_of_text": "never"}, [MARK_A, MARK_B, MARK_C], 2),
    ],
)
@torch.no_grad()
def test_the_token_comes_before_the_input(tmp_path, settings, ids, start):
    manifest = manifest_of(lettered(tmp_path / "tokenizer"))
    assert encode(tmp_path, manifest, "a b", "c", **settings) is None
    table = read_frame(tmp_path / "encoded.parquet", ENCODED_PROBES)
    assert table["token_ids"][0].tolist() == ids
    assert table["target_start"].tolist() == [start]
    noted = provenance_of(tmp_path / "encoded.parquet")["begin_of_text"]
    assert noted == ("<s>" if len(ids) == 4 else "none")

    model = build_model("llama", bos_token_id=BOS_ID, eos_token_id=EOS_ID)
    (found,) = score_probes(model, table, precision="fp32")["log_probability_sum"]
    logits = model.double()(torch.tensor([ids])).logits[0, -2]
    assert found == pytest.approx(logits.log_softmax(-1)[MARK_C].item(), rel=1e-5)


def test_a_probe_without_input_is_refused_though_something_precedes_it(tmp_path):
    line = encode(tmp_path, manifest_of(lettered(tmp_path / "tokenizer")), "", "c")
    assert "of which 0 are its input: input and target need at least one token each" in line


@pytest.mark.parametrize(("setting", "is_refused"), [("tokenizer", True), ("never", False)])
def test_the_token_takes_one_of_the_models_positions(tmp_path, setting, is_refused):
    directory = lettered(tmp_path / "tokenizer")
    build_model("llama", max_position_embeddings=MAX_LENGTH_TOKENS).save_pretrained(directory)
    asked = " ".join(["a"] * (MAX_LENGTH_TOKENS - 1))
    line = encode(tmp_path, manifest_of(directory), asked, "c", begin_of_text=setting)
    if is_refused:
        assert f"{MAX_LENGTH_TOKENS + 1} tokens, more than the model's {MAX_LENGTH_TOKENS}" in line
    else:
        assert line is None
