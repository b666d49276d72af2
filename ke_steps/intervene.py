"""An intervention on a checkpoint: factors, noise and settings, applied wherever it is loaded.

Reads: a checkpoint's manifest and its ``config.json``; for the kinds that multiply memories also
the Parquet of ``extract_coefficients``, of the checkpoint as it is.
Writes: safetensors (``artefacts.interventions``), provenance as metadata. With the multipliers s of
Algorithm 1 (``formulas.multipliers``), which are 1 but for dormant memories:

- ``resuscitate``: rows × s. Of a gated layer these are the up rows, and coefficient i scales by sᵢ,
  exactly, for the same input. Of an ungated one c = act(k · x + b), so that the activation bends
  the factor: a scaled key can make a coefficient smaller.
- ``gauge``: rows × s, memory vectors × 1/s; ``inverse_gauge``: rows × 1/s, vectors × s. What a
  layer computes stays as it is, while its coefficients become s · c, or c / s.
- ``function``: memory vectors × s. Resuscitation is the gauge after it.
- ``permuted``, ``top``: the multipliers of the layer on other memories; ``noise``: the same rows
  (and vectors) moved by as much, |s - 1| · ‖row‖, in random directions; each in the way ``of``
  another kind. The directions are drawn when the checkpoint is loaded.
- ``temper_attention``: every attention row becomes softmax(z / temperature) in the forward pass
  (paper, section 6: 1.5 to 3.0; FACTS, section 5), the first of two temperatures before learning,
  which leads it to the second on a straight line (``training.tempering``).
- ``rescale_queries``: the same before learning, by the query weights and biases × 1/temperature.

What an architecture does not allow exactly is refused (``checkpoints.allowed_interventions``).

Example::

    python -m ke_steps.intervene --checkpoint step400/manifest.json \
        --coefficients coefficients.parquet --output intervention.safetensors \
        --settings '{"intervention": {"kind": "gauge", "quantile": 0.5, "boost": 2.0}}'
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.interventions import NOISE, Target, write_intervention
from ke_steps.checkpoints.allowed_interventions import refuse_intervention
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.checkpoints.families import read_family
from ke_steps.formulas.multipliers import permuted, upside_down, waking_multipliers
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.interventions import (
    Control,
    Function,
    Gauge,
    Intervene,
    Multipliers,
    Noise,
    Permuted,
    RescaleQueries,
    Resuscitate,
    TemperAttention,
    Top,
)

Factors = NDArray[np.floating]


def run(*, checkpoint: Path, coefficients: Path | None, output: Path, settings: Intervene) -> None:
    """Write what is to be done to a checkpoint on load."""
    read_checkpoint_manifest(checkpoint)
    config = checkpoint.parent / "config.json"
    refuse_intervention(settings.intervention, *read_family(config), where=str(config))
    match settings.intervention:
        case TemperAttention(temperature=start, course=course):
            end = start if course == "constant" else 1.0
            values: Mapping[Target, ArrayLike] = {"attention_temperature": [start, end]}
        case RescaleQueries(temperature=temperature):
            values = {"query_rows": 1 / temperature}
        case Multipliers() as variant:
            if coefficients is None:
                raise UserError(f"--coefficients: missing, but needed by kind {variant.kind}")
            values = change_of_memories(variant, read_activity(coefficients), settings.draw)
    write_intervention(output, values)


def change_of_memories(
    variant: Resuscitate | Gauge | Function | Permuted | Top | Noise,
    activity: NDArray[np.float64],
    draw: int,
) -> Mapping[Target, ArrayLike]:
    """Return the values of an intervention on memories of mean absolute coefficients (L, m)."""
    chosen = variant.model_dump(include=set(Multipliers.model_fields))
    multipliers = np.stack([waking_multipliers(layer, **chosen) for layer in activity])
    match variant:
        case Permuted():
            multipliers = permuted(multipliers, draw)
        case Top():
            multipliers = upside_down(multipliers, activity)
    factors = _factors(variant, multipliers.astype(np.float32))
    if isinstance(variant, Noise):
        return {"noise_seed": draw, **{NOISE[rows]: abs(f - 1) for rows, f in factors.items()}}
    return factors


def _factors(
    variant: Resuscitate | Gauge | Function | Control, multipliers: NDArray[np.float32]
) -> dict[Target, Factors]:
    if isinstance(variant, Function):
        return {"memory_vectors": multipliers}
    kind = variant.of if isinstance(variant, Control) else variant.kind
    rows: Target = "up_rows" if variant.rows == "up" else "key_rows"
    scale = 1 / multipliers if kind == "inverse_gauge" else multipliers
    if kind == "resuscitate":
        return {rows: scale}
    return {rows: scale, "memory_vectors": 1 / scale.astype(np.float64)}


if __name__ == "__main__":
    main(run)
