"""New knowledge, wherever it comes from: passages in several wordings, and probes on them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """A cloze probe: ``input`` + space + ``target`` is true, and the target is scored.

    ``kind`` is memorization (words of the original text), semantic (the same fact in words of no
    text) or compositional (follows from several facts of the passage): FACTS 2.
    """

    kind: str
    input: str
    target: str


@dataclass(frozen=True)
class Passage:
    """``texts[0]`` is the original; the others tell the same facts in other words and order."""

    texts: tuple[str, ...]
    probes: tuple[Probe, ...]
