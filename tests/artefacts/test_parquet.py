"""Tables are whole or absent, and say where they came from."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from ke_steps.artefacts.parquet import read_table, write_table
from ke_steps.artefacts.text_schemas import PASSAGES, PROBES
from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file, replacing

ROWS = [
    {"passage_id": 0, "condition": "once", "text_index": 0, "text": "a"},
    {"passage_id": 1, "condition": "once", "text_index": 0, "text": "b"},
]


def test_rows_columns_and_frames_give_the_same_bytes(tmp_path):
    paths = [tmp_path / name for name in ("rows", "columns", "frame")]
    frame = pd.DataFrame(ROWS)
    write_table(paths[0], ROWS, PASSAGES)
    write_table(paths[1], frame.to_dict("list"), PASSAGES)
    write_table(paths[2], frame, PASSAGES)
    assert len({path.read_bytes() for path in paths}) == 1
    assert read_table(paths[0], PASSAGES).to_pylist() == ROWS


def test_provenance_is_in_the_metadata(tmp_path):
    (tmp_path / "input").write_text("x")
    with provenance.recording("train_tokenizer", {"p": 0.5}, {"input": tmp_path / "input"}):
        write_table(tmp_path / "t", ROWS, PASSAGES)
    stamp = json.loads(pq.read_schema(tmp_path / "t").metadata[b"ke_steps"])
    assert stamp["settings"] == {"p": 0.5}
    assert stamp["inputs"] == {"input": hash_file(tmp_path / "input")}
    assert stamp["code"] == provenance.code_digest("train_tokenizer")
    assert stamp["versions"]["torch"].startswith("2.13.0")


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "t"
    path.write_text("old")

    def fail():
        with replacing(path) as beside:
            beside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"PAR1 garbage PAR1", b"text"])
def test_a_damaged_table_is_refused(tmp_path, content):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read_table(tmp_path / "t")


def test_a_foreign_table_is_refused(tmp_path):
    write_table(tmp_path / "t", ROWS, PASSAGES)
    with pytest.raises(UserError, match="expected"):
        read_table(tmp_path / "t", PROBES)
