"""The table of checkpoints: where they are from, and which hold the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CHECKPOINTS
from ke_steps.job.files import write_json
from ke_steps.summary.checkpoints import checkpoints_of, weights_sha256
from tests.invented.study import SyntheticStudy


def test_the_hash_of_weights_is_over_names_shapes_and_values() -> None:
    tensor = {"dtype": "F32", "shape": [2, 3], "sha256": "00"}
    other = {"dtype": "F32", "shape": [2, 3], "sha256": "01"}
    first = weights_sha256({"a": tensor, "b": other})
    assert first == weights_sha256({"b": other, "a": tensor})
    assert first == weights_sha256({"a": tensor | {"dtype": "BF16"}, "b": other})
    changes = [
        {"a": other, "b": tensor},
        {"a": tensor, "c": other},
        {"a": tensor | {"shape": [3, 2]}, "b": other},
        {"a": tensor},
    ]
    assert len({first, *map(weights_sha256, changes)}) == 1 + len(changes)


def test_steps_with_equal_weights_name_the_first_other(tmp_path: Path) -> None:
    study = SyntheticStudy(
        tmp_path,
        models=("a", "b"),
        variants={},
        same_weights={400: 100, 800: 100},
        is_plain=True,
    )
    table = read_frame(study.build()["checkpoints"], CHECKPOINTS)
    for model, found in table.groupby("model"):
        same = dict(zip(found["step"], found["same_weights_as"].fillna(-1), strict=True))
        assert same == {0: -1, 100: 400, 400: 100, 800: 100, 1200: -1, 2000: -1}
        assert set(found["same_weights_model"].dropna()) == {model}


def write_manifest(folder: Path, model: str, step: int, value: str, **changes: Any) -> Path:
    manifest = folder / model / f"step{step}" / "manifest.json"
    content = {
        "architecture": "OlmoForCausalLM",
        "num_layers": 2,
        "num_memories": 8,
        "num_parameters": 10,
        "source": {"kind": "nursery"},
        "tensors": {"w": {"dtype": "F32", "shape": [2], "sha256": value}},
    }
    write_json(manifest, content | changes)
    return manifest


def test_equal_weights_of_another_model_are_named_where_the_own_has_none(tmp_path: Path) -> None:
    values = {("a", 1): "0", ("a", 2): "1", ("b", 1): "0", ("b", 3): "0", ("c", 1): "2"}
    table = checkpoints_of(write_manifest(tmp_path, *key, value) for key, value in values.items())
    names = zip(
        table["same_weights_model"].fillna("-"), table["same_weights_as"].fillna(-1), strict=True
    )
    assert list(names) == [("b", 1), ("-", -1), ("b", 3), ("b", 1), ("-", -1)]


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ({"kind": "hub", "repo": "a/b", "revision": "s", "commit": "c0ffee"}, "a/b@c0ffee"),
        ({"kind": "gguf", "path": "/m.gguf"}, "/m.gguf"),
        ({"kind": "nursery"}, ""),
    ],
)
def test_a_checkpoint_says_where_it_is_from(
    tmp_path: Path, source: dict[str, str], place: str
) -> None:
    manifest = write_manifest(tmp_path, "m", 7, "0", source=source)
    (row,) = checkpoints_of([manifest]).to_dict("records")
    assert (row["model"], row["step"], row["source"]) == ("m", 7, source["kind"])
    assert row["place"] == place
