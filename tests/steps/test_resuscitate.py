"""Algorithm 1 as factors on rows."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ke_steps import resuscitate
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.text_schemas import PROBES
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import Resuscitate
from tests.invented.activity import random_activity, write_coefficients


def job(quantile=0.5, boost=2.0, max_multiplier=None, rows="up"):
    return Resuscitate(quantile=quantile, boost=boost, max_multiplier=max_multiplier, rows=rows)


@pytest.mark.parametrize("quantile", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("boost", [0.5, 2.0])
def test_equals_the_algorithm_memory_by_memory(quantile, boost):
    activity = random_activity()[0, 0]
    threshold = float(torch.quantile(torch.from_numpy(activity), quantile))
    found = resuscitate.row_multipliers(activity, job(quantile, boost))
    for multiplier, c in zip(found, activity, strict=True):
        assert multiplier == (pytest.approx(boost * activity.mean() / c) if c <= threshold else 1)


def test_woken_memories_reach_q_times_the_mean():
    activity = random_activity()[0, 0]
    woken = activity <= np.quantile(activity, 0.5)
    found = resuscitate.row_multipliers(activity, job()) * activity
    np.testing.assert_allclose(found[woken], 2 * activity.mean())
    np.testing.assert_array_equal(found[~woken], activity[~woken])


def test_the_threshold_itself_is_woken():
    found = resuscitate.row_multipliers(np.array([1.0, 2.0, 3.0]), job(quantile=0.5, boost=1.0))
    np.testing.assert_allclose(found, [2.0, 1.0, 1.0])
    found = resuscitate.row_multipliers(np.array([1.0, 2.0, 6.0]), job(quantile=0.5, boost=1.0))
    np.testing.assert_allclose(found, [3.0, 1.5, 1.0])


def test_cap():
    activity = np.array([0.001, 0.5, 1.0, 4.0])
    found = resuscitate.row_multipliers(activity, job(boost=1.0, max_multiplier=8.0))
    np.testing.assert_allclose(found, [8.0, activity.mean() / 0.5, 1.0, 1.0])


def test_dead_memories_need_a_cap():
    activity = np.array([0.0, 0.0, 1.0, 4.0])
    with pytest.raises(UserError, match="max_multiplier: is null, but 2 memories"):
        resuscitate.row_multipliers(activity, job())
    found = resuscitate.row_multipliers(activity, job(max_multiplier=8.0))
    np.testing.assert_allclose(found, [8.0, 8.0, 1.0, 1.0])


@pytest.mark.parametrize(("rows", "name"), [("up", "up_rows"), ("key", "key_rows")])
def test_writes_one_tensor(tmp_path, rows, name):
    group_activity = random_activity(num_layers=3, m=50)
    path = write_coefficients(tmp_path / "coefficients.parquet", group_activity)
    written = []
    for attempt in ("a", "b"):
        output = tmp_path / f"{attempt}.safetensors"
        resuscitate.run(coefficients=path, output=output, settings=job(rows=rows))
        written.append(output)
    tensors = load_file(written[0])
    assert list(tensors) == [name]
    assert tensors[name].dtype == np.float32
    expected = [resuscitate.row_multipliers(a.mean(axis=0), job()) for a in group_activity]
    np.testing.assert_allclose(tensors[name], np.stack(expected), rtol=1e-6)
    assert written[0].read_bytes() == written[1].read_bytes()


def test_a_foreign_table_is_refused(tmp_path):
    path = tmp_path / "foreign.parquet"
    write_table(path, [], PROBES)
    with pytest.raises(UserError, match="not a table of coefficients"):
        resuscitate.run(coefficients=path, output=tmp_path / "x.safetensors", settings=job())
