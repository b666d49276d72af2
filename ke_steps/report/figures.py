"""The figures of the report: a picture for each width, what is said of it, and its data."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from ke_steps.job.errors import UserError
from ke_steps.job.files import read_object
from ke_steps.report.tables import data_uri

MAX_SVG_BYTES = 1_000_000
MAX_CSV_BYTES = 20_000
UNQUOTED = " '=:/;,()+-.!*"
"""What may stand in an attribute, and in a link, as it is."""
MEDIA_TYPES = {
    ".png": "image/png",
    ".pdf": "application/pdf",
}


class FigureFiles(NamedTuple):
    """Where the figures of a study lie; every file is named after its figure."""

    figures: Sequence[Path]
    """SVG, PDF and PNG."""
    narrow: Sequence[Path]
    """PNG, for phones."""
    data: Sequence[Path]
    """CSV."""
    captions: Sequence[Path]
    """What figures of its name show, in any study."""
    words: Path
    """By figure its title, and caption and alternative text of this study, as JSON."""


class ShownFigure(NamedTuple):
    """One figure; files are data URIs."""

    name: str
    title: str
    caption: str
    alt: str
    image: str
    narrow: str
    csv_name: str
    csv: str
    pdf: str
    """Empty where there is none."""


def figures_of(files: FigureFiles) -> list[ShownFigure]:
    """Return every figure that has an SVG; a PNG stands in for one above 1 MB."""
    vectors = [path for path in files.figures if path.suffix == ".svg"]
    if not vectors:
        return []
    captions = {path.stem: " ".join(path.read_text().split()) for path in files.captions}
    pictures = {path.name: path for path in files.figures}
    narrow = {path.stem: path for path in files.narrow}
    data = {path.stem: path for path in files.data}
    words = read_object(files.words)
    found = []
    for svg in vectors:
        name = svg.stem
        if name not in captions:
            raise UserError(f"--captions: no {name}.rst for the figure {svg}")
        told = words[name]
        png, pdf = pictures.get(f"{name}.png"), pictures.get(f"{name}.pdf")
        csv_name, csv = _csv(data[name])
        image = png if png and svg.stat().st_size > MAX_SVG_BYTES else svg
        found.append(
            ShownFigure(
                name=name,
                title=told["title"],
                caption=f"{captions[name]} {told['caption']}".strip(),
                alt=told["alt"],
                image=_embed(image),
                narrow=_embed(narrow[name]),
                csv_name=csv_name,
                csv=csv,
                pdf=_embed(pdf) if pdf else "",
            )
        )
    return found


def _embed(path: Path) -> str:
    """Return a file as a link; an SVG as text, which is a quarter shorter than in base64."""
    if path.suffix == ".svg":
        return f"data:image/svg+xml,{quote(path.read_text(), safe=UNQUOTED)}"
    return data_uri(path.read_bytes(), MEDIA_TYPES[path.suffix])


def _csv(path: Path) -> tuple[str, str]:
    """Return name and link of a download of data, compressed if they are long."""
    content = path.read_bytes()
    name = f"figure_{path.name}"
    if len(content) <= MAX_CSV_BYTES:
        return name, data_uri(content, "text/csv")
    return f"{name}.gz", data_uri(gzip.compress(content, mtime=0), "application/gzip")
