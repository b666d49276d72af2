"""How a figure is laid out: panels in rows, or one below the other on a phone; legends; files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image

from ke_steps.figures import style
from ke_steps.figures.drawn import Drawing
from ke_steps.job.errors import UserError
from ke_steps.summary.points import spread_indices

ROW_INCHES = 2.9
PNG_DPI = 160
NARROW_DPI = 160
"""1.7 pixels for each that a phone counts."""
MAX_PIXELS = 60_000
"""Of the height of a picture: Agg draws no more than 65,535."""
MARGIN_PIXELS = 3
LETTERS_BESIDE = 36
"""Of a legend's labels in one line on a phone."""
MAX_LEGEND_STEPS = 12
"""Of more a legend names some, from light to dark: in one column they would not fit the panels."""
NUM_COLOURS = 32
"""Of a narrow picture, which the report holds beside the wide one."""

# No dates, no versions: equal numbers give equal files.
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}


class NothingToShowError(UserError):
    """The tables have no row of what a figure shows."""


def num_columns(wanted: int) -> int:
    """Return how many panels stand side by side: on a phone one."""
    return 1 if style.is_narrow() else wanted


def panels(
    num_rows: int,
    num_columns: int,
    *,
    row_inches: float = ROW_INCHES,
    sharey: bool = False,
    **options: Any,
) -> tuple[Drawing, np.ndarray[Any, Any]]:
    """Return a figure and its axes (num_rows, num_columns); with ``sharey`` a row has one y axis.

    On a phone the panels of a row stand one below the other.
    """
    if num_rows == 0 or num_columns == 0:
        raise NothingToShowError("the tables hold nothing that it shows")
    shape = (num_rows * num_columns, 1) if style.is_narrow() else (num_rows, num_columns)
    figure = Drawing(style.width_inches(), row_inches * shape[0] + 0.2)
    axes = figure.subplots(*shape, squeeze=False, **options).reshape(num_rows, num_columns)
    if sharey:
        for row in axes:
            for axis in row[1:]:
                axis.sharey(row[0])
                axis.tick_params(labelleft=style.is_narrow())
    return figure, axes


def blocks(
    num_blocks: int,
    num_panels: int,
    max_columns: int,
    *,
    row_inches: float = ROW_INCHES,
    **options: Any,
) -> tuple[Drawing, list[list[Axes]]]:
    """Return a figure and, for each block, its panels row by row; cells left over are removed."""
    is_full = options.get("sharey", False)  # rows that share an axis have no cell left over
    columns = max(1, max_columns if is_full else num_columns(max_columns))
    rows_each = -(-num_panels // columns)
    figure, axes = panels(num_blocks * rows_each, columns, row_inches=row_inches, **options)
    cells = [list(block.flat) for block in np.split(axes, num_blocks)]
    for block in cells:
        for axis in block[num_panels:]:
            axis.remove()
    return figure, [block[:num_panels] for block in cells]


def words(text: str) -> Drawing:
    """Return a figure that says a sentence, where there is nothing to draw."""
    figure = Drawing(style.width_inches(), 1)
    figure.text(0.5, 0.5, text, color=style.GREY, ha="center", va="center", wrap=True)
    return figure


def legend_below(axis: Axes, num_columns: int) -> None:
    """Put the legend of one panel under its x label."""
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=num_columns)


def legend_beside(axis: Axes, name: str) -> None:
    """Put the legend of one panel to its right, outside; on a phone below it."""
    if style.is_narrow():
        axis.legend(title=name, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3)
    else:
        axis.legend(title=name, loc="center left", bbox_to_anchor=(1.01, 0.5))


def shared_legend(
    figure: Drawing,
    name: str | None,
    *,
    steps: Sequence[int] = (),
    loc: Literal["outside right center", "outside lower center"] = "outside right center",
    max_columns: int = 1,
) -> None:
    """Put one legend beside all panels: each label once, steps ascending and before the others.

    On a phone it stands below them.
    """
    handles: dict[str, Any] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    drawn = [label for step in steps if (label := style.step_label(step)) in handles]
    others = [label for label in handles if label not in drawn]
    labels = [*named_steps(figure, drawn), *others]
    if style.is_narrow():
        loc = "outside lower center"
        max_columns = max(1, LETTERS_BESIDE // max(map(len, labels), default=1))
    if labels:
        num_rows = -(-len(labels) // max_columns)
        figure.legend(
            [handles[label] for label in labels],
            labels,
            title=name,
            loc=loc,
            ncols=-(-len(labels) // num_rows),
        )


def named_steps(figure: Drawing, labels: Sequence[str]) -> list[str]:
    """Return which of the drawn steps a legend names; the caption says so where not all are."""
    if len(labels) > MAX_LEGEND_STEPS:
        figure.note(f"The legend names {MAX_LEGEND_STEPS} of {len(labels)} steps.")
    return [labels[place] for place in spread_indices(len(labels), MAX_LEGEND_STEPS)]


def settle(figure: Drawing) -> None:
    """Lay a finished figure out, once for all formats: that takes longer than writing it."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis in figure.axes:
        _keep_within(axis, figure.bbox.x1)


def _keep_within(axis: Axes, right: float) -> None:
    """Move the title of a panel to the left where it would be cut at the edge of the figure."""
    title = axis.get_title(loc="left")
    for text in axis.findobj(lambda artist: isinstance(artist, Text)) if title else ():
        if isinstance(text, Text) and text.get_text() == title:
            extent = text.get_window_extent()
            over = min(extent.x1 + MARGIN_PIXELS - right, extent.x0 - MARGIN_PIXELS)
            if over > 0:
                axis.set_title(title, loc="left", x=-over / axis.bbox.width)


def save(figure: Drawing, path: Path, kind: str) -> None:
    """Write a figure as ``svg``, ``pdf`` or ``png``."""
    dpi = min(PNG_DPI, MAX_PIXELS / figure.get_figheight())
    figure.savefig(path, format=kind, dpi=dpi, metadata=METADATA[kind])
    if kind == "svg":
        path.write_text(_shortened(path.read_text()))


def _shortened(svg: str) -> str:
    """Return an SVG without comments and line breaks, in hundredths of a point: a fifth less.

    Numbers below 1 stay as they are: among them are the scales of letters.
    """
    text = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    text = re.sub(r"(?<![\d.])([1-9]\d*\.\d\d)\d+", r"\1", text)
    text = re.sub(r"\s*\n\s*", " ", text)
    return text.replace("> <", "><").replace('"', "'")


def save_narrow(figure: Drawing, path: Path) -> None:
    """Write a figure for phones: a PNG of few colours, a third of the size of one of all."""
    dpi = min(NARROW_DPI, MAX_PIXELS / figure.get_figheight())
    figure.savefig(path, format="png", dpi=dpi, metadata=METADATA["png"])
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(NUM_COLOURS, method=Image.Quantize.MEDIANCUT)
    few.save(path, format="png", optimize=True)
