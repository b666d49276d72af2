"""``pytorch_model*.bin``: the same model as its safetensors, and no pickle that is ever run."""

import io
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from ke_steps import fetch_checkpoint
from ke_steps.checkpoints import pickled_weights
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.checkpoints.pickled_weights import rewrite
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.models.loading import load_model
from tests.invented.command_line import arguments, call, tree
from tests.invented.fetching import fetch_local
from tests.invented.models import FAMILIES, build_model, build_tokenizer, random_sequences
from tests.invented.pickles import (
    RunsCommand,
    read_in_this_process,
    save_bytes,
    save_pickled,
    state_of,
)
from tests.invented.project import ROOT

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
BIN = "pytorch_model.bin"
INDEX = "pytorch_model.bin.index.json"


@pytest.fixture
def in_this_process(monkeypatch):
    read_in_this_process(monkeypatch)


def settings_of(source):
    return {"source": {"kind": "directory", "path": str(source)}, "step": 3}


def check_logits(model, manifest):
    ids = torch.tensor(random_sequences(2, 8))
    with torch.inference_mode():
        assert torch.equal(model(ids).logits, load_model(manifest, device=CPU)(ids).logits)


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("num_shards", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(tmp_path, in_this_process, family, num_shards, is_tied):
    model = build_model(family, tie_word_embeddings=is_tied)
    save_pickled(state_of(model, tmp_path / "source"), tmp_path / "source", num_shards)
    manifest = fetch_local(tmp_path / "source", tmp_path / "out/manifest.json")
    check_logits(model, manifest)


@pytest.mark.parametrize(("num_shards", "is_archive"), [(1, False), (2, True)])
def test_in_a_process_of_its_own(tmp_path, num_shards, is_archive):
    model = build_model("llama", tie_word_embeddings=True)
    save_pickled(
        state_of(model, tmp_path / "source"),
        tmp_path / "source",
        num_shards,
        _use_new_zipfile_serialization=is_archive,
    )
    before = tree(tmp_path / "source")
    manifest = fetch_local(tmp_path / "source", tmp_path / "out/manifest.json")
    check_logits(model, manifest)
    assert tree(tmp_path / "source") == before
    described = read_checkpoint_manifest(manifest)
    assert {path.name for path in manifest.parent.iterdir()} == {
        *described["files"], "manifest.json"
    }  # fmt: skip
    modes = {path.stat().st_mode for path in manifest.parent.glob("model*")}
    assert modes == {(manifest.parent / "config.json").stat().st_mode}


def test_equal_to_the_same_weights_as_safetensors(tmp_path, in_this_process):
    model = build_model("qwen2")
    model.save_pretrained(tmp_path / "safe")
    build_tokenizer(tmp_path / "safe")
    save_pickled(state_of(model, tmp_path / "pickled"), tmp_path / "pickled", 2)
    one, two = (
        read_checkpoint_manifest(
            fetch_local(tmp_path / kind, tmp_path / f"{kind}_out/manifest.json")
        )
        for kind in ("safe", "pickled")
    )
    assert one["tensors"] == two["tensors"]


def test_a_head_that_shares_values_though_the_config_does_not_tie(tmp_path, in_this_process):
    """Each of the two gets its values, so that no tensor is missing."""
    model = build_model("llama", tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    tensors = state_of(model, tmp_path / "source")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    save_pickled(tensors, tmp_path / "source")
    manifest = fetch_local(tmp_path / "source", tmp_path / "out/manifest.json")
    loaded = load_model(manifest, device=CPU)
    assert loaded.lm_head.weight is not loaded.model.embed_tokens.weight
    check_logits(model, manifest)


def test_safetensors_come_first(tmp_path):
    model = build_model("llama")
    save_pickled(state_of(model, tmp_path / "source"), tmp_path / "source")
    model.save_pretrained(tmp_path / "source")
    (tmp_path / "source" / BIN).write_bytes(b"never opened")
    manifest = fetch_local(tmp_path / "source", tmp_path / "out/manifest.json")
    assert (manifest.parent / "model.safetensors").is_symlink()


WHOLE = torch.arange(24, dtype=torch.float32)


@pytest.mark.parametrize(
    "tensors",
    [
        {"a": WHOLE[3:7], "b": WHOLE[5:9]},
        {"a": WHOLE.view(4, 6).T},
        {"a": WHOLE.view(4, 6), "b": WHOLE.view(4, 6).T},
        {"a": WHOLE[:1].expand(5, 3)},
        {"a": WHOLE[::2], "b": WHOLE[1::2]},
        {"a": WHOLE[:0], "b": WHOLE[:0]},
        {"a": torch.tensor(3.0), "b": torch.tensor(True), "c": torch.arange(3)},
        {"a": WHOLE.bfloat16(), "b": WHOLE.half(), "c": WHOLE.double()},
        {"a": torch.nn.Parameter(WHOLE)},
    ],
)
@pytest.mark.parametrize("is_archive", [True, False])
def test_values_are_kept_whatever_shares_them(tmp_path, in_this_process, tensors, is_archive):
    save_pickled(tensors, tmp_path, _use_new_zipfile_serialization=is_archive)
    (path,) = rewrite([tmp_path / BIN], tmp_path / "out")
    written = load_file(path)
    assert written.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert written[name].dtype == tensor.dtype
        assert torch.equal(written[name], tensor.detach())


def test_values_are_mapped_and_nothing_but_weights_is_asked_for(tmp_path, monkeypatch):
    asked = []
    load = torch.load

    def spy(path, **keywords):
        asked.append(keywords)
        return load(path, **keywords)

    monkeypatch.setattr(torch, "load", spy)
    for is_archive in (True, False):
        save_pickled({"a": WHOLE}, tmp_path, _use_new_zipfile_serialization=is_archive)
        tensors = pickled_weights.read_tensors(tmp_path / BIN)
        assert torch.equal(tensors["a"], WHOLE)
    assert [each["mmap"] for each in asked] == [True, False]
    assert all(each["weights_only"] is True for each in asked)


class Touches:
    """Unpickling it creates a file, by no command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def archive(program, **others):
    """Return an archive like that of ``torch.save`` around a pickle made by hand."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as content:
        content.writestr("archive/data.pkl", program)
        content.writestr("archive/version", "3")
        for name, data in others.items():
            content.writestr(f"archive/{name}", data)
    return file.getvalue()


OLD = {"_use_new_zipfile_serialization": False}
MALICIOUS = {
    # how: (the file's content, what the line says)
    "a command": (lambda evil, _: save_bytes({"a": evil}), "it calls posix.system, which is never"),
    "an old file": (lambda evil, _: save_bytes({"a": evil}, **OLD), "it calls posix.system"),
    "a name": (lambda evil, _: save_bytes({evil: torch.ones(2)}), "it calls posix.system"),
    "beside tensors": (
        lambda evil, _: save_bytes({"a": torch.ones(2), "b": evil}),
        "it calls posix.system",
    ),
    "no command": (lambda _, touch: save_bytes({"a": touch}), "needs more than tensors: it calls"),
    "a bare pickle": (lambda evil, _: pickle.dumps(evil, 2), "it calls posix.system"),
    "a newer pickle": (lambda evil, _: pickle.dumps(evil, 5), "not a readable file of torch.save"),
    "an archive by hand": (lambda evil, _: archive(pickle.dumps(evil, 2)), "calls posix.system"),
    "a newer archive": (lambda evil, _: archive(pickle.dumps(evil, 4)), "not a readable file"),
    "eval": (
        lambda *_: archive(b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R."),
        "it calls eval, which",
    ),
    "a pickle within": (
        lambda evil, _: save_bytes({"a": pickle.dumps(evil)}),
        "holds a bytes under 'a', no tensor by name",
    ),
    "a pickle beside": (
        lambda evil, _: archive(
            pickle.dumps({}, 2), **{"constants.pkl": pickle.dumps(evil), "code/a.py": b"1/0"}
        ),
        "TorchScript",
    ),
}


@pytest.mark.parametrize("how", MALICIOUS)
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, in_this_process, how):
    marker = tmp_path / "ran"
    build, says = MALICIOUS[how]
    (tmp_path / BIN).write_bytes(build(RunsCommand(f"touch {marker}"), Touches(marker)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(UserError) as refusal:
            rewrite([tmp_path / BIN], tmp_path / "out")
    line = str(refusal.value)
    assert line.startswith(f"{tmp_path / BIN}: ")
    assert says in line
    assert "\n" not in line
    assert "False" not in line  # torch's own advice is to run it after all
    assert list((tmp_path / "out").iterdir()) == []
    assert not marker.exists()


def test_the_command_would_have_run(tmp_path):
    """Else these tests could not fail."""
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(RunsCommand(f"touch {marker}"), 2))
    assert marker.exists()


class Own:
    pass


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


ONE = torch.ones(2)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([ONE], "holds a list, no tensors by name"),
        (ONE, "holds a Tensor, no tensors by name"),
        ({}, "holds a dict, no tensors by name"),
        ({"state_dict": {"a": ONE}, "epoch": 1}, "holds a dict under 'state_dict', no tensor"),
        ({"a": ONE, "epoch": 1}, "holds a int under 'epoch', no tensor by name"),
        ({0: ONE}, "holds a Tensor under '0', no tensor by name"),
        ({"a": Own()}, "needs more than tensors: it calls .*Own, which is never run"),
        ({"a": ONE.numpy()}, "needs more than tensors: it calls numpy"),
        (torch.nn.Linear(2, 2), "it calls torch.nn.modules.linear.Linear, which is never run"),
        ({"a": ONE.to_sparse()}, "tensor a is torch.sparse_coo of torch.float32 on cpu, not plain"),
        ({"a": ONE.to("meta")}, "tensor a is torch.strided of torch.float32 on meta, not plain"),
        ({"a": ONE.to(torch.complex64)}, "of torch.complex64 on cpu, not plain numbers"),
        (quantised, "of torch.qint8 on cpu, not plain"),
    ],
)
def test_more_than_tensors_is_refused(tmp_path, content, says):
    content = {"a": content()} if callable(content) and content is quantised else content
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, tmp_path / BIN)
        with pytest.raises(UserError, match=says) as refusal:
            pickled_weights.read_tensors(tmp_path / BIN)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("keep", [0, 1, 3, 100, 200, 500, -100, -1])
@pytest.mark.parametrize("is_archive", [True, False])
def test_half_a_file_is_refused(tmp_path, keep, is_archive):
    content = save_bytes({"a": torch.ones(100)}, _use_new_zipfile_serialization=is_archive)
    (tmp_path / BIN).write_bytes(content[:keep])
    with pytest.raises(UserError, match=r"not a readable file of torch\.save ") as refusal:
        pickled_weights.read_tensors(tmp_path / BIN)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"\0" * 99])
def test_another_file_is_refused(tmp_path, content):
    (tmp_path / BIN).write_bytes(content)
    with pytest.raises(UserError, match=r"not a readable file of torch\.save "):
        pickled_weights.read_tensors(tmp_path / BIN)


@pytest.fixture
def source(tmp_path):
    """A folder of pickled shards."""
    tensors = state_of(build_model("llama"), tmp_path / "source")
    save_pickled(tensors, tmp_path / "source", 2)
    return tmp_path / "source"


def refuse(source):
    """Call the step; return its line, after a look that nothing is left beside the source."""
    before = tree(source.parent)
    line = call("fetch_checkpoint", settings_of(source), output=source.parent / "o/manifest.json")
    assert tree(source.parent) == before
    assert line is not None
    return line


def shard(source, number):
    return source / f"pytorch_model-{number:05d}-of-00002.bin"


def twice(source):
    torch.save(torch.load(shard(source, 1)) | torch.load(shard(source, 2)), shard(source, 2))


def without_one(source):
    tensors = torch.load(shard(source, 2))
    tensors.pop(min(tensors))
    torch.save(tensors, shard(source, 2))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda s: (s / INDEX).unlink(), f"{INDEX}, which names its shards, is missing"),
        (lambda s: shard(s, 2).unlink(), f"{INDEX}: names {'pytorch_model-00002-of-00002.bin'}"),
        (
            lambda s: (s / INDEX).write_text('{"weight_map": {"a": "../x.bin"}}'),
            "not a file beside",
        ),
        (lambda s: (s / INDEX).write_text("{}"), f"{INDEX}: has no weight_map"),
        (twice, "00002.bin: tensor "),
        (without_one, "is missing; get all its files"),
        (lambda s: shard(s, 2).write_bytes(b""), "00002-of-00002.bin: not a readable file"),
    ],
)
def test_damaged_shards_are_refused(source, in_this_process, damage, says):
    damage(source)
    line = refuse(source)
    assert str(source) in line
    assert says in line


def test_a_shard_that_runs_code_leaves_nothing_of_the_others(source):
    """In a process of its own: the first shard is written, the second refused."""
    marker = source.parent / "ran"
    torch.save({"a": RunsCommand(f"touch {marker}")}, shard(source, 2))
    assert "00002-of-00002.bin: needs more than tensors: it calls posix.system" in refuse(source)


def test_a_small_file_that_claims_to_be_huge(source):
    """A hundred terabytes of one number repeated: refused by the process' limit of memory."""
    torch.save({"a": torch.ones(1).expand(25 * 10**12)}, shard(source, 1))
    assert "the process that reads it ended with status 1 (" in refuse(source)


def stand_in(monkeypatch, folder, script):
    """Have another program run in place of the process that reads."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))


def test_a_process_that_is_killed_is_one_line(tmp_path, source, monkeypatch):
    stand_in(monkeypatch, tmp_path, 'echo half > "$4"; kill -9 $$')
    line = refuse(source)
    assert "the process that reads it ended with status -9 (no word of why; too little me" in line


def test_a_process_ends_with_its_job(tmp_path, source, monkeypatch):
    stand_in(monkeypatch, tmp_path, f'echo half > "$4"; echo $$ > {tmp_path}/number; exec cat')
    number = tmp_path / "number"

    def stop_when_it_runs():
        while not number.is_file() or not number.read_text().endswith("\n"):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_it_runs, daemon=True).start()
    with pytest.raises(SystemExit) as end:
        main(fetch_checkpoint.run, arguments(settings_of(source), output=tmp_path / "o/m.json"))
    assert end.value.code == 128 + signal.SIGTERM
    assert list((tmp_path / "o").iterdir()) == []
    psutil.wait_procs(running(int(number.read_text())), timeout=10)
    assert not running(int(number.read_text()))


def running(number):
    return [psutil.Process(number)] if psutil.pid_exists(number) else []


def test_a_process_ends_with_whoever_started_it(tmp_path):
    """However that ended: killed, it could tell nobody."""
    os.mkfifo(tmp_path / BIN)  # whoever reads it waits
    command = [sys.executable, "-m", pickled_weights.__name__, tmp_path / BIN, tmp_path / "out"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT)
    with (tmp_path / BIN).open("wb"):  # waits until it is being read
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(timeout=20) == 1
    assert not (tmp_path / "out").exists()


def test_what_is_advised_for_other_pickles_works(tmp_path, in_this_process):
    """Also where weights are tied, which safetensors' own way of saving refuses."""
    model = build_model("llama", tie_word_embeddings=True)
    source = tmp_path / "source"
    save_pickled(state_of(model, source), source)
    (source / BIN).rename(source / "model.pt")
    line = refuse(source)
    assert "model.pt is a pickle, which can run code and is refused; where it holds" in line
    assert f"call it {BIN}" in line
    (source / "model.pt").rename(source / BIN)
    check_logits(model, fetch_local(source, tmp_path / "out/manifest.json"))
