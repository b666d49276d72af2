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
from ke_steps.artefacts.summary_schemas import CLAIMS, DOWNSTREAM, ESTIMATES, RUNS, WARNINGS
from ke_steps.report.first_screen import overview_of
from ke_steps.report.overview import Overview
from ke_steps.report.tables import Results
from ke_steps.settings.telling import WriteReportJob
from ke_steps.summary.quantities import ACCURACY_BEFORE, ENTROPY, ENTROPY_BOUND, Measure

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
            "compensate_gauge": False,
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
    drawn = study["root"] / "plot_figures"
    settings = {"title": "A study", "description": "In words.", "study": STUDY}
    settings |= changes.pop("settings", {})
    keywords: dict[str, Any] = {
        **{name: study["tables"][name] for name in TABLES},
        "figures": study["figures"],
        "narrow": [drawn / f"narrow/{figure}.png" for figure in FIGURES],
        "data": [drawn / f"{figure}.csv" for figure in FIGURES],
        "words": drawn / "words.json",
        "captions": [REPORT / f"{figure}.rst" for figure in FIGURES],
        "templates": sorted((REPORT / "page").iterdir()),
        "glossary": ROOT / "docs" / "glossary.md",
        "citation": ROOT / "CITATION.cff",
        "settings": WriteReportJob.model_validate(
            settings | {"study": json.dumps(settings["study"])}
        ),
        **changes,
    }
    summaries = {
        "output_markdown": study["root"] / "summary.md",
        "output_json": study["root"] / "summary.json",
    }
    write_report.run(**keywords, output_html=output, **summaries)
    return output.read_text()


def words_of(text: str) -> str:
    return " ".join("".join(Page(text).text).replace("\u00a0", " ").split())


def csv_of(text: str, name: str) -> pd.DataFrame:
    content = base64.b64decode(Page(text).downloads[name].partition(",")[2])
    return pd.read_csv(io.BytesIO(gzip.decompress(content) if name.endswith(".gz") else content))


FIGURES = ("entropy_by_stage", "variants")

VOID = {"meta", "img", "source", "link", "br", "hr", "input"}


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


STEPS = (100, 400, 800, 2000)
HALF = 0.05
"""Of every interval of a made-up estimate."""


def courses(model: str, values: dict[Measure, list[float]], recipe: str | None) -> pd.DataFrame:
    """Return rows of ESTIMATES: measures over ``STEPS``, each with the interval ± ``HALF``."""
    told_once = (ENTROPY, ENTROPY_BOUND, ACCURACY_BEFORE)
    return pd.DataFrame(
        [
            {
                "model": model,
                "step": step,
                "is_trained": True,
                "variant": "original",
                "recipe": None if measure in told_once else recipe,
                **measure._asdict(),
                "unit": measure.unit,
                "value": value,
                "low": value - HALF,
                "high": value + HALF,
                "num_seeds": None if measure in told_once else 2,
                "num_items": 28,
            }
            for measure, course in values.items()
            for step, value in zip(STEPS, course, strict=True)
        ],
        columns=ESTIMATES.names,
    ).astype({"num_seeds": "Int64", "num_items": "Int64"})


def claim(name: str, model: str = "nursery", half: float = HALF, **others: Any) -> dict[str, Any]:
    """Return a row of CLAIMS, primary and the paper's; of a value comes its interval."""
    row = {
        "model": model,
        "claim": name,
        "origin": "paper",
        "is_primary": True,
        "statement": f"{name}.",
        "evidence": "1 pretraining stage; a course needs at least 4.",
        "verdict": "not tested",
        "num_points": 4,
        "unit": "nats",
        "chosen_after_looking": False,
        **others,
    }
    value = row.get("value")
    return row | ({} if value is None else {"low": value - half, "high": value + half})


def overview(
    claims: list[dict[str, Any]],
    estimates: pd.DataFrame,
    *,
    families: dict[str, str] | None = None,
    downstream: list[dict[str, Any]] | None = None,
    warnings: list[tuple[str, str, str]] | None = None,
) -> Overview:
    """Return what a study of these claims and estimates comes to."""
    summary = estimates.assign(seed=estimates["num_seeds"], diverged_at_step=None)
    study = {
        "summarize": {},
        "models": {
            model: {"family": (families or {}).get(model)} for model in estimates["model"].unique()
        },
    }
    return overview_of(
        Results(summary, estimates),
        claims=pd.DataFrame(claims, columns=CLAIMS.names),
        warnings=pd.DataFrame(warnings or [], columns=WARNINGS.names),
        downstream=pd.DataFrame(downstream or [], columns=DOWNSTREAM.names),
        runs=pd.DataFrame(columns=RUNS.names),
        settings=WriteReportJob(title="A study", description="In words.", study=json.dumps(study)),
    )
