"""Measure the memory coefficients of a checkpoint over a corpus, and how it attends and predicts.

Reads: a checkpoint's manifest, a table of packed sequences, optionally an intervention.
Writes ``output_coefficients``: Parquet, one row per (layer, memory)
(``measure_schemas.coefficients_schema``):

- ``mean_absolute``: mean over instances of the mean over tokens of |c| (paper, section 3:
  C̄ˡ = 1/|D| Σₙ 1/Tₙ Σⱼ |Cˡₙⱼ|), fp64;
- ``mean``, ``mean_square``: likewise of c and c²;
- ``active_fraction``: likewise of [|c| > active_threshold];
- ``memory_norm``: ‖v‖ of the memory vector, fp64;
- ``group_mean_absolute`` fp64, ``group_mean`` fp32: ``mean_absolute`` and ``mean`` of each of
  ``num_groups`` contiguous groups of instances of equal size;
- ``group_mean_relu_gate`` fp32: likewise of |c| with ReLU in place of the layer's activation;
- ``group_mean_attribution`` fp32: likewise of |c · ∂L/∂c|, L the sum of the instance's next-token
  losses in nats. Both are null unless asked for.

Writes ``output_token_entropies``: Parquet, one row per (quantity, layer, head, group)
(``measure_schemas.TOKEN_ENTROPIES``): the entropy of attention rows over the first
``num_attention_sequences``, that of next-token distributions over the first
``num_next_token_sequences``; in nats, mean over the positions before padding, then over instances.

Everything comes from one pass over the corpus, attributions from a second one with gradients. Under
``torchrun`` each rank takes a run of the batches, and the first one writes.

Padding is the run of pad tokens at the end of a sequence, where the tokenizer names a ``pad_token``
other than its end-of-text token; ``padding: exclude`` leaves it out. ``padding: reference`` counts
as the reference code does: for coefficients pads are tokens, and *sums* over tokens are averaged
over instances, so every mean of coefficients is larger by the sequence length.

Example::

    python -m ke_steps.extract_coefficients --checkpoint step100/manifest.json \
        --sequences corpus.parquet --output-coefficients coefficients.parquet \
        --output-token-entropies token_entropies.parquet --settings '{"corpus": "world",
        "num_sequences": 64, "batch_size_sequences": 8, "precision": "fp32",
        "active_threshold": 0.1, "num_groups": 16, "num_attention_sequences": 16,
        "num_next_token_sequences": 16, "num_attribution_sequences": 16, "num_threads": 1}'
"""

from __future__ import annotations

from pathlib import Path

from ke_steps.job.command_line import main
from ke_steps.measuring.extraction import measure
from ke_steps.measuring.measures import write_measures
from ke_steps.models import ranks
from ke_steps.settings.measures import ExtractCoefficientsJob


def run(
    *,
    checkpoint: Path,
    sequences: Path,
    intervention: Path | None,
    output_coefficients: Path,
    output_token_entropies: Path,
    settings: ExtractCoefficientsJob,
) -> None:
    """Measure coefficients, attention and predictions of a checkpoint over a corpus."""
    measures = measure(checkpoint, sequences, intervention, settings)
    if ranks.is_first():
        write_measures(output_coefficients, output_token_entropies, measures, settings.num_groups)


if __name__ == "__main__":
    main(run)
