"""The call is the workflow's steps, for a model from a path and for one that is loaded."""

import json
import math
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from ke_steps import (
    aggregate_entropy,
    extract_coefficients,
    fetch_checkpoint,
    measure,
    prepare_corpus,
)
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.measuring.moments import GroupMeans
from ke_steps.public import measurement
from tests.invented.gguf import write_gguf
from tests.invented.measured import TEXTS, build_folder, fast_tokenizer, write_text
from tests.invented.models import (
    EOS_ID,
    MAX_LENGTH_TOKENS,
    NUM_MEMORIES,
    build_model,
    trained_tokenizer,
)
from tests.invented.project import ROOT

COLUMNS = ["entropy_nats", "low", "high", "normalized_entropy", "effective_number"]
COLUMNS += ["dormant_fraction", "contribution_entropy_nats"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a model, with a text file beside it."""
    folder = build_folder(tmp_path_factory.mktemp("models") / "olmo")
    write_text(folder.parent / "text.txt")
    return folder


@pytest.fixture(scope="module")
def measured(folder):
    return measure(folder, folder.parent / "text.txt")


def load(folder, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)


def packed():
    """Return the text as sequences (n, T), independently of ``prepare_corpus``."""
    encode = trained_tokenizer().encode
    ids = [each for text in TEXTS for each in [*encode(text).ids, EOS_ID]]
    rows = len(ids) // MAX_LENGTH_TOKENS
    return torch.tensor(ids[: rows * MAX_LENGTH_TOKENS]).view(rows, MAX_LENGTH_TOKENS)


def entropy(activity):
    p = activity / activity.sum(-1, keepdims=True)
    return -(p * np.log(p)).sum(-1)


def same(one, other):
    pd.testing.assert_frame_equal(one.by_layer, other.by_layer)
    pd.testing.assert_series_equal(one.total, other.total)


def test_the_numbers_are_those_of_the_definition(folder, measured):
    model = load(folder).eval()
    seen = []
    layers = model.model.layers
    for layer in layers:
        layer.mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    sequences = packed()[: measured.num_sequences]
    with torch.no_grad():
        model(sequences)
    activity = np.stack([c.double().abs().mean((0, 1)).numpy() for c in seen])
    norms = np.stack([layer.mlp.down_proj.weight.detach().norm(dim=0).numpy() for layer in layers])
    h = entropy(activity)
    dormant = (activity < 0.1 * activity.mean(1, keepdims=True)).mean(1)
    by_layer, total = measured.by_layer, measured.total
    assert list(by_layer) == ["layer", *COLUMNS]
    assert list(total.index) == COLUMNS
    assert list(by_layer["layer"]) == list(range(len(layers)))
    close = {"rtol": 1e-5}
    np.testing.assert_allclose(by_layer["entropy_nats"], h, **close)
    np.testing.assert_allclose(by_layer["normalized_entropy"], h / math.log(NUM_MEMORIES), **close)
    np.testing.assert_allclose(by_layer["effective_number"], np.exp(h), **close)
    np.testing.assert_allclose(by_layer["dormant_fraction"], dormant, **close)
    contribution = entropy(activity * norms)
    np.testing.assert_allclose(by_layer["contribution_entropy_nats"], contribution, **close)
    assert total["entropy_nats"] == pytest.approx(h.sum(), rel=1e-5)
    assert total["contribution_entropy_nats"] == pytest.approx(contribution.sum(), rel=1e-5)
    assert total["effective_number"] == pytest.approx(np.exp(h.mean()), rel=1e-5)
    assert total["low"] < total["entropy_nats"] < total["high"]
    assert measured.num_tokens == sequences.numel()


def test_the_workflow_writes_the_same_bytes(folder, tmp_path, monkeypatch):
    """The steps as jobs, with the settings that the measurement says it had."""
    conclude = measurement.conclude

    def keep(sample, **keywords):
        found = conclude(sample, **keywords)
        shutil.copytree(sample.folder, tmp_path / "call", symlinks=True)
        return found

    monkeypatch.setattr(measurement, "conclude", keep)
    told = measure(folder, folder.parent / "text.txt", num_sequences=40).to_json()["provenance"]
    jobs = tmp_path / "jobs"
    manifest, sequences = jobs / "checkpoint/manifest.json", jobs / "sequences.parquet"
    tables = [jobs / "coefficients.parquet", jobs / "token_entropies.parquet"]
    steps = [
        (fetch_checkpoint, {"output": manifest}),
        (
            prepare_corpus,
            {
                "tokenizer": manifest,
                "output-sequences": sequences,
                "output-documents": jobs / "documents.parquet",
            },
        ),
        (
            extract_coefficients,
            {
                "checkpoint": manifest,
                "sequences": sequences,
                "output-coefficients": tables[0],
                "output-token-entropies": tables[1],
            },
        ),
        (
            aggregate_entropy,
            {
                "coefficients": tables[0],
                "token-entropies": tables[1],
                "sequences": sequences,
                "output-entropy": jobs / "entropy.parquet",
                "output-replicates": jobs / "replicates.parquet",
                "output-activity": jobs / "activity.parquet",
                "output-distribution": jobs / "distribution.parquet",
            },
        ),
    ]
    for module, files in steps:
        settings = told[module.__name__.rpartition(".")[2]]["settings"]
        words = [str(w) for name, path in files.items() for w in (f"--{name}", path)]
        main(module.run, ["--settings", json.dumps(settings), *words])
    names = ["coefficients", "token_entropies", "sequences", "documents", "entropy", "replicates"]
    names += ["activity", "distribution"]
    for path in [manifest, *(jobs / f"{name}.parquet" for name in names)]:
        assert (tmp_path / "call" / path.relative_to(jobs)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("family", ["olmo", "gpt2", "gpt_neox", "phi3", "mixtral", "gemma2"])
def test_a_loaded_model_gives_what_its_folder_gives(tmp_path, family):
    """Gemma 2 caps its attention scores here so that it matters."""
    caps = {"attn_logit_softcapping": 0.1} if family == "gemma2" else {}
    folder = build_folder(tmp_path / family, family, **caps)
    loaded = measure(load(folder), TEXTS, tokenizer=fast_tokenizer(folder), num_sequences=16)
    same(loaded, measure(folder, write_text(tmp_path / "text.txt"), num_sequences=16))


def test_a_loaded_model_is_left_as_it_was(folder, monkeypatch):
    """Its modes module by module, its hooks, and what torch is told for the whole process."""
    model = load(folder).train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    before = torch.random.get_rng_state()
    torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    measure(model, TEXTS, tokenizer=fast_tokenizer(folder), num_sequences=16)
    with monkeypatch.context() as broken, pytest.raises(RuntimeError, match="by the test"):
        broken.setattr(GroupMeans, "add", fail)
        measure(model, TEXTS, tokenizer=fast_tokenizer(folder), num_sequences=16)
    assert [module.training for module in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def fail(*_):
    raise RuntimeError("by the test")


def test_texts_files_and_sources_are_the_same_text(folder, measured):
    path = folder.parent / "text.txt"
    jsonl = folder.parent / "text.jsonl"
    jsonl.write_text("".join(json.dumps({"content": text}) + "\n" for text in TEXTS))
    source = {"kind": "text", "paths": [str(jsonl)], "text_field": "content"}
    for texts in (str(path), [path], TEXTS, source):
        same(measure(folder, texts), measured)


@pytest.mark.parametrize("rest", [0, 3])
def test_a_file_of_token_ids_is_taken_to_its_end(folder, tmp_path, rest):
    """It is shorter than 64 sequences, and 37 of them are not a whole number of groups."""
    ids = packed()[:37].flatten().numpy().astype("<u2")
    np.concatenate([ids, ids[:rest]]).tofile(tmp_path / "ids.npy")
    source = {"kind": "token_file", "location": str(tmp_path / "ids.npy"), "dtype": "uint16"}
    measured = measure(folder, source)
    assert (measured.num_sequences, measured.num_tokens) == (36, 36 * MAX_LENGTH_TOKENS)
    same(measured, measure(folder, source, num_sequences=36))


def test_the_batch_is_told_and_changes_nothing_else(folder, measured):
    small = measure(folder, TEXTS, batch_size_sequences=3)
    extraction = small.provenance["extract_coefficients"]["settings"]
    assert extraction["batch_size_sequences"] == 3
    np.testing.assert_allclose(small.by_layer, measured.by_layer, rtol=1e-5)


def test_a_gguf_file_is_measured(tmp_path):
    folder = build_folder(tmp_path / "llama", "llama")
    gguf = write_gguf(tmp_path / "llama.gguf", build_model("llama"), folder)
    of_file, of_folder = (measure(each, TEXTS, num_sequences=16) for each in (gguf, folder))
    np.testing.assert_allclose(of_file.by_layer, of_folder.by_layer, rtol=1e-6)


def test_a_tied_head_in_a_gguf_file_is_said(tmp_path):
    model = build_model("llama", tie_word_embeddings=True)
    folder = build_folder(tmp_path / "llama", "llama", tie_word_embeddings=True)
    gguf = write_gguf(tmp_path / "llama.gguf", model, folder)
    with pytest.raises(UserError, match="set tied_head: true"):
        measure(gguf, TEXTS)
    same(measure(gguf, TEXTS, tied_head=True), measure(folder, TEXTS))


def test_bf16_is_said_and_measured(folder):
    rough = measure(folder, TEXTS, precision="bf16", num_sequences=16)
    assert "bf16 on cpu" in str(rough)
    tokenizer = fast_tokenizer(folder)
    same(rough, measure(load(folder, torch.bfloat16), TEXTS, tokenizer=tokenizer, num_sequences=16))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"model": "nowhere"},
            "^model: 'nowhere' is no folder that is there, no .gguf file and no",
        ),
        ({"model": "nowhere.gguf"}, "^model: no such file: nowhere.gguf"),
        ({"model": "a{b}"}, "^model: .*in braces stands the step alone"),
        ({"texts": "nowhere.txt"}, "^nowhere.txt: no such file"),
        ({"texts": "nowhere.pdf"}, "^texts.paths.0: .*unknown kind of text file"),
        ({"texts": []}, "^texts.paths: "),
        ({"texts": [3]}, "^texts: expected the path of a file, a list of texts"),
        ({"texts": {"kind": "preset", "name": "my own"}}, "^texts.preset.name: "),
        (
            {"texts": ["too", "short"]},
            r"^texts: \d+ tokens, fewer than two .*: give more",
        ),
        ({"num_sequences": 0}, "^num_sequences: Input should be greater than or equal to 1"),
        ({"sequence_length_tokens": 65}, "^sequence_length_tokens: 65 exceeds the 64 positions"),
        ({"begin_of_text": "mostly"}, "^begin_of_text: Input should be 'tokenizer', 'always'"),
        ({"end_of_text": "<end>"}, "end_of_text names '<end>'.*name one in end_of_text"),
        ({"precision": "fp16"}, "^precision: "),
    ],
)
def test_what_cannot_be_measured_is_refused_in_words_of_the_call(folder, changes, says):
    with pytest.raises(UserError, match=says) as refusal:
        measure(**({"model": folder, "texts": TEXTS} | changes))
    assert "\n" not in str(refusal.value)
    assert "<name>" not in str(refusal.value)


@pytest.mark.parametrize("positions", [256, 512])
def test_where_shorter_sequences_would_do_their_length_is_said(tmp_path, positions):
    """Be it one sequence that there is, or none."""
    folder = build_folder(tmp_path / "olmo", max_position_embeddings=positions)
    num_tokens = sum(len(trained_tokenizer().encode(text).ids) + 1 for text in TEXTS[:8])
    assert num_tokens // positions == {256: 1, 512: 0}[positions]
    with pytest.raises(UserError, match=f"^texts: {num_tokens} tokens, fewer") as refusal:
        measure(folder, TEXTS[:8])
    length = int(re.search(r"or sequence_length_tokens (\d+)", str(refusal.value))[1])
    assert measure(folder, TEXTS[:8], sequence_length_tokens=length).num_sequences >= 16


@pytest.mark.parametrize(
    ("dtype", "keywords", "says"),
    [
        (torch.float32, {"tokenizer": None}, "^tokenizer: a model that is loaded needs its own"),
        (torch.float32, {"precision": "fp32"}, "^precision: a model that is loaded"),
        (torch.float16, {}, r"^model: its parameters are torch.float16; wanted is one of torch.fl"),
    ],
)
def test_what_does_not_go_with_a_loaded_model_is_refused(folder, dtype, keywords, says):
    tokenizer = fast_tokenizer(folder)
    with pytest.raises(UserError, match=says):
        measure(load(folder, dtype), TEXTS, **({"tokenizer": tokenizer} | keywords))


def test_the_module_of_the_command_does_not_hide_the_function():
    code = "import ke_steps.measure; from ke_steps import measure; print(measure.__module__)"
    run = [sys.executable, "-c", code]
    assert subprocess.check_output(run, cwd=ROOT, text=True).strip() == "ke_steps.public.call"
