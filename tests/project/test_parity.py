"""Equal to what the public reference implementation computed (shared parity data, see its README).

Relative errors are |found - expected| / |expected|, elementwise; all must stay below 1e-5.
"""

from functools import partial

import numpy as np
import pytest
import torch
from transformers import OlmoConfig, OlmoForCausalLM

from ke_steps import aggregate_entropy, extract_coefficients
from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.parquet import read_frame, read_table
from ke_steps.formulas.multipliers import waking_multipliers
from ke_steps.models.loading import load_model
from ke_steps.settings.measures import AggregateEntropy, ExtractCoefficientsJob
from tests.invented.models import build_checkpoint, build_sequences

TOLERANCE = 1e-5


def relative_error(found, expected):
    return float(np.max(np.abs(found - expected) / np.abs(expected)))


@pytest.fixture(scope="module")
def reference(shared_data):
    with np.load(shared_data / "parity" / "reference_seed7.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def parity_checkpoint(tmp_path_factory, reference):
    """Rebuild the reference's synthetic OLMo as its README describes it."""
    config = OlmoConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        pad_token_id=1,
        eos_token_id=2,
    )
    model = OlmoForCausalLM(config).eval()
    weights = dict(model.named_parameters())
    names = sorted(n for n in weights if n.endswith(".weight") and "lm_head" not in n)
    for index, name in enumerate(names):
        shape = tuple(weights[name].shape)
        rng = np.random.default_rng([7, index])
        w = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.15)
        rows = rng.standard_normal(shape[0], dtype=np.float32) * np.float32(0.7)
        rows = np.exp(rows).astype(np.float32)
        if "mlp.up_proj" in name or "mlp.gate_proj" in name:
            w = w * rows[:, None]
        if "mlp.down_proj" in name:
            w = w * np.float32(0.02)
        weights[name].data = torch.from_numpy(w)
    directory = tmp_path_factory.mktemp("parity") / "olmo"
    return build_checkpoint(directory, model=model)


@pytest.fixture(scope="module")
def extract(tmp_path_factory, parity_checkpoint, reference):
    """Return a function: name of the input ids, padding -> path of the coefficients, made once."""
    made = {}

    def run(name, padding):
        if (name, padding) not in made:
            directory = tmp_path_factory.mktemp("coefficients")
            ids = reference[name].astype(np.int32)
            output = directory / "coefficients.parquet"
            settings = ExtractCoefficientsJob(
                corpus="parity",
                num_sequences=12,
                batch_size_sequences=4,
                precision="fp32",
                padding=padding,
                active_threshold=0.1,
                num_groups=3,
                num_threads=1,
            )
            extract_coefficients.run(
                checkpoint=parity_checkpoint,
                sequences=build_sequences(directory / "ids.parquet", input_ids=ids),
                intervention=None,
                output_coefficients=output,
                output_token_entropies=directory / "token_entropies.parquet",
                settings=settings,
            )
            made[name, padding] = output
        return made[name, padding]

    yield run
    torch.use_deterministic_algorithms(False)


def mean_absolute(path):
    return read_frame(path)["mean_absolute"].to_numpy().reshape(16, 8192)


def layer_entropy(path):
    settings = AggregateEntropy(num_bootstrap=100, confidence=0.95, dormant_ratio=0.1, seed=0)
    measure, activity = next(aggregate_entropy.group_activities(read_table(path)))
    assert measure == "absolute"
    found = aggregate_entropy.of_activity(measure, activity, settings)
    rows = [each.row(settings.confidence) for each in found]
    return np.array(
        [
            row["value"]
            for row in rows
            if row["quantity"] == "entropy_nats" and row["layer"] is not None
        ]
    )


def test_logits(parity_checkpoint, reference):
    """The model was rebuilt right; logits near zero are compared on the scale of their spread."""
    model = load_model(parity_checkpoint, device=torch.device("cpu"))
    with torch.inference_mode():
        found = model(torch.from_numpy(reference["input_ids"][:2]).long()).logits.numpy()
    expected = reference["logits_first_two"]
    error = float(np.max(np.abs(found - expected)) / expected.std())
    print(f"logits, error over their standard deviation: {error:.2e}")
    assert error <= TOLERANCE


def test_mean_absolute_coefficient(extract, reference):
    found = mean_absolute(extract("input_ids", "exclude"))
    error = relative_error(found, reference["mean_abs_coefficient"])
    print(f"mean_abs_coefficient: {error:.2e}")
    assert error <= TOLERANCE


def test_layer_entropy(extract, reference):
    found = layer_entropy(extract("input_ids", "exclude"))
    error = relative_error(found, reference["layer_entropy"])
    print(f"layer_entropy: {error:.2e}")
    assert error <= TOLERANCE


def test_reference_padding(extract, reference):
    path = extract("input_ids_padded", "reference")
    expected = reference["padded_sum_abs_coefficient_over_instances"]
    error = relative_error(mean_absolute(path), expected)
    print(f"padded_sum_abs_coefficient_over_instances: {error:.2e}")
    assert error <= TOLERANCE
    found = layer_entropy(path)
    error = relative_error(found, reference["padded_layer_entropy"])
    print(f"padded_layer_entropy: {error:.2e}")
    assert error <= TOLERANCE


def test_excluded_padding_differs_from_the_reference(extract, reference):
    """Otherwise the two modes would not be told apart by these data."""
    found = mean_absolute(extract("input_ids_padded", "exclude"))
    assert (
        relative_error(found * 64, mean_absolute(extract("input_ids_padded", "reference"))) > 0.01
    )


def test_row_scales(extract, reference):
    activity = read_activity(extract("input_ids", "exclude"))
    names = [name for name in reference if name.startswith("row_scale_")]
    assert names
    for name in names:
        quantile, boost = (float(part[1:]) for part in name.split("_")[2:])
        wake = partial(waking_multipliers, quantile=quantile, boost=boost, max_multiplier=None)
        found = np.stack([wake(layer) for layer in activity])
        error = relative_error(found, reference[name])
        print(f"{name}: {error:.2e}")
        assert error <= TOLERANCE
