"""The notebook of docs/ runs as it is printed, on a hub of loopback."""

import json
import os
import subprocess
import sys

import pytest

from tests.invented.hub_server import HubServer, read_files
from tests.invented.measured import build_folder
from tests.invented.project import ROOT

pytestmark = pytest.mark.slow

NOTEBOOK = ROOT / "docs/measure.ipynb"
CHECKS = """
assert changed.total["contribution_entropy_nats"] < measured.total["contribution_entropy_nats"]
assert changed.by_layer["entropy_nats"][0] == measured.by_layer["entropy_nats"][0]
assert len(by_layer) == len(model.model.layers)
"""


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    files = read_files(build_folder(tmp_path / "model", "llama"))
    with HubServer({"HuggingFaceTB/SmolLM2-135M": {"main": files}}) as server:
        done = subprocess.run(
            [sys.executable, "-c", "\n".join([*code, CHECKS])],
            cwd=tmp_path,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "HF_ENDPOINT": server.url,
                "HF_HOME": str(tmp_path / "cache"),
                "MPLBACKEND": "Agg",
                "CUDA_VISIBLE_DEVICES": "",
            },
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("HuggingFaceTB/SmolLM2-135M@main: 32 sequences of 64 tokens")


def test_the_notebook_is_kept_without_results():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
