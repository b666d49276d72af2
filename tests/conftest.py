"""What the tests share: random models of every family, a tiny tokenizer, random tables."""

import gc
import os
import signal
from pathlib import Path

import pandas as pd
import pytest
import torch

from ke_steps.artefacts.manifests import describe_files
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import SUMMARY
from ke_steps.job.files import write_json
from ke_steps.texts.tokenizers import FILES
from tests.invented.models import build_checkpoint, build_sequences, build_tokenizer
from tests.invented.once import once
from tests.invented.study import SyntheticStudy

torch.set_num_threads(1)

# A shell has commands in the background ignore SIGINT, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Have garbage looked for in what tests make alone: each training looks, and so do forks."""
    gc.freeze()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Return the manifest of a two-layer random OLMo checkpoint with a tokenizer."""
    return build_checkpoint(tmp_path_factory.mktemp("checkpoints") / "olmo")


@pytest.fixture(scope="session")
def tokenizer_manifest(tmp_path_factory):
    """Return the manifest of the tiny tokenizer, as ``--tokenizer`` takes it."""
    directory = build_tokenizer(tmp_path_factory.mktemp("tokenizers") / "tiny")
    manifest = directory / "manifest.json"
    files = describe_files(directory / name for name in FILES)
    write_json(manifest, {"kind": "tokenizer", "files": files})
    return manifest


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of all processes that test."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def tables(common_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the tables of the synthetic study, summarised, by name."""
    study = SyntheticStudy(tmp_path_factory.mktemp("study"))
    return once(common_folder / "synthetic_study.pickle", study.build)


@pytest.fixture
def summary(tables: dict[str, Path]) -> pd.DataFrame:
    """Return the summary of the synthetic study."""
    return read_frame(tables["summary"], SUMMARY)


@pytest.fixture
def sequences(tmp_path):
    """Return a table of 8 random sequences of 16 tokens."""
    return build_sequences(tmp_path / "sequences.parquet")


@pytest.fixture(scope="session")
def shared_data():
    """Return the folder of shared data; without it the test is skipped, or fails when CI=true."""
    default = Path(__file__).parents[2] / "shared" / "data"
    path = Path(os.environ.get("KE_SHARED_DATA", default))
    if not path.is_dir():
        message = f"shared test data not found at {path}: set KE_SHARED_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path
