"""How lines look."""

from __future__ import annotations

from ke_steps.figures import style


def test_lines_of_many_names_differ_in_colour_or_marker() -> None:
    looks = style.line_looks(f"variant {number}" for number in range(25))
    assert len({(look["colour"], look["marker"]) for look in looks.values()}) == 25
