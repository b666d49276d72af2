"""The command line of the call: ``python -m ke_steps.measure``."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ke_steps.job.endings import RunningStep, in_one_line
from ke_steps.job.errors import UserError
from ke_steps.job.files import NOT_JSON
from ke_steps.public.call import measure

if TYPE_CHECKING:
    from ke_steps.public.measurement import Measurement

DESCRIPTION = """\
Print the knowledge entropy H of a model, in nats, by layer and in all: its 95 % interval, H/ln m (1
when all of the m memories of a layer take part alike), the effective number of memories exp H, the
share of dormant ones, and the entropy of contributions |c|·‖v‖. Several revisions, steps or both
give a row each. docs/measure.md says more.
"""

OPTIONS: dict[str, dict[str, Any]] = {
    "model": {
        "metavar": "MODEL",
        "help": "a folder, owner/name on the hub, or a .gguf file; may have {step} in it",
    },
    "--text": {
        "nargs": "+",
        "action": "extend",
        "required": True,
        "metavar": "FILE",
        "help": "files of text, or the source of a corpus as JSON, such as"
        """ '{"kind": "preset", "name": "c4"}'""",
    },
    "--revision": {
        "nargs": "+",
        "default": ["main"],
        "metavar": "R",
        "help": "branches or tags on the hub; {step} stands for the step, * for any text",
    },
    "--step": {
        "nargs": "+",
        "type": int,
        "default": [0],
        "metavar": "N",
        "help": "what {step} stands for",
    },
    "--num-sequences": {
        "type": int,
        "default": 64,
        "metavar": "N",
        "help": "all the text is taken, up to so many sequences (64)",
    },
    "--sequence-length-tokens": {
        "type": int,
        "metavar": "N",
        "help": "the model's context when absent, 2,048 at most",
    },
    "--batch-size-sequences": {
        "type": int,
        "metavar": "N",
        "help": "that pass the model at once; up to 8,192 tokens when absent",
    },
    "--precision": {
        "choices": ["fp32", "bf16"],
        "help": "fp32 on CPUs and bf16 on GPUs when absent",
    },
    "--end-of-text": {
        "metavar": "TOKEN",
        "help": "ends a text, where the model's files name none or another",
    },
    "--begin-of-text": {
        "choices": ["tokenizer", "always", "never"],
        "default": "tokenizer",
        "help": "whether texts begin with the begin-of-text token",
    },
    "--tied-head": {
        "action": "store_true",
        "help": "a GGUF file without output.weight is of a model whose head is its embedding",
    },
}
"""The keywords of ``measure``, as argparse takes them."""

FORMS = {
    "json": "print an object a line and checkpoint, with settings, hashes and versions",
    "csv": "print a row for each layer, and one without a layer for the model",
}


STEP = RunningStep(
    "measure",
    "{}",
    Path(),
    memory_remedy="lower --batch-size-sequences or --sequence-length-tokens, or take --precision"
    " bf16",
    elsewhere="TMPDIR, or HF_HOME for what is downloaded,",
)
"""What its errors speak of, in place of a study's keys."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure each checkpoint, print what was asked for."""
    given = vars(_parser().parse_args(arguments))
    form = given.pop("form")
    with in_one_line(STEP), _in_words_of_the_command():
        texts = _texts(given.pop("text"))
        checkpoints = list(product(given.pop("revision"), given.pop("step")))
        _refuse_repeats(given["model"], checkpoints)
        _print([measure(texts=texts, revision=r, step=s, **given) for r, s in checkpoints], form)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ke_steps.measure", description=DESCRIPTION)
    for name, option in OPTIONS.items():
        parser.add_argument(name, **option)
    forms = parser.add_mutually_exclusive_group()
    for form, words in FORMS.items():
        forms.add_argument(f"--{form}", dest="form", action="store_const", const=form, help=words)
    return parser


@contextmanager
def _in_words_of_the_command() -> Iterator[None]:
    """Have errors name options in place of the call's keywords: what they begin with, or have _."""
    keywords = {option.strip("-").replace("-", "_"): option for option in OPTIONS}
    keywords |= {"texts": "--text", "model": "MODEL"}
    first = re.compile(rf"^({'|'.join(keywords)})(?=[:.])")
    others = re.compile(rf"\b({'|'.join(name for name in keywords if '_' in name)})\b(: true)?")
    try:
        yield
    except UserError as error:
        words = first.sub(lambda found: keywords[found[1]], str(error))
        raise UserError(others.sub(lambda found: keywords[found[1]], words)) from error


def _texts(given: list[str]) -> Any:
    """Return files, or the source that stands in place of one."""
    if not given[0].startswith("{"):
        return [Path(name) for name in given]
    if len(given) > 1:
        raise UserError("--text: a source stands alone")
    try:
        return json.loads(given[0])
    except NOT_JSON as error:
        raise UserError(f"--text: not JSON ({error})") from error


def _refuse_repeats(model: str, checkpoints: Sequence[tuple[str, int]]) -> None:
    """Refuse several steps where nothing says which checkpoint is of which."""
    named = [revision for revision, _ in checkpoints if "{step" not in model + revision]
    if len(named) > len(set(named)):
        raise UserError("--step: needs {step} in MODEL or --revision to tell several steps apart")


def _print(measured: Sequence[Measurement], form: str | None) -> None:
    import pandas as pd

    from ke_steps.public.measurement import render

    totals = pd.DataFrame([{"model": each.name, **each.total} for each in measured])
    if form == "json":
        for each in measured:
            print(json.dumps(each.to_json(), allow_nan=False))
    elif form == "csv":
        by_layer = [each.by_layer.assign(model=each.name) for each in measured]
        rows = pd.concat([*by_layer, totals])[["model", *measured[0].by_layer.columns]]
        print(rows.astype({"layer": "Int64"}).to_csv(index=False), end="")
    elif len(measured) == 1:
        print(measured[0])
    else:
        print("\n".join(each.describe() for each in measured), render(totals), sep="\n\n")
