"""Collect the new knowledge to be learnt: passages in all their wordings, and the probes on them.

Reads the world, or two files in the form of FICTIONAL KNOWLEDGE: a study's own, or those of a
public repository, which are fetched into the cache that all studies share (``hub.github``). Writes
two tables, a row per text and per probe:

- PASSAGES: passage_id (paraphrase passages first), condition (paraphrase, once), text_index
  (0 the original, 1… its paraphrases), text. Once passages keep their paraphrases, which no
  schedule uses.
- PROBES: probe_id, passage_id, condition, kind (memorization, semantic, compositional), input,
  target. The probe's text is input, space, target.

    python -m ke_steps.prepare_knowledge --output-passages passages.parquet \
      --output-probes probes.parquet --settings '{"num_paraphrase_passages": 70,
        "num_once_passages": 60, "source": {"kind": "fictional_knowledge",
        "paraphrase_path": "paraphrase70.json", "once_path": "once60.json"}}'
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.text_schemas import PASSAGES, PROBES
from ke_steps.job import provenance
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file
from ke_steps.settings.texts import (
    FictionalKnowledge,
    PrepareKnowledge,
    PublishedKnowledge,
    WorldKnowledge,
)
from ke_steps.texts.passages import Passage, read_passages
from ke_steps.texts.world_knowledge import knowledge_passages

Row = dict[str, Any]


def passages_by_condition(settings: PrepareKnowledge) -> list[tuple[str, Passage]]:
    """Return (condition, passage) of every passage, in the order of their passage_id."""
    num_paraphrase, num_once = settings.num_paraphrase_passages, settings.num_once_passages
    conditions = ["paraphrase"] * num_paraphrase + ["once"] * num_once
    if not isinstance(settings.source, WorldKnowledge):
        paraphrase_path, once_path = find_files(settings.source)
        passages = [
            *read_passages(paraphrase_path, num_paraphrase, "knowledge.num_paraphrase_passages"),
            *read_passages(once_path, num_once, "knowledge.num_once_passages"),
        ]
        if isinstance(settings.source, FictionalKnowledge):  # of others the settings say it
            for path in (paraphrase_path, once_path):
                provenance.note(f"sha256 of {path}", hash_file(path))
    elif settings.world is None:
        raise UserError("world: missing, but knowledge.source.kind is 'world'")
    else:
        passages = knowledge_passages(settings.world, len(conditions))
    return list(zip(conditions, passages, strict=True))


def find_files(source: FictionalKnowledge | PublishedKnowledge) -> tuple[Path, Path]:
    """Return the file of paraphrase passages and that of passages seen once."""
    if isinstance(source, FictionalKnowledge):
        return Path(source.paraphrase_path), Path(source.once_path)
    from ke_steps.texts.published_knowledge import find_file

    return find_file(source, source.paraphrase), find_file(source, source.once)


def text_rows(passages: list[tuple[str, Passage]]) -> list[Row]:
    """Return the rows of PASSAGES."""
    return [
        {"passage_id": number, "condition": condition, "text_index": index, "text": text}
        for number, (condition, passage) in enumerate(passages)
        for index, text in enumerate(passage.texts)
    ]


def probe_rows(passages: list[tuple[str, Passage]]) -> list[Row]:
    """Return the rows of PROBES."""
    rows = [
        {
            "passage_id": number,
            "condition": condition,
            "kind": probe.kind,
            "input": probe.input,
            "target": probe.target,
        }
        for number, (condition, passage) in enumerate(passages)
        for probe in passage.probes
    ]
    return [{"probe_id": number, **row} for number, row in enumerate(rows)]


def run(*, output_passages: Path, output_probes: Path, settings: PrepareKnowledge) -> None:
    """Write the two tables."""
    passages = passages_by_condition(settings)
    write_table(output_passages, text_rows(passages), PASSAGES)
    write_table(output_probes, probe_rows(passages), PROBES)


if __name__ == "__main__":
    main(run)
