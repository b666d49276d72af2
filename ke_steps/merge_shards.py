"""Put the shards of an extraction together: the tables that one job would have written.

Reads: the tables of all shards, from ``extract_shard``, in their order.
Writes: the two tables of ``extract_coefficients``, with the same data to the bit.

Example::

    python -m ke_steps.merge_shards --coefficients shard*/coefficients.parquet \
        --token-entropies shard*/token_entropies.parquet \
        --output-coefficients coefficients.parquet \
        --output-token-entropies token_entropies.parquet --settings '{"corpus": "world",
        "num_sequences": 64, "batch_size_sequences": 8, "precision": "fp32",
        "active_threshold": 0.1, "num_groups": 16, "num_attention_sequences": 16,
        "num_threads": 1, "num_shards": 4}'
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ke_steps.job import provenance
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.measuring.measures import write_measures
from ke_steps.measuring.shards import ShardTables, join, read_shard
from ke_steps.settings.measures import ExtractCoefficientsJob


def run(
    *,
    coefficients: list[Path],
    token_entropies: list[Path],
    output_coefficients: Path,
    output_token_entropies: Path,
    settings: ExtractCoefficientsJob,
) -> None:
    """Put the shards of an extraction together."""
    for name, paths in {"coefficients": coefficients, "token-entropies": token_entropies}.items():
        if len(paths) != settings.num_shards:
            raise UserError(f"--{name}: {len(paths)} files for {settings.num_shards} shards")
    shards = list(map(read_shard, coefficients, token_entropies))
    check_fit(shards, settings)
    devices = {p["device"] for shard in shards for p in shard.provenances.values() if "device" in p}
    if devices:
        provenance.note("device", ", ".join(sorted(devices)))
    measures = join([shard.measures for shard in shards])
    write_measures(output_coefficients, output_token_entropies, measures, settings.num_groups)


def check_fit(shards: list[ShardTables], settings: ExtractCoefficientsJob) -> None:
    """Refuse shards that are not the parts of one extraction, in their order.

    Raises:
        UserError: with the first file that does not fit.
    """
    (first, expected), *_ = shards[0].provenances.items()
    for number, shard in enumerate(shards):
        wanted = settings.model_dump(mode="json") | {"shard": number}
        for path, origin in shard.provenances.items():
            if names := _different(origin["settings"], wanted):
                raise UserError(
                    f"{path}: not shard {number} of this extraction: {names[0]} is"
                    f" {origin['settings'].get(names[0])!r}, expected {wanted.get(names[0])!r};"
                    " delete it and run again"
                )
            if names := _different(origin["inputs"], expected["inputs"]):
                raise UserError(
                    f"{path}: measured from another {names[0]} than {first}; delete both and run"
                    " again"
                )
            if origin["code"] != expected["code"]:
                raise UserError(
                    f"{path}: measured by other code than {first}; delete both and run again"
                )


def _different(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


if __name__ == "__main__":
    main(run)
