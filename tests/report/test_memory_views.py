"""Layers and memories in the report: what the page's views are made of, and what they show."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from ke_steps.artefacts.coefficients import read_activity
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import CHECKPOINTS, ESTIMATES, MEMORY_RANKS
from ke_steps.report.memory_views import rank_pages
from tests.invented.report import Page, csv_of, report, words_of

STEPS = [0, 100, 400, 800, 1200, 2000]


@pytest.fixture(scope="module")
def text(tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("report")
    return report({"root": root, "tables": tables, "figures": []})


def block(text: str) -> str:
    found = re.search(r'<script type="application/json" id="memory-data">(.*?)</script>', text)
    assert found
    return found[1]


def ranks_at(tables: dict[str, Path], step: int) -> Any:
    """Ranks (num_layers, m) of the activities themselves."""
    results = tables["summary"].parents[1] / "aggregate_entropy" / "nursery"
    (path,) = (results / f"step{step}" / "original").glob("*/activity.parquet")
    return stats.rankdata(-read_activity(path), method="ordinal", axis=1)


def test_the_data_of_the_views_are_those_of_the_study(tables: dict[str, Path], text: str) -> None:
    (model,) = json.loads(block(text))["models"]
    assert [model["model"], model["steps"], model["untrained"]] == ["nursery", STEPS, 1]
    assert [model["num_memories"], len(model["layers"])] == [384, 4]
    estimates = read_frame(tables["estimates"], ESTIMATES).set_index(["group", "quantity"])
    estimates = estimates[estimates["variant"] == "original"].sort_values("step")
    for stage, step in enumerate(STEPS):
        ranks = ranks_at(tables, step)
        for layer, told in enumerate(model["layers"]):
            assert [row[stage] for row in told["ranks"]] == ranks[layer].tolist()
            assert told["memories"] == list(range(384))
    for layer, told in enumerate(model["layers"]):
        expected = estimates.loc[(f"layer {layer}", "entropy_nats"), "value"]
        assert told["entropies"] == pytest.approx(expected.tolist(), rel=1e-3)
        said = [float(cells[0].split(" ")[0]) for cells in told["told"]]
        assert said == pytest.approx(expected.tolist(), abs=1e-3)


def test_tokens_stand_with_the_memory_and_end_no_script(text: str) -> None:
    (model,) = json.loads(block(text))["models"]
    assert "<" not in block(text)
    told = model["layers"][2]["tokens"]
    assert set(told) == {"21", "22", "23", "221", "222", "223"}
    assert told["21"]["400"] == ["␣river", "\\n", "<b>2</b>"]


def test_without_the_script_layers_and_ranks_are_tables(tables: dict[str, Path], text: str) -> None:
    layers = csv_of(text, "layers.csv")
    assert len(layers[layers["quantity"] == "entropy_nats"]) == 4 * 6
    (page,) = rank_pages(read_frame(tables["memory_ranks"], MEMORY_RANKS))
    assert page.columns[:3] == ["layer", "which", "memory"]
    assert page.columns[3:-1] == [f"{step:,}" for step in STEPS]
    shown = [dict(zip(page.columns, row, strict=True)) for row in page.rows]
    last, courses = ranks_at(tables, 2000), [ranks_at(tables, step) for step in STEPS]
    for layer in range(4):
        rows = [row for row in shown if row["layer"] == str(layer)]
        assert [row["which"] for row in rows] == [
            *["most active"] * 3,
            *["least active"] * 3,
            *["moved most"] * 3,
        ]
        for row in rows:
            ranks = [ranks[layer][int(row["memory"])] for ranks in courses]
            assert [row[f"{step:,}"] for step in STEPS] == list(map(str, ranks))
        assert [row["2,000"] for row in rows[:6]] == ["1", "2", "3", "384", "383", "382"]
        trained = [each[layer] for each in courses[1:]]
        ranges = sorted(max(each) - min(each) for each in zip(*trained, strict=True))
        of_moved = [[int(row[f"{step:,}"]) for step in STEPS[1:]] for row in rows[6:]]
        assert [max(each) - min(each) for each in of_moved] == ranges[:-4:-1]
    assert last.shape == (4, 384)
    assert len(csv_of(text, "memory_ranks.csv.gz")) == 4 * 384 * 6


def test_what_is_left_out_of_a_large_layer_is_said(
    tables: dict[str, Path], tmp_path: Path, text: str
) -> None:
    ranks = read_frame(tables["memory_ranks"], MEMORY_RANKS).astype({"rank": "Int32"})
    few = tmp_path / "memory_ranks.parquet"
    write_table(few, ranks[ranks["memory"] < 12], MEMORY_RANKS)
    cut = report({"root": tmp_path, "tables": tables | {"memory_ranks": few}, "figures": []})
    num_memories = read_frame(tables["checkpoints"], CHECKPOINTS)["num_memories"].unique()
    assert num_memories.tolist() == [384]
    assert "Here are 12 of the 384 memories of each layer of nursery" in words_of(cut)
    assert "memories of each layer of" not in words_of(text)


def dom_of(text: str, fragment: str, folder: Path) -> str:
    """Return the page as a browser has it once its script has run."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium")
    page = folder / "report.html"
    page.write_text(text)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/user"]
    done = subprocess.run(
        [chromium, *options, "--dump-dom", f"file://{page}{fragment}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def test_the_address_says_what_is_shown(tables: dict[str, Path], text: str, tmp_path: Path) -> None:
    fragment = "#memories?step=800&find=%3CB%3E2&order=fell&layer=2&memory=22"
    views = dom_of(text, fragment, tmp_path).partition('<div id="memory-views">')[2]
    views = views.partition("<details>")[0]
    words = " ".join("".join(Page("<div>" + views).text).split())
    assert "6 of 6 memories that fit, at step 800" in words
    assert "Layer 2, memory 22: rank over the stages" in words
    shown = re.findall(r'aria-label="memory (\d+) of layer (\d)"', views)
    before, ranks = (ranks_at(tables, step)[2] for step in (400, 800))
    expected = sorted((21, 22, 23, 221, 222, 223), key=lambda each: before[each] - ranks[each])
    assert shown == [(str(memory), "2") for memory in expected]
    rows = re.findall(r"<tr(?: class=\"chosen\")?><td>2</td>.*?</tr>", views)
    for memory, row in zip(expected, rows, strict=True):
        assert f"<td>{ranks[memory]}</td>" in row
        assert f" {abs(ranks[memory] - before[memory])}</td>" in row
    (chosen,) = re.findall(r'<tr class="chosen"><td>2</td>.*?</tr>', views)
    assert "memory 22 of" in chosen
