"""Wake the dormant memories of a checkpoint: Algorithm 1 of the paper, as factors on rows.

Reads: Parquet of ``extract_coefficients``.
Writes: safetensors with one tensor (num_layers, m) fp32, provenance as metadata, named by
``settings.rows``: ``up_rows`` or ``key_rows``. Loading a checkpoint with it scales row i of layer
l's up projection by the factor [l, i].

- ``up``, gated models: this scales coefficient i by the same factor, exactly, for the same input.
- ``key``, ungated models: c = act(k · x + b), so that the factor goes through the activation. It is
  *not linear*: GELU passes a large positive input on but presses a negative one to zero, and a
  scaled key can make a coefficient smaller. Measure the entropy that results.

Per layer, with C = mean |c|: t is the p-th quantile of C (linear interpolation), and every memory
with C ≤ t gets u = q · mean(C) / C; all others get 1 (paper, Algorithm 1; p = ``quantile``,
q = ``boost``). The paper has no cap: a nearly dead memory then gets a multiplier in the hundreds
and drowns the layers above, which is what ``max_multiplier`` is for. In a layer without any
activity q · mean(C) is 0, which all its memories have: none is dormant, and all get 1.

Example::

    python -m ke_steps.resuscitate --coefficients coefficients.parquet \
        --output intervention.safetensors \
        --settings '{"quantile": 0.5, "boost": 2.0, "max_multiplier": 8.0}'
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.interventions import Target, write_intervention
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import Resuscitate


def run(*, coefficients: Path, output: Path, settings: Resuscitate) -> None:
    """Compute the factors on rows that wake a checkpoint's dormant memories."""
    activity = read_activity(coefficients)
    multipliers = np.stack([row_multipliers(layer, settings) for layer in activity])
    target: Target = "up_rows" if settings.rows == "up" else "key_rows"
    write_intervention(output, target, multipliers)


def row_multipliers(activity: NDArray[np.float64], settings: Resuscitate) -> NDArray[np.float64]:
    """Return the multipliers (m,) of one layer with mean absolute coefficients (m,).

    Raises:
        UserError: a memory to be woken has no activity at all and no cap is set.
    """
    if not activity.any():
        return np.ones_like(activity)
    threshold = np.quantile(activity, settings.quantile)
    target = settings.boost * activity.mean()
    ceiling = np.inf if settings.max_multiplier is None else settings.max_multiplier
    wanted = np.divide(target, activity, out=np.full_like(activity, np.inf), where=activity > 0)
    multipliers = np.where(activity <= threshold, np.minimum(wanted, ceiling), 1.0)
    num_infinite = np.sum(multipliers > np.finfo(np.float32).max)
    if num_infinite:
        raise UserError(
            f"max_multiplier: is null, but {num_infinite} memories of a layer are never active and"
            " would need an infinite multiplier; set a number such as 10"
        )
    return multipliers


if __name__ == "__main__":
    main(run)
