"""Two processes that share an extraction give one process's tables, to the rounding of sums."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ke_steps import extract_coefficients
from ke_steps.job.command_line import main
from ke_steps.measuring.instances import batch_places
from tests.invented.extraction import EVERYTHING, job, padded
from tests.invented.models import build_checkpoint, build_sequences
from tests.invented.project import ROOT

pytestmark = pytest.mark.slow

TORCHRUN = [str(Path(sys.executable).with_name("torchrun")), "--standalone", "--nproc-per-node=2"]
NAMES = ("coefficients.parquet", "token_entropies.parquet")
RTOL = {pa.float64(): 1e-12, pa.float32(): 2e-7}
"""Sums are fp64; what is stored as fp32 can round to its neighbour."""


def arguments(folder, checkpoint, sequences, settings):
    options = {
        "--checkpoint": checkpoint,
        "--sequences": sequences,
        "--output-coefficients": folder / NAMES[0],
        "--output-token-entropies": folder / NAMES[1],
        "--settings": settings.model_dump_json(),
        "--record": folder / "record.json",
    }
    return [str(word) for option in options.items() for word in option]


def tables(folder):
    return [pq.read_table(folder / name) for name in NAMES]


def provenance(table):
    """Return where a table came from; the code's digest may be of a tree that is being edited."""
    found = json.loads(table.schema.metadata[b"ke_steps"])
    return {key: value for key, value in found.items() if key != "code"}


def numbers(column):
    """Return the values of a column, of a list column those of its lists, without nulls."""
    flat = column.combine_chunks()
    return (flat.flatten() if pa.types.is_fixed_size_list(flat.type) else flat).drop_null()


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("olmo", EVERYTHING | {"num_attention_sequences": 8}),  # a group on both ranks
        ("mixtral", EVERYTHING | {"num_attention_sequences": 8, "batch_size_sequences": 8}),
    ],
)
def test_two_ranks_equal_one(tmp_path, family, changes):
    input_ids = padded([16, 3, 9, 16, 1, 12, 7, 5])
    inputs = (
        build_checkpoint(tmp_path / family, family),
        build_sequences(tmp_path / "ids.parquet", input_ids=input_ids),
        job(**changes),
    )
    main(extract_coefficients.run, arguments(tmp_path / "one", *inputs))
    done = subprocess.run(
        [*TORCHRUN, "-m", "ke_steps.extract_coefficients", *arguments(tmp_path / "two", *inputs)],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    one, two = tables(tmp_path / "one"), tables(tmp_path / "two")
    for of_one, of_two in zip(one, two, strict=True):
        assert of_one.schema.equals(of_two.schema)
        assert provenance(of_one) == provenance(of_two)
        for name in of_one.column_names:
            values, others = numbers(of_one.column(name)), numbers(of_two.column(name))
            if rtol := RTOL.get(values.type):
                np.testing.assert_allclose(others, values, rtol=rtol, atol=1e-15, err_msg=name)
            else:
                assert values.equals(others), name
    assert not list((tmp_path / "two").glob(".*partial"))


def test_the_cases_have_more_and_fewer_batches_than_ranks():
    assert batch_places(8, 3, 8, 8) == [range(3), range(3, 6), range(6, 8)]
    assert batch_places(8, 8, 8, 8) == [range(8)]
