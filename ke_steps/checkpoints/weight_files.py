"""Which of a model's files hold its weights; pickles, which can run code, are refused."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from ke_steps.job.errors import UserError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARDS = "model-*-of-*.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def choose_weights(names: Iterable[str], *, where: str) -> list[str]:
    """Return the single safetensors file of a folder, or the index and all shards.

    Args:
        names: of the folder's files.
        where: what the folder is called in the error.

    Raises:
        UserError: there are only pickles, or no weights at all.
    """
    names = sorted(names)
    if WEIGHTS in names:
        return [WEIGHTS]
    if INDEX in names:
        return [INDEX, *(name for name in names if fnmatchcase(name, SHARDS))]
    pickles = [name for name in names if any(fnmatchcase(name, form) for form in PICKLES)]
    if pickles:
        raise UserError(
            f"{where}: {pickles[0]} is a pickle, which can run code and is refused; where you trust"
            f" it: safetensors.torch.save_file(torch.load('{pickles[0]}', weights_only=True),"
            f" '{WEIGHTS}')"
        )
    raise UserError(f"{where}: neither {WEIGHTS} nor {INDEX}: get the weights as safetensors")
