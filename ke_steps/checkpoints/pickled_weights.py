"""Weights that exist only as ``pytorch_model*.bin``, written anew as safetensors.

Such a file is a pickle: a program that makes the tensors, and could do anything else. It is never
run: ``torch.load(weights_only=True)`` follows the operations that tensors need and refuses others.
That is done in a process of its own, which nothing else has loaded into, which may not grow much
beyond its files, and whose end is at worst a line. The values stay in the file and are read from
there as they are written (``mmap``); files from before torch 1.6 are no archive and are read whole.

Every name gets values of its own, also where several share them, as tied embeddings do: whether a
model ties them is said by its ``config.json`` alone.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import psutil
import torch
from safetensors.torch import save_file
from torch import Tensor

from ke_steps.checkpoints.tensors import read_header
from ke_steps.checkpoints.weight_files import INDEX, WEIGHTS, writing
from ke_steps.job.errors import UserError
from ke_steps.job.files import write_json
from ke_steps.job.provenance import ROOT

ARCHIVE = b"PK\x03\x04"
"""What a file of ``torch.save`` since torch 1.6 begins with: its values can be mapped."""

SPARE_BYTES = 4 * 2**30
COPIES = 4
"""A process may take this much beyond itself, and its file so many times: mapped, read, copied."""

_ADVICE = re.compile(r" ?(?:In PyTorch 2\.6|Check the documentation|This is an internal)")
_GLOBAL = re.compile(r"GLOBAL (\S+)")


def rewrite(pickles: Sequence[Path], directory: Path) -> list[Path]:
    """Write pickled weights as safetensors, in their own dtype; return the new files.

    Args:
        pickles: one file, or all shards.
        directory: where to write; with shards an index, too. All appears, or nothing.

    Raises:
        UserError: a file holds anything but tensors by name, is damaged, or cannot be read here.
    """
    count = len(pickles)
    names = [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]
    targets = [directory / name for name in (names if count > 1 else [WEIGHTS])]
    directory.mkdir(parents=True, exist_ok=True)
    # a folder of its own, since safetensors leaves a file of a name that it makes up when killed
    with TemporaryDirectory(prefix=".", suffix=".partial", dir=directory) as folder:
        written = [Path(folder, target.name) for target in targets]
        _read_apart(pickles, written)
        index = _index(pickles, written)
        for path, target in zip(written, targets, strict=True):
            with writing(target) as beside:
                path.replace(beside)
    if count > 1:
        write_json(directory / INDEX, index)
    return targets


def _index(pickles: Sequence[Path], written: Sequence[Path]) -> dict[str, Any]:
    """Return which tensor is in which file, whatever the index of the pickles says."""
    weight_map: dict[str, str] = {}
    size_bytes = 0
    for pickled, path in zip(pickles, written, strict=True):
        header, data_start = read_header(path)
        size_bytes += path.stat().st_size - data_start
        for name in header:
            if name in weight_map:
                raise UserError(
                    f"{pickled}: tensor {name} is in another file, too: get all files again"
                )
            weight_map[name] = path.name
    return {"metadata": {"total_size": size_bytes}, "weight_map": weight_map}


def _read_apart(pickles: Sequence[Path], targets: Sequence[Path]) -> None:
    """Run this module in a process of its own; a refusal comes on its standard output.

    The process lives no longer than its standard input, which this one holds open.
    """
    pairs = zip(pickles, targets, strict=True)
    paths = [str(path.absolute()) for pair in pairs for path in pair]
    command = [sys.executable, "-m", __name__, *paths]
    theirs, ours = os.pipe()
    try:
        done = subprocess.run(  # noqa: S603 # this very Python, on paths
            command, cwd=ROOT, stdin=theirs, capture_output=True, text=True, check=False
        )
    finally:
        os.close(theirs)
        os.close(ours)
    if done.returncode == 0:
        return
    if done.stdout:
        raise UserError(done.stdout.strip())
    last = (done.stderr.strip().splitlines() or ["no word of why; too little memory?"])[-1]
    raise UserError(
        f"{pickles[0]}: the process that reads it ended with status {done.returncode} ({last})"
    )


def main(arguments: Sequence[str]) -> None:
    """Write the tensors of each first path of a pair to its second; print what is refused."""
    Thread(target=_end_with_input, daemon=True).start()
    for source, target in zip(arguments[::2], arguments[1::2], strict=True):
        try:
            _limit_memory(Path(source).stat().st_size)
            tensors = read_tensors(Path(source))
        except UserError as refusal:
            print(*str(refusal).split())
            sys.exit(1)
        save_file(tensors, target, metadata={"format": "pt"})


def _end_with_input() -> None:
    """End when whoever started this process has ended, however it did."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _limit_memory(file_bytes: int) -> None:
    """Let no file make this process much larger than it needs: a small one can claim to be huge."""
    if sys.platform != "linux":
        return  # the limit is not kept elsewhere
    used_bytes = psutil.Process().memory_info().vms
    wanted = used_bytes + COPIES * file_bytes + SPARE_BYTES
    limits = resource.getrlimit(resource.RLIMIT_AS)
    given = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *given]), limits[1]))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a pickle, ready to be written: contiguous, none sharing its values.

    Raises:
        UserError: it holds anything else, or is damaged.
    """
    try:
        with path.open("rb") as file:
            is_archive = file.read(len(ARCHIVE)) == ARCHIVE
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception as error:  # whatever a foreign program does to what reads it
        raise UserError(f"{path}: {_explain(error)}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path}: holds a {type(content).__name__}, no tensors by name")
    seen: set[int] = set()
    return {name: _own(name, value, seen, path) for name, value in content.items()}


def _own(name: object, value: object, seen: set[int], path: Path) -> Tensor:
    """Return a plain tensor whose storage is its own and no larger than itself."""
    if not isinstance(name, str) or not isinstance(value, Tensor):
        raise UserError(
            f"{path}: holds a {type(value).__name__} under {str(name)[:60]!r}, no tensor by name:"
            " it is no file of weights alone; save these by themselves"
        )
    tensor = value.detach()
    is_plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not is_plain or tensor.is_quantized or tensor.is_complex():
        raise UserError(
            f"{path}: tensor {name} is {tensor.layout} of {tensor.dtype} on {tensor.device}, not"
            " plain numbers, which alone are read"
        )
    storage = tensor.untyped_storage()
    is_shared = storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes
    seen.add(storage.data_ptr())
    return tensor.clone(memory_format=torch.contiguous_format) if is_shared else tensor.contiguous()


def _explain(error: Exception) -> str:
    """Say in one line why torch would not read a file; its own words advise to run it."""
    text = " ".join(str(error).split())
    found = _GLOBAL.search(text)
    if found is not None:
        return (
            f"needs more than tensors: it calls {found[1].removesuffix('.')}, which is never run;"
            " get the weights as safetensors, or as a state dict of tensors"
        )
    _, _, tail = text.rpartition("WeightsUnpickler error: ")
    reason = _ADVICE.split(tail)[0] or type(error).__name__
    return f"not a readable file of torch.save ({reason}); get it again, best as safetensors"


if __name__ == "__main__":
    main(sys.argv[1:])
