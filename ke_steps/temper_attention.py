"""Give attention another temperature in the forward pass: the control of resuscitation.

Reads nothing: the temperature is the setting itself, and every known family has it.
Writes: safetensors with ``attention_temperature`` (2,) fp64, at the start and at the end of
learning, provenance as metadata. A checkpoint that is loaded with it has the first: every attention
row becomes softmax(z / temperature), above 1 it is broader (paper, section 6: 1.5 to 3.0 in place
of the scaling of the memories; FACTS, section 5). Learning leads it to the second on a straight
line, a ``constant`` one stays (``training.tempering``).

Example::

    python -m ke_steps.temper_attention --output intervention.safetensors \
        --settings '{"temperature": 1.5, "course": "decaying"}'
"""

from __future__ import annotations

from pathlib import Path

from ke_steps.artefacts.interventions import write_intervention
from ke_steps.job.command_line import main
from ke_steps.settings.learning import TemperAttention


def run(*, output: Path, settings: TemperAttention) -> None:
    """Write the temperature at the start and at the end of learning."""
    end = settings.temperature if settings.course == "constant" else 1.0
    write_intervention(output, "attention_temperature", [settings.temperature, end])


if __name__ == "__main__":
    main(run)
