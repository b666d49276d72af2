"""Give a checkpoint's attention another temperature: the control of resuscitation.

Reads: a checkpoint's manifest and its ``config.json``.
Writes: safetensors with one scalar ``query_rows`` fp32, 1 / temperature, provenance as metadata.
Loading the checkpoint with it scales the query projections, weights and biases, so that every
attention row becomes softmax(scores / temperature): above 1 it is broader (paper, section 6: 1.5 to
3.0 in place of the scaling of the memories; FACTS: resuscitation). It is exact for one layer's
input; layers above see other inputs.

Refused where the scores are not linear in the query projection: OLMo-2 and 3, Qwen3, Gemma 3 and
OLMoE normalise their queries, some OLMo clip them, Gemma 2 caps the scores.

Example::

    python -m ke_steps.temper_attention --checkpoint step100/manifest.json \
        --output intervention.safetensors --settings '{"temperature": 1.5}'
"""

from __future__ import annotations

from pathlib import Path

from ke_steps import _checkpoints, _cli, _families
from ke_steps._interventions import write_intervention
from ke_steps.settings import TemperAttention


def run(*, checkpoint: Path, output: Path, settings: TemperAttention) -> None:
    """Compute the factor that gives a checkpoint's attention another temperature."""
    _checkpoints.read_checkpoint_manifest(checkpoint)
    path = checkpoint.parent / "config.json"
    family, config = _families.read_family(path)
    _families.refuse_query_scaling(family, config, where=str(path))
    write_intervention(output, "query_rows", 1 / settings.temperature)


if __name__ == "__main__":
    _cli.main(run)
