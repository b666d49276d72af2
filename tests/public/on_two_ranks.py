"""Run by torchrun: a Trainer on two processes, whose logs of knowledge entropy are written.

torchrun --standalone --nproc-per-node 2 -m tests.public.on_two_ranks FOLDER
"""

import json
import os
import sys
from pathlib import Path

from torch import distributed

from tests.public.test_callback import entropies, train


def main(folder):
    """Train, and write what this process heard."""
    rank = os.environ["RANK"]
    _, logs = train(folder / "run", ddp_find_unused_parameters=False)
    (folder / f"{rank}.json").write_text(json.dumps(list(entropies(logs).items())))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
