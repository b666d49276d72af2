"""Measure one shard of a corpus: what ``extract_coefficients`` does, shared by several jobs.

Reads: as ``extract_coefficients``. ``merge_shards`` puts the shards together.
A shard has a run of the same batches and of the same groups of instances that one job would form,
each with whole batches and whole groups; of the sequences for attention, next-token entropy and
attribution it has those that fall to it, which may be none.

Writes ``output_coefficients``: Parquet, one row per (layer, memory)
(``measure_schemas.SHARD_COEFFICIENTS``): means by group of the shard, fp64; and ``memory_norm``.
Writes ``output_token_entropies``: Parquet (``measure_schemas.SHARD_TOKEN_ENTROPIES``), one row per
(layer, head) and one for the predictions: entropies in nats by instance of the shard.

Example::

    python -m ke_steps.extract_shard --checkpoint step100/manifest.json \
        --sequences corpus.parquet --output-coefficients shard0/coefficients.parquet \
        --output-token-entropies shard0/token_entropies.parquet --settings '{"corpus": "world",
        "num_sequences": 64, "batch_size_sequences": 8, "precision": "fp32",
        "active_threshold": 0.1, "num_groups": 16, "num_attention_sequences": 16,
        "num_threads": 1, "num_shards": 4, "shard": 0}'
"""

from __future__ import annotations

from pathlib import Path

from ke_steps.job.command_line import main
from ke_steps.measuring.extraction import measure
from ke_steps.measuring.instances import Shard
from ke_steps.measuring.shards import write_shard
from ke_steps.models import ranks
from ke_steps.settings.measures import ExtractShardJob


def run(
    *,
    checkpoint: Path,
    sequences: Path,
    intervention: Path | None,
    output_coefficients: Path,
    output_token_entropies: Path,
    settings: ExtractShardJob,
) -> None:
    """Measure coefficients, attention and predictions of a checkpoint over a shard of a corpus."""
    shard = Shard(settings.shard, settings.num_shards)
    measures = measure(checkpoint, sequences, intervention, settings, shard)
    if ranks.is_first():
        write_shard(output_coefficients, output_token_entropies, measures)


if __name__ == "__main__":
    main(run)
