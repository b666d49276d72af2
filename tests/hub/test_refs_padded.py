"""Steps with leading zeros in the names of branches and folders, and names that two refs share."""

import json

import huggingface_hub
import pytest
from pydantic import ValidationError

from ke_steps.checkpoints.weight_files import choose_weights
from ke_steps.hub.refs import Ref, choose_ref, nearest_refs
from ke_steps.hub.snapshots import fetch_snapshot
from ke_steps.job.errors import UserError
from ke_steps.planning.model_sizes import find_size
from ke_steps.settings.checkpoints import Model
from ke_steps.study.local_files import unusable_models
from ke_steps.study.reading import read_study
from tests.invented.configs import WHOLE
from tests.invented.fetching import fetch_local
from tests.invented.gguf import write_gguf
from tests.invented.hub_client import point_client_at
from tests.invented.hub_server import TAG, HubServer
from tests.invented.models import build_model, build_tokenizer

REPO = "o/suite"


def refs(*names):
    return [Ref(name, f"{number:040x}") for number, name in enumerate(names)]


SUITE = refs("main", "ckpt_010", "ckpt_110", "ckpt_1000", "ckpt_010-old")
STEPS = refs("step000010-tokens2B", "step000100-tokens3B", "step100000-tokens9B")


@pytest.mark.parametrize(
    ("found", "revision", "step", "name"),
    [
        (SUITE, "ckpt_{step:03d}", 10, "ckpt_010"),
        (SUITE, "ckpt_{step:03}", 110, "ckpt_110"),
        (SUITE, "ckpt_{step:03d}", 1000, "ckpt_1000"),
        (SUITE, "ckpt_{step:d}", 110, "ckpt_110"),
        (SUITE, "*_{step:03d}", 10, "ckpt_010"),
        (SUITE, "ckpt_{step:03d}-*", 10, "ckpt_010-old"),
        (STEPS, "step{step:06d}-*", 10, "step000010-tokens2B"),
        (STEPS, "step{step:06d}*", 100_000, "step100000-tokens9B"),
        (refs("at{3}_07"), "at{{3}}_{step:02d}", 7, "at{3}_07"),
    ],
)
def test_the_step_is_formatted_as_the_pattern_says(found, revision, step, name):
    assert choose_ref(found, revision, step, where="r").name == name


@pytest.mark.parametrize(
    ("name", "revision"),
    [("step100-x", "step{step}*"), ("ckpt_010", "*{step}"), ("step0100", "step*{step}*")],
)
def test_a_star_beside_the_step_takes_no_digit(name, revision):
    with pytest.raises(UserError, match="no branch or tag matches"):
        choose_ref(refs(name), revision, 10, where="r")


def test_a_star_tells_steps_of_one_beginning_apart():
    found = refs("step10-a", "step100-b", "step1000-c")
    assert choose_ref(found, "step{step}*", 100, where="r").name == "step100-b"


def test_what_does_not_match_names_the_nearest_and_the_zeros():
    with pytest.raises(UserError) as refusal:
        choose_ref(SUITE, "ckpt_{step}", 10, where="r")
    assert str(refusal.value) == (
        "r: source.revision 'ckpt_{step}': no branch or tag matches 'ckpt_10'; nearest: ckpt_010,"
        " ckpt_110, ckpt_1000; a step with leading zeros is {step:03d}"
    )
    with pytest.raises(UserError) as refusal:
        choose_ref(SUITE, "ckpt_{step:03d}", 100, where="r")
    assert str(refusal.value).endswith("'ckpt_100'; nearest: ckpt_110, ckpt_010, ckpt_1000")


@pytest.mark.parametrize(
    ("names", "revision", "step", "expected"),
    [
        # where the pattern has the step, not in the number of tokens or of the stage
        (["run3_ck010_9b", "run3_ck080_2b"], "run3_ck{step:03d}_*", 9, ["run3_ck010_9b"]),
        (["2024-0500", "2024-0700"], "2024-{step:04d}", 650, ["2024-0700"]),
        (["a10-5", "a5-900"], "*-{step}", 10, ["a10-5"]),
    ],
)
def test_the_pattern_says_where_the_step_of_a_name_is(names, revision, step, expected):
    assert nearest_refs(names, revision, step)[:1] == expected


def source(kind, place):
    key = "revision" if kind == "hub" else "path"
    return {"kind": kind, key: place} | ({"repo": REPO} if kind == "hub" else {})


@pytest.mark.parametrize("kind", ["hub", "directory", "gguf"])
@pytest.mark.parametrize(
    "place",
    [
        "ckpt_{step:,}",
        "ckpt_{step:3d}",
        "ckpt_{step:<3}",
        "ckpt_{step:x}",
        "ckpt_{step:.1f}",
        "ckpt_{step:03d",
        "ckpt_step}",
        "ckpt_{}",
        "ckpt_{steps}",
        "ckpt_{step.real}",
        "ckpt_{step!r}",
        "ckpt_{step:{step}}",
    ],
)
def test_other_braces_are_refused_with_the_settings(kind, place):
    with pytest.raises(ValidationError) as refusal:
        Model.model_validate({"source": source(kind, place), "steps": [1]})
    (error,) = refusal.value.errors()
    assert error["loc"] == ("source", kind, "revision" if kind == "hub" else "path")
    assert "in braces stands the step alone: {step}, or {step:03d}" in error["msg"]
    assert error["msg"].endswith(f"got {place!r}")
    assert "\n" not in error["msg"]


@pytest.mark.parametrize("kind", ["hub", "directory", "gguf"])
def test_a_padded_step_tells_steps_apart_and_doubled_braces_do_not(kind):
    for place in ("ckpt_{step:03d}", "ckpt_{step}"):
        Model.model_validate({"source": source(kind, place), "steps": [1, 2]})
    with pytest.raises(ValidationError, match=r"needs '\{step\}' to tell 2 steps apart"):
        Model.model_validate({"source": source(kind, "ckpt_{{step}}"), "steps": [1, 2]})


def study_of(kind, place, tmp_path):
    """Return the whole study with one model, of step 10."""
    model = Model.model_validate({"source": source(kind, place), "steps": [10]})
    changes = {"models": {"padded": model}, "results_dir": str(tmp_path / "results")}
    return read_study(WHOLE).model_copy(update=changes)


def test_a_padded_folder_is_found_by_the_study_the_plan_and_the_job(tmp_path):
    place = str(tmp_path / "ckpt_{step:03d}")
    folder = tmp_path / "ckpt_010"
    build_model("llama", max_position_embeddings=128).save_pretrained(folder)
    build_tokenizer(folder)
    study = study_of("directory", place, tmp_path)
    assert list(unusable_models(study)) == []
    assert find_size(study, "padded").place == str(folder / "config.json")
    manifest = fetch_local(place, tmp_path / "out/manifest.json", step=10)
    assert json.loads(manifest.read_text())["source"]["path"] == str(folder)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_padded_gguf_file_is_found_with_all_of_its_parts(tmp_path, parts):
    model = build_model("llama", max_position_embeddings=128)
    tokenizer = build_tokenizer(tmp_path / "tokenizer")
    path = write_gguf(tmp_path / "ckpt_010.gguf", model, tokenizer, parts=parts)
    place = str(path).replace("010", "{step:03d}")
    study = study_of("gguf", place, tmp_path)
    assert list(unusable_models(study)) == []
    assert find_size(study, "padded").place == str(path)
    manifest = fetch_local(place, tmp_path / "out/manifest.json", "gguf", step=10)
    assert json.loads(manifest.read_text())["source"]["path"] == str(path)


def files(content):
    return {"model.safetensors": content, "config.json": b"{}", "tokenizer.json": b"{}"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A repository with padded branches; ``v2`` is a branch and a tag, ``v3`` of two commits."""
    repo = {
        "main": files(b"main"),
        "ckpt_010": files(b"ten"),
        "ckpt_110": files(b"hundred and ten"),
        "v2": files(b"two"),
        f"{TAG}v2": files(b"two"),
        "v3": files(b"branch three"),
        f"{TAG}v3": files(b"tag three"),
    }
    with HubServer({REPO: repo}) as server:
        point_client_at(server, tmp_path / "cache", monkeypatch)
        yield server


def weights_of(revision, step):
    snapshot = fetch_snapshot(REPO, revision, step, choose=choose_weights)
    return snapshot.ref.name, (snapshot.directory / "model.safetensors").read_bytes()


def test_padded_branches_come_from_the_hub(hub):
    assert weights_of("ckpt_{step:03d}", 10) == ("ckpt_010", b"ten")
    assert weights_of("ckpt_{step:03d}", 110) == ("ckpt_110", b"hundred and ten")


def test_a_branch_and_a_tag_of_one_commit_are_one(hub, monkeypatch):
    assert hub.commit(REPO, "v2") == hub.commit(REPO, f"{TAG}v2")
    assert weights_of("v{step}", 2) == ("v2", b"two")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert weights_of("v{step}", 2) == ("v2", b"two")


def test_a_branch_and_a_tag_of_two_commits_are_told_apart_by_a_prefix(hub, monkeypatch):
    with pytest.raises(UserError) as refusal:
        weights_of("v{step}", 3)
    assert str(refusal.value) == (
        "o/suite: source.revision 'v{step}': 'v3' is a branch and a tag of different commits; say"
        " which: 'heads/v3' or 'tags/v3'"
    )
    for _ in range(2):
        assert weights_of("heads/v{step}", 3) == ("heads/v3", b"branch three")
        assert weights_of("tags/v{step}", 3) == ("tags/v3", b"tag three")
        assert weights_of("tags/*{step}", 2) == ("tags/v2", b"two")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_a_prefix_that_nothing_has_names_the_nearest(hub):
    with pytest.raises(UserError, match=r"matches 'tags/ckpt_010'; nearest: .*tags/v"):
        weights_of("tags/ckpt_{step:03d}", 10)


def test_a_branch_may_be_called_like_a_prefix(hub):
    hub.repos[REPO]["tags/v9"] = files(b"nine")
    assert weights_of("tags/v{step}", 9) == ("tags/v9", b"nine")
