"""Tables are whole or absent, and say where they came from."""

import json

import pandas as pd
import pyarrow.parquet as pq
import pytest

from ke_steps import _provenance, _schemas, _tables
from ke_steps._errors import UserError
from ke_steps._job_files import hash_file, replacing

ROWS = [
    {"passage_id": 0, "condition": "once", "text_index": 0, "text": "a"},
    {"passage_id": 1, "condition": "once", "text_index": 0, "text": "b"},
]


def test_rows_columns_and_frames_give_the_same_bytes(tmp_path):
    paths = [tmp_path / name for name in ("rows", "columns", "frame")]
    frame = pd.DataFrame(ROWS)
    _tables.write_table(paths[0], ROWS, _schemas.PASSAGES)
    _tables.write_table(paths[1], frame.to_dict("list"), _schemas.PASSAGES)
    _tables.write_table(paths[2], frame, _schemas.PASSAGES)
    assert len({path.read_bytes() for path in paths}) == 1
    assert _tables.read_table(paths[0], _schemas.PASSAGES).to_pylist() == ROWS


def test_provenance_is_in_the_metadata(tmp_path):
    (tmp_path / "input").write_text("x")
    with _provenance.recording("_tables", {"p": 0.5}, {"input": tmp_path / "input"}):
        _tables.write_table(tmp_path / "t", ROWS, _schemas.PASSAGES)
    stamp = json.loads(pq.read_schema(tmp_path / "t").metadata[b"ke_steps"])
    assert stamp["settings"] == {"p": 0.5}
    assert stamp["inputs"] == {"input": hash_file(tmp_path / "input")}
    assert stamp["code"] == _provenance.code_digest("_tables")
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
        _tables.read_table(tmp_path / "t")


def test_a_foreign_table_is_refused(tmp_path):
    _tables.write_table(tmp_path / "t", ROWS, _schemas.PASSAGES)
    with pytest.raises(UserError, match="expected"):
        _tables.read_table(tmp_path / "t", _schemas.PROBES)
