"""Reports of invented studies, and how the tests read them."""

from __future__ import annotations

import base64
import gzip
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd

from ke_steps import write_report
from ke_steps.settings.telling import WriteReportJob

ROOT = Path(write_report.__file__).parents[1]
REPORT = ROOT / "workflow" / "report"

STUDY = {
    "seeds": [0, 1],
    "summarize": {"turnover_fraction": 0.1},
    "aggregate_entropy": {"dormant_ratio": 0.1},
    "evaluate_knowledge": {"score": "per_token"},
    "evaluate_retention": {"tasks": ["sciq", "piqa"], "num_items_per_task": None},
    "knowledge": {
        "source": {"kind": "preset", "name": "fictional_knowledge", "folder": None},
        "num_paraphrase_passages": 70,
        "num_once_passages": 60,
    },
    "models": {"nursery": {"source": {"kind": "nursery"}, "begin_of_text": "tokenizer"}},
    "corpora": {
        "pubmed": {
            "source": {"kind": "preset", "name": "pubmed_abstracts"},
            "num_sequences": 204800,
            "sequence_length_tokens": 1024,
            "skip_sequences": 0,
        }
    },
    "recipes": {
        "baseline": {
            "corpus": "pubmed",
            "batch_size_sequences": 128,
            "learning_rate": 4e-4,
            "schedule": "cosine",
            "num_steps": 1600,
            "warmup_fraction": 0.05,
            "min_learning_rate_ratio": 0.1,
            "weight_decay": 0.1,
            "max_gradient_norm": 1.0,
            "num_epochs": 1,
            "num_injections": 10,
            "injection_interval_steps": 160,
            "precision": "bf16",
            "contribution_entropy_weight": 0.0,
        }
    },
}

TABLES = (
    *("summary", "estimates", "families", "phases", "downstream", "frontiers", "effects", "doses"),
    *("runs", "correlations", "contests", "claims", "warnings", "curves", "checkpoints"),
    *("memories", "rankings", "memory_ranks"),
)


def report(study: dict[str, Any], **changes: Any) -> str:
    output = study["root"] / "report.html"
    settings = {"title": "A study", "description": "In words.", "study": STUDY}
    settings |= changes.pop("settings", {})
    keywords: dict[str, Any] = {
        **{name: study["tables"][name] for name in TABLES},
        "figures": study["figures"],
        "captions": [REPORT / f"{figure}.rst" for figure in FIGURES],
        "templates": sorted((REPORT / "page").iterdir()),
        "glossary": ROOT / "docs" / "glossary.md",
        "citation": ROOT / "CITATION.cff",
        "settings": WriteReportJob.model_validate(
            settings | {"study": json.dumps(settings["study"])}
        ),
        **changes,
    }
    write_report.run(**keywords, output=output)
    return output.read_text()


def words_of(text: str) -> str:
    return " ".join("".join(Page(text).text).replace("\u00a0", " ").split())


def csv_of(text: str, name: str) -> pd.DataFrame:
    content = base64.b64decode(Page(text).downloads[name].partition(",")[2])
    return pd.read_csv(io.BytesIO(gzip.decompress(content) if name.endswith(".gz") else content))


FIGURES = ("entropy_by_stage", "variants")

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects links and images, and checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.downloads: dict[str, str] = {}
        self.text: list[str] = []
        self.scripts: list[dict[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.links += [value for key, value in attrs if key in ("src", "href") and value]
        if tag == "img":
            self.images.append(attributes)
        if tag == "script":
            self.scripts.append(attributes)
        if "download" in attributes:
            self.downloads[str(attributes["download"])] = str(attributes["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
