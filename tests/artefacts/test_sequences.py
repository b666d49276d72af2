"""Reading packed sequences: what was written, and one line for any other table."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ke_steps.artefacts.sequences import read_sequences
from ke_steps.job.errors import UserError
from tests.invented.models import VOCAB_SIZE, build_sequences, random_sequences


def test_what_was_written_is_read(tmp_path):
    input_ids = random_sequences(5, 7)
    path = build_sequences(tmp_path / "a.parquet", input_ids=input_ids)
    np.testing.assert_array_equal(read_sequences(path, vocab_size=VOCAB_SIZE), input_ids)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({}),
        pa.table({"input_ids": [[1, 2], [3]]}),
        pa.table({"input_ids": pa.array([[1, 2]], pa.list_(pa.int64(), 2))}),
        pa.table({"other": pa.array([[1, 2]], pa.list_(pa.int32(), 2))}),
        pa.table({"input_ids": pa.array([[1]], pa.list_(pa.int32(), 1)), "more": [1]}),
        pa.Table.from_pandas(pd.DataFrame({"text": ["a"]})),
    ],
)
def test_other_tables_are_refused(tmp_path, table):
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    with pytest.raises(UserError, match=r"a\.parquet: not a table of packed sequences"):
        read_sequences(path, vocab_size=VOCAB_SIZE)


def test_no_sequence_and_foreign_ids_are_refused(tmp_path):
    empty = build_sequences(tmp_path / "empty.parquet", input_ids=np.zeros((0, 4), dtype=np.int32))
    with pytest.raises(UserError, match="holds no sequence"):
        read_sequences(empty, vocab_size=VOCAB_SIZE)
    path = build_sequences(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="is outside the model's vocabulary of 10"):
        read_sequences(path, vocab_size=10)
