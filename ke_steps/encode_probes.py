r"""Tokenise the probes for one model, and find those it cannot be asked, before a GPU is used.

Reads: the manifest of a tokenizer (or of a checkpoint), and the table of probes.
The text of a probe is ``"{input} {target}"``, tokenised without special tokens; its target starts
at len(tokenise(input)), as in the reference (FACTS, section 3). Where ``begin_of_text`` says so,
the begin-of-text token comes before both.

Writes: Parquet (``text_schemas.ENCODED_PROBES``), a row per probe in the order of the probes:
probe_id, passage_id, condition, kind, token_ids (list of int32, input and target) and target_start
(the place of the target's first token, at least 1).

Refused is a probe whose input or target has no token, whose target the tokenizer merges with the
end of the input, or that is longer than the positions of the model beside the tokenizer.

Example::

    python -m ke_steps.encode_probes --tokenizer results/fetch_checkpoint/m/step0/manifest.json \
        --probes results/prepare_knowledge/probes.parquet --output encoded_probes.parquet \
        --settings '{}'
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.text_schemas import ENCODED_PROBES, PROBES
from ke_steps.checkpoints.families import num_positions
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import EncodeProbes
from ke_steps.texts.tokenizers import Tokenizer, load_tokenizer

KEYS = ["probe_id", "passage_id", "condition", "kind"]


def run(*, tokenizer: Path, probes: Path, output: Path, settings: EncodeProbes) -> None:
    """Write the probes as token ids."""
    directory = tokenizer.parent
    encoded = encode(
        load_tokenizer(directory, settings.begin_of_text),
        read_frame(probes, PROBES),
        max_tokens=num_positions(directory),
    )
    write_table(output, encoded, ENCODED_PROBES)


def encode(
    tokenizer: Tokenizer, probes: pd.DataFrame, *, max_tokens: int | None = None
) -> pd.DataFrame:
    """Tokenise probes, a frame of ``text_schemas.PROBES``; return one of ``ENCODED_PROBES``.

    Args:
        tokenizer: of the model to be probed.
        probes: in any order, which is kept.
        max_tokens: positions of that model; None where they are not known.

    Raises:
        UserError: a probe has no token before or in its target, a token that is part input and part
            target, or more tokens than the model has positions.
    """
    inputs = tokenizer.encode_batch(probes["input"].tolist())
    texts = tokenizer.encode_batch((probes["input"] + " " + probes["target"]).tolist())
    begin = list(tokenizer.begin_ids)
    for probe, before, text in zip(probes.to_dict("records"), inputs, texts, strict=True):
        if fault := _fault(before, text, len(begin), max_tokens):
            raise UserError(
                f"probe {probe['probe_id']} ({probe['kind']}, passage {probe['passage_id']}, input"
                f" {_shortened(probe['input'])}, target {_shortened(probe['target'])}): {fault}"
            )
    return probes[KEYS].assign(
        token_ids=pd.Series([begin + text for text in texts], index=probes.index),
        target_start=[len(begin) + len(before) for before in inputs],
    )


def _fault(
    before: list[int], text: list[int], num_begin: int, max_tokens: int | None
) -> str | None:
    start = len(before)
    if start < 1 or start >= len(text):
        return (
            f"{len(text)} tokens, of which {start} are its input: input and target need at least"
            " one token each; reword it"
        )
    if text[:start] != before:
        return "the tokenizer joins the end of the input with the target in one token; reword it"
    num_tokens = num_begin + len(text)
    if max_tokens is not None and num_tokens > max_tokens:
        return f"{num_tokens} tokens, more than the model's {max_tokens} positions; shorten it"
    return None


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else f"…{text[-59:]}")


if __name__ == "__main__":
    main(run)
