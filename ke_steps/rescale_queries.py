"""Give a checkpoint's attention another temperature by its weights, which then learn on.

Reads: a checkpoint's manifest and its ``config.json``.
Writes: safetensors with one scalar ``query_rows`` fp32, 1 / temperature, provenance as metadata.
Loading the checkpoint with it scales the query projections, weights and biases, so that every
attention row becomes softmax(scores / temperature), as with ``temper_attention``, which leaves the
weights alone. Before learning the two are the same function. AdamW moves a weight by as much
whatever its scale, so that smaller query weights move more in proportion: what is learned differs
(docs/measures.md).

Refused where the scores are not linear in the query projection: OLMo-2 and 3, Qwen3, Gemma 3 and
OLMoE normalise their queries, some OLMo clip them, Gemma 2 caps the scores.

Example::

    python -m ke_steps.rescale_queries --checkpoint step100/manifest.json \
        --output intervention.safetensors --settings '{"temperature": 1.5}'
"""

from __future__ import annotations

from pathlib import Path

from ke_steps.artefacts.interventions import write_intervention
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.checkpoints.families import read_family, refuse_query_scaling
from ke_steps.job.command_line import main
from ke_steps.settings.learning import RescaleQueries


def run(*, checkpoint: Path, output: Path, settings: RescaleQueries) -> None:
    """Compute the factor on queries that gives a checkpoint's attention another temperature."""
    read_checkpoint_manifest(checkpoint)
    path = checkpoint.parent / "config.json"
    family, config = read_family(path)
    refuse_query_scaling(family, config, where=str(path))
    write_intervention(output, "query_rows", 1 / settings.temperature)


if __name__ == "__main__":
    main(run)
