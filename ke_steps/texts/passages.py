"""New knowledge, wherever it comes from: passages in several wordings, and probes on them.

The files of FICTIONAL KNOWLEDGE (Chang et al. 2024, arXiv 2406.11813) are JSON lists of passages.
One has ``train_context``, ``paraphrases`` and three pairs of lists of equal length, for the probe
kinds memorization (``mem_…``), semantic (``gen_…``) and compositional (``hard_gen_…``): ``…input``
and ``…target``. Other fields are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from ke_steps.job.errors import UserError
from ke_steps.job.files import read_json


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


PREFIXES = {"memorization": "mem", "semantic": "gen", "compositional": "hard_gen"}


def _refuse_unclean(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if text != text.strip():
        raise ValueError(f"begins or ends in white space: {text!r}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("is not valid Unicode, it holds half a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_refuse_unclean)]

Texts = Annotated[list[Text], Field(min_length=1)]


class Entry(BaseModel):
    """One passage as the files have it."""

    train_context: Text
    paraphrases: list[Text]
    mem_input: Texts
    mem_target: Texts
    gen_input: Texts
    gen_target: Texts
    hard_gen_input: Texts
    hard_gen_target: Texts

    @model_validator(mode="after")
    def _pairs_match(self) -> Entry:
        for prefix in PREFIXES.values():
            inputs, targets = self._pair(prefix)
            if len(inputs) != len(targets):
                raise ValueError(
                    f"{prefix}_input has {len(inputs)} entries, {prefix}_target {len(targets)}"
                )
        return self

    def _pair(self, prefix: str) -> tuple[list[str], list[str]]:
        return getattr(self, f"{prefix}_input"), getattr(self, f"{prefix}_target")

    def passage(self) -> Passage:
        """Return the passage in the workflow's terms."""
        probes = (
            Probe(kind, asked, target)
            for kind, prefix in PREFIXES.items()
            for asked, target in zip(*self._pair(prefix), strict=True)
        )
        return Passage((self.train_context, *self.paraphrases), tuple(probes))


def read_passages(path: Path, num_passages: int, setting: str) -> list[Passage]:
    """Return the first ``num_passages`` of a file; ``setting`` is the key that asks for so many.

    Raises:
        UserError: no such file, no JSON list, too few passages, or a passage that lacks something.
    """
    entries = _read_list(path)
    if len(entries) < num_passages:
        raise UserError(
            f"{setting}: {num_passages} passages are asked for, but {path} has {len(entries)}"
        )
    return [_parse(entry, path, index) for index, entry in enumerate(entries[:num_passages])]


def _read_list(path: Path) -> list[Any]:
    entries = read_json(path, "JSON file in UTF-8")
    if not isinstance(entries, list):
        raise UserError(f"{path}: not a JSON list of passages")
    return entries


def _parse(entry: Any, path: Path, index: int) -> Passage:
    try:
        return Entry.model_validate(entry, strict=True).passage()
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(
            f"[{part}]" if isinstance(part, int) else str(part) for part in first["loc"]
        )
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: passage {index}: {where} {reason}".replace("  ", " ")) from error
