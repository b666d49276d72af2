"""Extractions from random models, texts of several lengths for them, and how large they grow."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ke_steps import extract_coefficients
from ke_steps.artefacts.measure_schemas import coefficients_schema
from ke_steps.artefacts.parquet import read_frame
from ke_steps.settings.measures import ExtractCoefficientsJob
from tests.invented.models import PAD_ID, random_sequences

THRESHOLD = 0.05


def job(**overrides):
    keywords = {
        "corpus": "random",
        "num_sequences": 8,
        "batch_size_sequences": 3,
        "precision": "fp32",
        "active_threshold": THRESHOLD,
        "num_groups": 4,
        "num_threads": 1,
    }
    return ExtractCoefficientsJob(**(keywords | overrides))


def extract(tmp_path, checkpoint, sequences, intervention=None, **overrides):
    output = tmp_path / "coefficients.parquet"
    extract_coefficients.run(
        checkpoint=checkpoint,
        sequences=sequences,
        intervention=intervention,
        output_coefficients=output,
        output_token_entropies=tmp_path / "token_entropies.parquet",
        settings=job(**overrides),
    )
    return read_frame(output, coefficients_schema(job(**overrides).num_groups))


def padded(lengths):
    input_ids = random_sequences(len(lengths), 16)
    for row, length in zip(input_ids, lengths, strict=True):
        row[length:] = PAD_ID
    return input_ids


EVERYTHING = {
    "relu_gate": True,
    "num_attribution_sequences": 8,
    "num_attention_sequences": 4,
    "num_next_token_sequences": 8,
}


class LargestTensor(TorchDispatchMode):
    """Notes the largest number of elements that any operation gives, but for views."""

    def __init__(self):
        super().__init__()
        self.num_elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not result._is_view():
            self.num_elements = max(self.num_elements, result.numel())
        return result
