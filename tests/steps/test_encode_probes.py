"""Probes as token ids are what scoring takes, and one that cannot be asked is refused."""

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from ke_steps.artefacts.manifests import describe_files
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.text_schemas import ENCODED_PROBES, PROBES
from ke_steps.job.files import write_json
from ke_steps.scoring.probes import read_spans
from ke_steps.texts.tokenizers import FILES, load_tokenizer
from tests.invented.command_line import call
from tests.invented.models import MAX_LENGTH_TOKENS, build_checkpoint


def write_probes(path, pairs):
    rows = [
        {
            "probe_id": 10 + index,
            "passage_id": index // 2,
            "condition": "once",
            "kind": "semantic",
            "input": asked,
            "target": target,
        }
        for index, (asked, target) in enumerate(pairs)
    ]
    write_table(path, rows, PROBES)
    return path


PAIRS = [("Mara Velin was born in", "Orsk."), ("The river", "Tamsin flows"), ("", "lamps")]


def encode(folder, tokenizer, pairs):
    return call(
        "encode_probes",
        {},
        tokenizer=tokenizer,
        probes=write_probes(folder / "probes.parquet", pairs),
        output=folder / "encoded.parquet",
    )


def test_tokens_and_starts_are_those_of_input_and_target(tmp_path, tokenizer_manifest):
    assert encode(tmp_path, tokenizer_manifest, PAIRS[:2]) is None
    tokenizer = load_tokenizer(tokenizer_manifest.parent)
    table = read_frame(tmp_path / "encoded.parquet", ENCODED_PROBES)
    assert table["probe_id"].tolist() == [10, 11]
    assert table["kind"].tolist() == ["semantic"] * 2
    for (asked, target), span in zip(PAIRS, read_spans(table), strict=False):
        assert list(span.token_ids) == tokenizer.encode(f"{asked} {target}")
        assert list(span.token_ids[: span.start]) == tokenizer.encode(asked)
        text = "".join(tokenizer.decode(token) for token in span.token_ids[span.start :])
        assert text == f" {target}"


def merging_tokenizer(directory):
    """A tokenizer without words: it has tokens that reach over a space."""
    pieces = ["<|endoftext|>", "a", "b", "c", " ", "b ", "b c", "b cc"]
    merges = [("b", " "), ("b ", "c"), ("b c", "c")]
    backend = Tokenizer(models.BPE({piece: index for index, piece in enumerate(pieces)}, merges))
    backend.pre_tokenizer = pre_tokenizers.Split("|", "isolated")
    directory.mkdir()
    backend.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": pieces[0]}))
    manifest = directory / "manifest.json"
    files = [directory / name for name in FILES]
    content = {"kind": "tokenizer", "files": describe_files(files)}
    write_json(manifest, content)
    return manifest


@pytest.mark.parametrize(
    ("asked", "target", "says"),
    [
        ("ab", "c", "2 tokens, of which 2 are its input: input and target need at least one"),
        ("ab", "cca", "joins the end of the input with the target in one token; reword it"),
        ("", "a", "of which 0 are its input"),
    ],
)
def test_a_target_that_a_merge_swallows_is_refused(tmp_path, asked, target, says):
    manifest = merging_tokenizer(tmp_path / "tokenizer")
    line = encode(tmp_path, manifest, [("aa", "c"), (asked, target)])
    assert f"probe 11 (semantic, passage 0, input {asked!r}, target {target!r}): " in line
    assert says in line
    assert not (tmp_path / "encoded.parquet").exists()


def test_a_probe_beyond_the_models_positions_is_refused(tmp_path):
    manifest = build_checkpoint(tmp_path / "llama", "llama")
    long = "Mara " * MAX_LENGTH_TOKENS + "Velin"
    line = encode(tmp_path, manifest, [PAIRS[0], (long, "Orsk")])
    assert "probe 11" in line
    assert f"more than the model's {MAX_LENGTH_TOKENS} positions; shorten it" in line
