"""What the summary calls its quantities, and their units."""

from __future__ import annotations

import pytest

from ke_steps.job.errors import UserError
from ke_steps.summary.quantities import show, unit_of


def test_quantities_know_their_unit_and_refuse_a_stranger() -> None:
    assert unit_of("entropy_nats") == "nats"
    assert show(-0.105, "fraction") == "−10.5 %"
    with pytest.raises(UserError, match="known: entropy_nats"):
        unit_of("wisdom")
