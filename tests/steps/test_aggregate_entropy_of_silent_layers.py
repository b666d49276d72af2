"""A layer without any activity by a measure: null there, and everything else as ever."""

import numpy as np
import pytest
import scipy.stats
import torch

from ke_steps import aggregate_entropy, aggregate_updates, describe_memories
from ke_steps.artefacts.learning_schemas import UPDATE_STATISTICS, UPDATES
from ke_steps.artefacts.measure_schemas import ENTROPY, MEMORIES
from ke_steps.artefacts.parquet import read_frame, read_table, write_batches
from ke_steps.measuring.updates import update_map
from ke_steps.models.feed_forward import feed_forward
from ke_steps.settings.measures import AggregateEntropy, AggregateUpdates, DescribeMemoriesJob
from tests.invented.activity import random_activity, write_coefficients
from tests.invented.extraction import EVERYTHING, extract
from tests.invented.models import NUM_LAYERS, build_checkpoint, build_model, build_sequences

OUTPUT = {
    "llama": "model.layers.{}.mlp.down_proj",
    "gpt2": "transformer.h.{}.mlp.c_proj",
    "gpt_neox": "gpt_neox.layers.{}.mlp.dense_4h_to_h",
}
NEEDS_OUTPUT = {"contribution", "attribution"}
JOB = AggregateEntropy(num_bootstrap=100, confidence=0.95, dormant_ratio=0.1, seed=0)


def model_without_output(family, layers):
    """A random model whose output projections are all zero in some layers."""
    model = build_model(family)
    for layer in layers:
        torch.nn.init.zeros_(model.get_submodule(OUTPUT[family].format(layer)).weight)
    return model


def entropies(folder, checkpoint, **asked):
    """Extract and aggregate; return ENTROPY as a frame, and the coefficients' file."""
    sequences = build_sequences(folder / "sequences.parquet")
    extract(folder, checkpoint, sequences, **asked)
    aggregate_entropy.run(
        coefficients=folder / "coefficients.parquet",
        token_entropies=folder / "token_entropies.parquet",
        sequences=sequences,
        output_entropy=folder / "entropy.parquet",
        output_replicates=folder / "replicates.parquet",
        output_activity=folder / "activity.parquet",
        output_distribution=folder / "distribution.parquet",
        settings=JOB,
    )
    return read_frame(folder / "entropy.parquet", ENTROPY)


def values_of(frame, measure, quantity="entropy_nats"):
    """Values by layer; the whole model is layer -1."""
    rows = frame[(frame["measure"] == measure) & (frame["quantity"] == quantity)]
    return dict(zip(rows["layer"].fillna(-1).astype(int), rows["value"], strict=True))


def mean_absolute_inputs(model, family, input_ids):
    """Mean |input of the output projection| by layer, in fp64, by hooks of this test's own."""
    model = model.double()
    sums = {}
    for layer in range(NUM_LAYERS):

        def keep(_, inputs, layer=layer):
            sums[layer] = inputs[0].abs().reshape(-1, inputs[0].shape[-1]).mean(dim=0)

        model.get_submodule(OUTPUT[family].format(layer)).register_forward_pre_hook(keep)
    with torch.no_grad():
        model(input_ids=torch.from_numpy(np.stack(input_ids)).long())
    return [sums[layer].numpy() for layer in range(NUM_LAYERS)]


@pytest.mark.parametrize("family", OUTPUT)
@pytest.mark.parametrize("silent", [{0}, {1}, {0, 1}])
def test_zero_output_projections_have_h_and_no_contribution(tmp_path, family, silent):
    model = model_without_output(family, silent)
    checkpoint = build_checkpoint(tmp_path / family, model=model)
    frame = entropies(tmp_path, checkpoint, **EVERYTHING)
    input_ids = read_frame(tmp_path / "sequences.parquet")["input_ids"]
    activity = mean_absolute_inputs(model, family, input_ids)
    expected = [scipy.stats.entropy(layer) for layer in activity]
    found = values_of(frame, "absolute")
    assert [found[layer] for layer in range(NUM_LAYERS)] == pytest.approx(expected, rel=1e-5)
    assert found[-1] == pytest.approx(sum(expected), rel=1e-5)
    for measure in NEEDS_OUTPUT:
        rows = frame[frame["measure"] == measure]
        is_silent = rows["layer"].isna() | rows["layer"].isin(silent)
        assert rows.loc[is_silent, ["value", "low", "high"]].isna().all(axis=None)
        assert rows.loc[~is_silent, ["value", "low", "high"]].notna().all(axis=None)
    for layer in {0, 1} - silent:
        weight = model.get_submodule(OUTPUT[family].format(layer)).weight.detach().numpy()
        norms = np.linalg.norm(weight, axis=1 if family == "gpt2" else 0)
        entropy = scipy.stats.entropy(activity[layer] * norms)
        assert values_of(frame, "contribution")[layer] == pytest.approx(entropy, rel=1e-5)
    assert frame[~frame["measure"].isin(NEEDS_OUTPUT)].drop(columns="layer").notna().all(axis=None)


def test_null_is_null_in_the_file(tmp_path):
    checkpoint = build_checkpoint(tmp_path / "m", model=model_without_output("llama", {0, 1}))
    entropies(tmp_path, checkpoint)
    column = read_table(tmp_path / "entropy.parquet", ENTROPY).column("value").to_pylist()
    assert None in column
    assert not np.isnan([value for value in column if value is not None]).any()


def dead_checkpoint(folder, layer):
    """A ReLU model one of whose layers is never active."""
    model = build_model("gpt_neox", hidden_act="relu")
    keys = model.get_submodule(f"gpt_neox.layers.{layer}.mlp.dense_h_to_4h")
    torch.nn.init.zeros_(keys.weight)
    torch.nn.init.constant_(keys.bias, -1.0)
    return build_checkpoint(folder / "dead", model=model)


def test_a_dead_layer_has_nothing_and_the_others_have_theirs(tmp_path):
    checkpoint = dead_checkpoint(tmp_path, 1)
    frame = entropies(tmp_path, checkpoint, **EVERYTHING)
    for measure in ("absolute", "positive", "contribution", "relu_gate", "attribution"):
        for quantity in ("entropy_nats", "normalized_entropy", "gini", "dormant_fraction"):
            found = values_of(frame, measure, quantity)
            assert np.isnan([found[1], found[-1]]).all()
            assert found[0] >= 0
    describe_memories.run(
        checkpoint=checkpoint,
        coefficients=tmp_path / "coefficients.parquet",
        output=tmp_path / "memories.parquet",
        settings=DescribeMemoriesJob(num_memories=2, num_tokens=3, num_threads=1),
    )
    memories = read_frame(tmp_path / "memories.parquet", MEMORIES)
    assert (memories["relative_activity"].isna() == (memories["layer"] == 1)).all()


def test_a_vector_of_zeros_promotes_no_token(tmp_path):
    checkpoint = build_checkpoint(tmp_path / "m", model=model_without_output("llama", {0}))
    entropies(tmp_path, checkpoint)
    describe_memories.run(
        checkpoint=checkpoint,
        coefficients=tmp_path / "coefficients.parquet",
        output=tmp_path / "memories.parquet",
        settings=DescribeMemoriesJob(num_memories=2, num_tokens=3, num_threads=1),
    )
    memories = read_frame(tmp_path / "memories.parquet", MEMORIES)
    expected = np.where(memories["layer"] == 0, 0, 3)
    assert memories["tokens"].map(len).tolist() == expected.tolist()
    assert memories["scores"].map(len).tolist() == expected.tolist()


def test_changes_of_vectors_that_were_zero_are_relative_to_nothing(tmp_path):
    before, after = model_without_output("llama", {0}), build_model("llama", seed=1)
    updates = tmp_path / "updates.parquet"
    write_batches(updates, update_map(feed_forward(before), feed_forward(after)), UPDATES)
    coefficients = write_coefficients(
        tmp_path / "coefficients.parquet", random_activity(NUM_LAYERS, m=64)
    )
    output = tmp_path / "statistics.parquet"
    inputs = {"updates": updates, "coefficients": coefficients, "output": output}
    aggregate_updates.run(**inputs, settings=AggregateUpdates())
    frame = read_frame(output, UPDATE_STATISTICS)
    rows = frame[(frame["vector"] == "memory") & (frame["quantity"] == "update_mean_relative")]
    assert rows["value"].isna().tolist() == [True, False, True]
    assert frame.drop(rows.index)["value"].notna().all()


def test_some_groups_without_activity_leave_a_value_and_no_interval(tmp_path):
    """One group of four is active: a resample without it has no distribution."""
    activity = random_activity(num_layers=1, num_groups=4)
    activity[0, 1:] = 0
    path = write_coefficients(tmp_path / "coefficients.parquet", activity)
    (measure, found), *_ = aggregate_entropy.group_activities(read_table(path))
    rows = [each.row(0.95) for each in aggregate_entropy.of_activity(measure, found, JOB)]
    assert rows[0]["value"] == pytest.approx(scipy.stats.entropy(activity[0, 0]))
    assert all(row["value"] is not None and row["low"] is row["high"] is None for row in rows)
