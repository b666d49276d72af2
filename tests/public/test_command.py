"""What the command prints, for a folder and for branches of the hub."""

import io
import json
import os
import re
import subprocess
import sys

import pandas as pd
import pytest
import torch

from ke_steps import measure
from ke_steps.measuring.moments import GroupMeans
from ke_steps.public.command import OPTIONS, main
from tests.invented.gguf import write_gguf
from tests.invented.hub_checkpoints import REPO, build_files
from tests.invented.hub_client import point_client_at
from tests.invented.hub_server import HubServer
from tests.invented.measured import TEXTS, build_folder, write_text
from tests.invented.models import build_model
from tests.invented.project import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_folder(tmp_path_factory.mktemp("models") / "olmo")


@pytest.fixture
def text(tmp_path):
    return write_text(tmp_path / "a text.txt")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Serve two branches with other weights."""
    refs = ("step10-tokens1B", "step20-tokens2B")
    branches = {ref: build_files(tmp_path / ref, seed=seed) for seed, ref in enumerate(refs)}
    with HubServer({REPO: branches | {"main": branches[refs[0]]}}) as server:
        point_client_at(server, tmp_path / "cache", monkeypatch)
        yield tmp_path


def test_the_command_prints_what_the_call_returns(folder, text):
    command = [sys.executable, "-m", "ke_steps.measure", str(folder), "--text", str(text)]
    done = subprocess.run(
        [*command, "--json", "--num-sequences", "16"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    called = measure(str(folder), str(text), num_sequences=16).to_json()
    assert json.loads(done.stdout) == json.loads(json.dumps(called))
    assert "coefficients: 100%" in done.stderr
    extraction = called["provenance"]["extract_coefficients"]
    assert extraction["settings"]["num_sequences"] == 16
    assert set(extraction["inputs"]) == {"checkpoint", "sequences"}
    assert "torch" in extraction["versions"]
    assert "model.safetensors" in called["provenance"]["fetch_checkpoint"]["files"]
    assert f"sha256 of {text}" in called["provenance"]["prepare_corpus"]


def test_one_checkpoint_is_a_table_by_layer_and_in_all(folder, text, capsys):
    main([str(folder), "--text", str(text)])
    first, blank, *table = capsys.readouterr().out.splitlines()
    measured = measure(folder, text)
    assert first == (
        f"{folder}: {measured.num_sequences} sequences of 64 tokens,"
        f" {measured.num_tokens:,} in all; fp32 on cpu"
    )
    assert blank == ""
    assert [line.split()[0] for line in table] == ["layer", "0", "1", "all"]
    assert f"{measured.total['entropy_nats']:.4f}" in table[-1]


def test_several_revisions_give_a_row_each(hub, text, capsys):
    arguments = [REPO, "--revision", "step{step}-*", "--step", "10", "20", "--text", str(text)]
    main(arguments)
    table = capsys.readouterr().out.splitlines()[-3:]
    names = [f"{REPO}@step10-tokens1B", f"{REPO}@step20-tokens2B"]
    assert [line.split()[0] for line in table] == ["model", *names]
    main([*arguments, "--csv"])
    rows = pd.read_csv(io.StringIO(capsys.readouterr().out), float_precision="round_trip")
    assert list(rows["model"].unique()) == names
    assert list(rows["layer"].fillna(-1)) == [0, 1, 0, 1, -1, -1]
    main([*arguments, "--json"])
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["model"] for each in objects] == names
    totals = rows[rows["layer"].isna()]["entropy_nats"]
    assert list(totals) == [each["total"]["entropy_nats"] for each in objects]
    assert totals.nunique() == 2


def test_a_source_of_text_is_given_as_json(folder, text, capsys):
    main([str(folder), "--text", json.dumps({"kind": "text", "paths": [str(text)]}), "--json"])
    from_source = json.loads(capsys.readouterr().out)
    main([str(folder), "--text", str(text), "--json"])
    assert json.loads(capsys.readouterr().out) == from_source


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_too_little_memory_is_said_with_options_that_there_are(folder, text, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(GroupMeans, "add", fail)
    with pytest.raises(SystemExit) as end:
        main([str(folder), "--text", str(text)])
    assert " memory: lower --batch-size-sequences or" in str(end.value)
    for option in re.findall(r"--[a-z-]+", str(end.value)):
        assert option in OPTIONS


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere", "--text", "a.txt"], "measure: MODEL: 'nowhere' is no folder that is there"),
        (["{folder}", "--text", "{{"], "measure: --text: not JSON ("),
        (["{folder}", "--text", "{{}}", "a.txt"], "measure: --text: a source stands alone"),
        (["{folder}", "--text", "{{}}"], "measure: --text: "),
        (["{folder}", "--text", "a.md"], "measure: --text.paths.0: unknown kind of text file"),
        (["{folder}", "--text", "{short}"], "measure: --text: 3 tokens, fewer than two"),
        (
            ["{folder}", "--text", "{short}", "--sequence-length-tokens", "65"],
            "measure: --sequence-length-tokens: 65 exceeds the 64 positions",
        ),
        (
            ["{folder}", "--text", "{short}", "--num-sequences", "0"],
            "measure: --num-sequences: Input should be greater",
        ),
        (["{folder}", "--text", "a.txt"], "measure: a.txt: no such file"),
        (
            ["{folder}", "--text", "a.txt", "--step", "1", "2"],
            "measure: --step: needs {{step}} in M",
        ),
        (
            ["{folder}", "--text", "a.txt", "--revision", "v2"],
            "measure: --revision: {folder} has none",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, tmp_path, arguments, says):
    short = write_text(tmp_path / "short.txt", ["the"])
    with pytest.raises(SystemExit) as end:
        main([word.format(folder=folder, short=short) for word in arguments])
    assert str(end.value).startswith(says.format(folder=folder))
    assert "\n" not in str(end.value)
    assert "list of str" not in str(end.value)


def test_remedies_are_options_of_the_command(tmp_path):
    """What the refusals ask for is then taken."""
    changes = {"tie_word_embeddings": True, "max_position_embeddings": 256}
    folder = build_folder(tmp_path / "llama", "llama", **changes)
    gguf = str(write_gguf(tmp_path / "llama.gguf", build_model("llama", **changes), folder))
    short = str(write_text(tmp_path / "short.txt", TEXTS[:8]))
    arguments = [gguf, "--text", short]
    for option in (r"(--tied-head)\b(?!:)", r"or (--sequence-length-tokens \d+)$"):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        arguments += re.search(option, str(end.value))[1].split()
    main(arguments)
