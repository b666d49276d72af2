"""The report: one file, offline, complete, escaped, and honest about where it came from."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic_study import SyntheticStudy

from ke_steps import _cli, _records, _tables, plot_figures, write_report
from ke_steps._errors import UserError
from ke_steps.settings import PlotFigures, WriteReportJob

REPORT = Path(write_report.__file__).parents[1] / "workflow" / "report"
FIGURES = ("entropy_by_stage", "variants")
VOID = {"meta", "img", "link", "br", "hr", "input"}
EVIL = '<script>alert("x")</script> & <img src=http://evil.example>'


class Page(HTMLParser):
    """Collects links and images, and checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.downloads: dict[str, str] = {}
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.add(tag)
        self.links += [value for key, value in attrs if key in ("src", "href") and value]
        if tag == "img":
            self.images.append(attributes)
        if "download" in attributes:
            self.downloads[str(attributes["download"])] = str(attributes["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("study")
    tables = SyntheticStudy(root).build()
    figures = [
        root / "plot_figures" / f"{figure}.{kind}"
        for figure in FIGURES
        for kind in ("svg", "pdf", "png")
    ]
    arguments = [f"--{n}={tables[n]}" for n in ("summary", "correlations", "curves")]
    arguments += [f"--distributions={tables['distributions']}"]
    arguments += ["--settings", PlotFigures(figures=list(FIGURES)).model_dump_json()]
    arguments += ["--record", str(root / "logs" / "plot_figures" / "record.json")]
    _cli.main(plot_figures.run, [*arguments, "--output-figures", *map(str, figures)])
    stale = json.loads((root / "logs" / "plot_figures" / "record.json").read_text())
    stale["outputs"] = {str(figures[0]): "0" * 64}
    _tables.write_json(root / "logs" / "old" / "record.json", stale)
    return {"root": root, "tables": tables, "figures": figures}


def report(study: dict[str, Any], **changes: Any) -> str:
    output = study["root"] / "report.html"
    settings = {"title": "A study", "description": "In words.", "study": {"seeds": [0, 1]}}
    keywords: dict[str, Any] = {
        **{name: study["tables"][name] for name in ("summary", "correlations", "claims")},
        "figures": study["figures"],
        "captions": [REPORT / f"{figure}.rst" for figure in FIGURES],
        "template": REPORT / "report.html.j2",
        "settings": WriteReportJob.model_validate(settings | changes.pop("settings", {})),
        **changes,
    }
    write_report.run(**keywords, output=output)
    return output.read_text()


def test_the_report_is_well_formed_and_loads_nothing(study: dict[str, Any]) -> None:
    text = report(study)
    page = Page(text)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert "script" not in page.tags
    assert len(text) < 3_000_000
    assert not re.search(r"""(src|href)=["']?https?:""", text)


def test_it_holds_every_figure_and_every_claim(study: dict[str, Any]) -> None:
    page = Page(report(study))
    assert len(page.images) == len(FIGURES)
    assert all(image["alt"] and len(image["alt"]) > 20 for image in page.images)
    svg = base64.b64decode(str(page.images[0]["src"]).partition(",")[2])
    assert svg == study["figures"][0].read_bytes()
    assert {f"{figure}.pdf" for figure in FIGURES} <= set(page.downloads)
    words = " ".join("".join(page.text).replace("\u00a0", " ").split())
    claims = _tables.read_frame(study["tables"]["claims"], _tables.CLAIMS)
    for column in ("statement", "evidence", "rule", "verdict"):
        assert all(" ".join(text.split()) in words for text in claims[column])


def test_every_table_can_be_downloaded_with_full_numbers(study: dict[str, Any]) -> None:
    downloads = Page(report(study)).downloads
    frames = {
        name: pd.read_csv(io.BytesIO(base64.b64decode(link.partition(",")[2])))
        for name, link in downloads.items()
        if name.endswith(".csv")
    }
    assert set(frames) == {
        "claims.csv",
        "main.csv",
        "variants.csv",
        "correlations.csv",
        "jobs.csv",
    }
    assert list(frames["main.csv"]["step"]) == [0, 100, 400, 800, 1200, 2000]
    assert frames["main.csv"]["entropy_nats"].iloc[0] == pytest.approx(22.0)
    assert len(frames["variants.csv"]) == 4
    packed = base64.b64decode(downloads["summary.csv.gz"].partition(",")[2])
    complete = pd.read_csv(io.BytesIO(gzip.decompress(packed)))
    assert len(complete) == len(_tables.read_frame(study["tables"]["summary"]))


def test_words_of_the_config_are_escaped(study: dict[str, Any]) -> None:
    text = report(study, settings={"title": EVIL, "description": EVIL, "study": {"x": EVIL}})
    page = Page(text)
    assert "script" not in page.tags
    assert len(page.images) == len(FIGURES)
    assert EVIL in "".join(page.text)


def test_provenance_keeps_the_jobs_that_led_here(study: dict[str, Any]) -> None:
    logs = study["root"] / "logs"
    trace = _records.trace(logs, study["figures"])
    assert [record["step"] for record in trace.records] == ["plot_figures"]
    assert trace.num_left_out == 1
    words = "".join(Page(report(study)).text)
    assert "1 led to this report" in words
    assert "1 other records" in words
    assert trace.records[0]["versions"]["pandas"] in words


def test_records_are_traced_backwards_by_content(tmp_path: Path) -> None:
    def record(step: str, inputs: list[str], output: str, started: float) -> None:
        path = tmp_path / "m" / "step1" / "original" / output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(output)
        job = {
            "step": step,
            "inputs": {name: _records.hash_file(path.parent / name) for name in inputs},
            "outputs": {str(path): _records.hash_file(path)},
            "started_unix_seconds": started,
        }
        _tables.write_json(tmp_path / "logs" / f"{step}.json", job)

    record("first", [], "a", 1)
    record("second", ["a"], "b", 2)
    record("elsewhere", [], "z", 3)
    trace = _records.trace(tmp_path / "logs", [tmp_path / "m" / "step1" / "original" / "b"])
    assert [job["step"] for job in trace.records] == ["first", "second"]
    assert trace.num_left_out == 1
    assert _records.subject(trace.records[0]) == "m · step 1 · original"


def test_a_report_without_records_or_variants_says_so(tmp_path: Path) -> None:
    tables = SyntheticStudy(tmp_path, steps=(2000,), seeds=(0,), variants={}).build()
    words = "".join(Page(report({"root": tmp_path, "tables": tables, "figures": []})).text)
    assert "No job records lead to these tables" in words
    assert "no variant in this study" in words
    assert "too few stages" in words


def test_a_figure_without_its_caption_is_refused(study: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"no entropy_by_stage\.rst"):
        report(study, captions=[])


def test_a_large_svg_gives_way_to_the_png(
    study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_report, "MAX_SVG_BYTES", 1_000)
    assert all(
        str(image["src"]).startswith("data:image/png") for image in Page(report(study)).images
    )


def test_telling_needs_no_model_library() -> None:
    code = (
        "import sys, ke_steps.summarize, ke_steps.plot_figures, ke_steps.write_report;"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
