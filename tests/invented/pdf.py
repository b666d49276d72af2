"""The text in a PDF that Chromium wrote."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from unicodedata import normalize

SHOWN = rb"/F(\d+) [\d.]+ Tf|/X(\d+) Do|(<[0-9A-Fa-f]*>|\[[^\]]*\])\s*T[jJ]"
"""A font, a group of drawing commands, glyphs; a name holds the number of its object."""


def pages_of(pdf: bytes) -> list[str]:
    """Return the text of each page as it is drawn: without blanks, ligatures as letters."""
    found = re.findall(rb"(\d+) 0 obj\n(.*?)\nendobj", pdf, re.S)
    objects = {int(number): content for number, content in found}
    (root,) = (each for each in objects.values() if b"/Type /Catalog" in each)
    pages = _leaves(objects, _number(root, b"/Pages"))
    texts = (normalize("NFKC", "".join(_texts(objects, page))) for page in pages)
    return ["".join(text.split()) for text in texts]


def _number(content: bytes, name: bytes) -> int:
    found = re.search(name + rb" \[?(\d+) 0 R", content)
    assert found, (name, content[:200])
    return int(found[1])


def _leaves(objects: dict[int, bytes], number: int) -> Iterator[int]:
    content = objects[number]
    kids = re.search(rb"/Kids \[([^\]]*)\]", content)
    if kids is None:
        yield _number(content, b"/Contents")
        return
    for kid in re.findall(rb"(\d+) 0 R", kids[1]):
        yield from _leaves(objects, int(kid))


def _stream(content: bytes) -> bytes:
    head, _, rest = content.partition(b"stream\n")
    data = rest.rpartition(b"\nendstream")[0]
    return zlib.decompress(data) if b"/FlateDecode" in head else data


def _texts(objects: dict[int, bytes], number: int) -> Iterator[str]:
    signs: dict[int, str] = {}
    for font, group, glyphs in re.findall(SHOWN, _stream(objects[number])):
        if font:
            signs = _signs(objects, int(font))
        elif group:
            yield from _texts(objects, int(group))
        else:
            written = b"".join(re.findall(rb"<([0-9A-Fa-f]*)>", glyphs))
            codes = (int(written[at : at + 4], 16) for at in range(0, len(written), 4))
            yield "".join(signs.get(code, "") for code in codes)


def _signs(objects: dict[int, bytes], font: int) -> dict[int, str]:
    """Return what each glyph of a font stands for."""
    table = _stream(objects[_number(objects[font], b"/ToUnicode")]).decode()
    signs: dict[int, str] = {}
    for kind, lines in re.findall(r"beginbf(char|range)\n(.*?)endbf", table, re.S):
        for line in lines.splitlines():
            *ends, text = re.findall(r"<([0-9A-Fa-f]+)>", line)
            first = int(ends[0], 16)
            last = int(ends[-1], 16) if kind == "range" else first
            start = bytes.fromhex(text).decode("utf-16-be")
            signs |= {code: _after(start, code - first) for code in range(first, last + 1)}
    return signs


def _after(text: str, distance: int) -> str:
    return text[:-1] + chr(ord(text[-1]) + distance)
