"""Which branch, tag or commit a step of a model is."""

import json

import pytest

from ke_steps.hub.refs import Ref, choose_ref, nearest_refs
from ke_steps.job.errors import UserError
from tests.invented.hub_checkpoints import REPO, fetch_from_hub, refuse


@pytest.mark.parametrize(
    ("revision", "step", "message"),
    [
        (
            "step{step}-*",
            19,
            r"tiny-hf: source\.revision 'step\{step\}-\*': no branch or tag matches 'step19-\*';"
            r" nearest: step20-tokens2B, step10-tokens1B",
        ),
        ("*", 10, r"'\*' matches 3 branches and tags \(main, step10-tokens1B, step20-tokens2B\)"),
        ("step{step}", 10, r"no branch or tag matches 'step10'; nearest: step10-tokens1B, step20"),
    ],
)
def test_refs_that_do_not_fit(hub, tmp_path, revision, step, message):
    refuse(tmp_path, message, revision=revision, step=step)
    assert not hub.find("/resolve/")


REFS = [
    Ref(name, f"{index:040x}")
    for index, name in enumerate(
        ["main", "stage1-step100-tokens1B", "stage1-step1000-tokens5B", "stage2-step100-tokens9B"]
    )
]


def test_the_step_alone_decides():
    assert choose_ref(REFS, "stage1-step{step}-*", 100, where="r") == REFS[1]
    assert choose_ref(REFS, "*1-step{step}*5B", 1000, where="r") == REFS[2]
    assert choose_ref(REFS, "main", 7, where="r") == REFS[0]
    with pytest.raises(UserError, match="matches 2 branches and tags"):
        choose_ref(REFS, "*-step{step}-*", 100, where="r")


def test_one_name_of_two_commits_is_refused():
    with pytest.raises(UserError, match="'v1' is a branch and a tag of different commits"):
        choose_ref([Ref("v1", "a" * 40), Ref("v1", "b" * 40)], "v1", 1, where="r")


@pytest.mark.parametrize(
    ("names", "step", "expected"),
    [
        (["step5-tokens400B", "step300-tokens9B"], 390, ["step300-tokens9B", "step5-tokens400B"]),
        (["v1.0", "v12", "main"], 11, ["v12", "v1.0"]),
        (["step3", "step1", "step9", "step4"], 2, ["step1", "step3", "step4"]),
        (["main"], 5, []),
    ],
)
def test_nearest_refs(names, step, expected):
    assert nearest_refs(names, "main", step) == expected


def test_a_tag_and_a_commit_are_found_too(hub, tmp_path):
    files = hub.repos[REPO].pop("step20-tokens2B")
    hub.repos[REPO]["refs/tags/v20"] = files
    manifest = fetch_from_hub(tmp_path / "out" / "manifest.json", step=20, revision="v{step}")
    commit = hub.commit(REPO, "refs/tags/v20")
    source = json.loads(manifest.read_text())["source"]
    assert (source["revision"], source["commit"]) == ("v20", commit)
    again = fetch_from_hub(tmp_path / "again" / "manifest.json", step=20, revision=commit)
    assert json.loads(again.read_text())["source"]["commit"] == commit
