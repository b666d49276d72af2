"""Which of a model's files hold its weights, and how a new one is written.

Of pickles, which can run code, only ``pytorch_model*.bin`` are taken: of them nothing but tensors
is read (see ``checkpoints.pickled_weights``), and only where there are no safetensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ke_steps.job.errors import UserError
from ke_steps.job.files import replacing


@dataclass(frozen=True)
class Storage:
    """Names of the files that hold weights: a single one, or an index and the shards it names."""

    single: str
    index: str
    shards: str


WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SAFETENSORS = Storage(WEIGHTS, INDEX, "*-of-*.safetensors")
PICKLED = Storage("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")
REFUSED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def choose_weights(names: Iterable[str], *, where: str) -> list[str]:
    """Return the single file of a folder's weights, or the index and all shards.

    Args:
        names: of the folder's files.
        where: what the folder is called in the error.

    Raises:
        UserError: there are only other pickles, or no weights at all.
    """
    names = sorted(names)
    for storage in (SAFETENSORS, PICKLED):
        if storage.single in names:
            return [storage.single]
        if storage.index in names:
            shards = [name for name in names if fnmatchcase(name, storage.shards)]
            return [storage.index, *shards]
    if any(fnmatchcase(name, PICKLED.shards) for name in names):
        raise UserError(f"{where}: {PICKLED.index}, which names its shards, is missing: get it too")
    pickles = [name for name in names if any(fnmatchcase(name, form) for form in REFUSED)]
    if pickles:
        raise UserError(
            f"{where}: {pickles[0]} is a pickle, which can run code and is refused; where it holds"
            f" the weights' tensors by name and nothing else, call it {PICKLED.single}: of that"
            " only tensors are read"
        )
    raise UserError(
        f"{where}: neither {WEIGHTS} nor {INDEX} nor {PICKLED.single}: get the weights, best as"
        " safetensors"
    )


def are_pickled(weights: Sequence[Path]) -> bool:
    """Tell whether files that ``choose_weights`` leads to are pickles."""
    return any(path.suffix != ".safetensors" for path in weights)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield where to write a safetensors file, which is at ``path`` once the block has ended well.

    safetensors makes files that only their owner can read; this one is as any other new file.
    """
    with replacing(path) as beside:
        beside.touch()
        mode = beside.stat().st_mode
        yield beside
        beside.chmod(mode)
