"""The report: one file, offline, complete, escaped, and honest about where it came from."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd
import pytest
import yaml

from ke_steps import plot_figures
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import CLAIMS, CURVES, ESTIMATES
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import write_json
from ke_steps.job.identity import VERSION
from ke_steps.report import memory_tables
from ke_steps.report.glossary import terms_of
from ke_steps.report.jobs import trace_jobs
from tests.invented.report import FIGURES, REPORT, ROOT, STUDY, Page, csv_of, report, words_of
from tests.invented.study import CORPUS, SyntheticStudy

VARIANTS = {"boost_p50_q2": {"kind": "resuscitate", "quantile": 0.5, "boost": 2.0}}

SCRIPTS = [{"type": "application/json", "id": "memory-data"}, {}]
"""Data, and what the hash in the content policy lets run."""

EVIL = '<script>alert("x")</script> & <img src=http://evil.example>'


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("study")
    tables = SyntheticStudy(root).build()
    figures = [
        root / "plot_figures" / f"{figure}.{kind}"
        for figure in FIGURES
        for kind in ("svg", "pdf", "png")
    ]
    names = ("summary", "estimates", "families", "runs", "correlations", "curves", "distributions")
    names += ("phases", "frontiers", "effects", "between_runs", "rankings", "novelty", "retained")
    arguments = [f"--{name.replace('_', '-')}={tables[name]}" for name in names]
    settings = {"figures": FIGURES, "confidence": 0.95, "variants": VARIANTS}
    settings["main_corpora"] = {"nursery": CORPUS}
    settings["recipes"] = ["baseline"]
    arguments += ["--settings", json.dumps(settings)]
    arguments += ["--record", str(root / "logs" / "plot_figures" / "record.json")]
    drawn = root / "plot_figures"
    arguments += ["--output-narrow", *(f"{drawn}/narrow/{figure}.png" for figure in FIGURES)]
    arguments += ["--output-data", *(f"{drawn}/{figure}.csv" for figure in FIGURES)]
    arguments += ["--output-words", f"{drawn}/words.json"]
    main(plot_figures.run, [*arguments, "--output-figures", *map(str, figures)])
    stale = json.loads((root / "logs" / "plot_figures" / "record.json").read_text())
    stale["outputs"] = {str(figures[0]): "0" * 64}
    write_json(root / "logs" / "old" / "record.json", stale)
    return {"root": root, "tables": tables, "figures": figures}


def test_the_report_is_well_formed_and_loads_nothing(study: dict[str, Any]) -> None:
    text = report(study)
    page = Page(text)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert page.scripts == SCRIPTS
    assert len(text) < 3_000_000
    assert not re.search(r"""(src|href)=["']?https?:""", text)


def test_its_script_is_the_one_that_the_policy_lets_run(study: dict[str, Any]) -> None:
    text = report(study)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    scripts = sorted((REPORT / "page").glob("*.js"))
    assert script == "".join(path.read_text() for path in scripts)
    assert len(script) < 20_000
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    without = [path for path in (REPORT / "page").iterdir() if path.suffix != ".js"]
    text = report(study, templates=sorted(without))
    assert Page(text).scripts == SCRIPTS[:1]
    assert "script-src 'none'" in text


def test_it_holds_every_figure_and_every_claim(study: dict[str, Any]) -> None:
    page = Page(report(study))
    assert len(page.images) == len(FIGURES)
    told = json.loads((study["root"] / "plot_figures/words.json").read_text())
    assert [image["alt"] for image in page.images] == [told[name]["alt"] for name in FIGURES]
    for name in FIGURES:
        for words in (told[name]["title"], told[name]["caption"]):
            assert words in words_of(report(study))
        data = (study["root"] / f"plot_figures/{name}.csv").read_bytes()
        link = page.downloads[f"figure_{name}.csv"]
        assert base64.b64decode(link.partition(",")[2]) == data
    svg = unquote(str(page.images[0]["src"]).partition(",")[2])
    assert svg == study["figures"][0].read_text()
    assert {f"{figure}.pdf" for figure in FIGURES} <= set(page.downloads)
    words = " ".join("".join(page.text).replace("\u00a0", " ").split())
    claims = read_frame(study["tables"]["claims"], CLAIMS)
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
        "phases.csv",
        "variants.csv",
        "downstream.csv",
        "table_1_nursery.csv",
        "table_2_nursery.csv",
        *(f"figure_{name}.csv" for name in FIGURES),
        "entropies.csv",
        "entropies_by_layer.csv",
        "rivals.csv",
        "updates.csv",
        "decay.csv",
        "novelty.csv",
        "correlations.csv",
        "rankings.csv",
        "layers.csv",
        "checkpoints.csv",
        "runs.csv",
        "jobs_by_step.csv",
        "jobs.csv",
    }
    assert list(frames["main.csv"]["step"]) == [0, 100, 400, 800, 1200, 2000]
    assert frames["main.csv"]["entropy_nats"].iloc[0] == pytest.approx(22.0)
    assert len(frames["variants.csv"]) == 4
    packed = base64.b64decode(downloads["summary.csv.gz"].partition(",")[2])
    complete = pd.read_csv(io.BytesIO(gzip.decompress(packed)))
    assert len(complete) == len(read_frame(study["tables"]["summary"]))


def test_the_first_screen_is_there_as_markdown_and_as_data(study: dict[str, Any]) -> None:
    text = report(study)
    beside = [study["root"] / f"summary.{kind}" for kind in ("md", "json")]
    before = [path.read_bytes() for path in beside]
    report(study)
    assert [path.read_bytes() for path in beside] == before
    told, data = beside[0].read_text(), json.loads(beside[1].read_text())
    estimates = read_frame(study["tables"]["estimates"], ESTIMATES)
    originals = estimates[estimates["variant"] == "original"].sort_values("step")
    rows = {(row["quantity"], row["group"]): row["points"] for row in data["key_table"]["rows"]}
    for measure in (("entropy_nats", "model"), ("performance_after", "all/all")):
        is_asked = (originals["quantity"] == measure[0]) & (originals["group"] == measure[1])
        points = rows[measure]
        assert [point["step"] for point in points] == list(originals.loc[is_asked, "step"])
        assert [point["value"] for point in points] == list(originals.loc[is_asked, "value"])
    claims = read_frame(study["tables"]["claims"], CLAIMS)
    counts = claims.groupby("origin")["verdict"].value_counts()
    for origin, found in data["verdicts"].items():
        assert found == counts[origin].to_dict()
    words = words_of(text)
    assert len(data["findings"]) == 4
    for finding in data["findings"]:
        assert finding["sentence"] in words
        assert finding["sentence"].replace("_", "\\_") in told
    curves = re.findall(r'<svg class="curve"[^>]*role="img"><title>', text)
    assert len(curves) == len(data["key_table"]["rows"]) - 1  # A* is A
    assert max(map(len, data["terminal"])) <= 100


def test_words_of_the_config_are_escaped(study: dict[str, Any]) -> None:
    text = report(
        study, settings={"title": EVIL, "description": EVIL, "study": STUDY | {"x": EVIL}}
    )
    page = Page(text)
    assert page.scripts == SCRIPTS
    assert len(page.images) == len(FIGURES)
    assert EVIL in "".join(page.text)


def test_provenance_keeps_the_jobs_that_led_here(study: dict[str, Any]) -> None:
    trace = trace_jobs(study["root"], study["figures"])
    assert [record["step"] for record in trace.records] == ["plot_figures"]
    assert trace.num_left_out == 1
    words = "".join(Page(report(study)).text)
    assert "1 led to this report" in words
    assert "1 other records" in words
    assert trace.records[0]["versions"]["pandas"] in words


def part_of(text: str, tag: str) -> str:
    """Return the words of the element that begins with a tag, without its brackets."""
    name, _, _ = tag.partition(" ")
    inside, end, _ = text[text.index(f"<{tag}") :].partition(f"</{name}>")
    return words_of(inside + end)


def test_the_report_says_whose_it_is(study: dict[str, Any]) -> None:
    text = report(study)
    (record,) = trace_jobs(study["root"], study["figures"]).records
    ended = datetime.fromtimestamp(record["started_unix_seconds"] + record["wall_seconds"], UTC)
    words = part_of(text, 'section id="provenance"')
    for part in (words, part_of(text, "footer")):
        assert VERSION in part
        assert record["commit"] in part
        assert f"{ended:%Y-%m-%d %H:%M} UTC" in part
    assert f"ke-steps{VERSION}" in words
    assert f"Python{record['python']}" in words
    assert "Jiyeon Kim, Hyunji Lee" in words
    assert "To citeThe ke-steps authors: " in words


def test_the_study_can_be_had_as_a_file(study: dict[str, Any]) -> None:
    page = Page(report(study))
    file = base64.b64decode(page.downloads["study.yaml"].partition(",")[2]).decode()
    assert json.dumps(yaml.safe_load(file)) == json.dumps(STUDY)
    assert file in "".join(page.text)
    assert "make report STUDY=study.yaml" in "".join(page.text)


def test_the_words_of_the_report_are_explained_in_it(study: dict[str, Any]) -> None:
    words = part_of(report(study), 'section id="glossary"')
    for term in terms_of(ROOT / "docs/glossary.md"):
        assert f"{term.word}{term.meaning}" in words


def test_a_report_without_records_or_variants(tmp_path: Path) -> None:
    tables = SyntheticStudy(tmp_path, steps=(2000,), seeds=(0,), variants={}).build()
    words = "".join(Page(report({"root": tmp_path, "tables": tables, "figures": []})).text)
    assert "No job records lead to these tables" in words
    assert "Resuscitation" not in words.partition("Provenance")[0]
    assert "too few stages" in words


def test_a_figure_without_its_caption_is_refused(study: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"no entropy_by_stage\.rst"):
        report(study, captions=[])


def test_a_large_svg_gives_way_to_the_png(
    study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ke_steps.report.figures.MAX_SVG_BYTES", 1_000)
    assert all(
        str(image["src"]).startswith("data:image/png") for image in Page(report(study)).images
    )


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the paper's stages, with another recipe beside and the weights of two mixed up."""
    root = tmp_path_factory.mktemp("paper")
    steps = (117850, 369000, 554000, 700000, 738020)
    study = SyntheticStudy(
        root,
        models=("olmo",),
        steps=steps,
        variants={},
        recipes=("baseline", "other"),
        same_weights={700000: 554000},
    )
    return {"root": root, "tables": study.build(), "figures": []}


def paper_settings(score: str) -> dict[str, Any]:
    tasks = ["sciq", "winogrande", "piqa", "openbook_qa", "hellaswag", "arc_easy"]
    other = STUDY["recipes"]["baseline"] | {"num_injections": 5}
    return {
        "study": STUDY
        | {
            "models": {
                "olmo": {
                    "source": {"kind": "hub", "repo": "allenai/OLMo-1B-hf"},
                    "begin_of_text": "tokenizer",
                }
            },
            "recipes": STUDY["recipes"] | {"other": other},
            "evaluate_knowledge": {"score": score},
            "evaluate_retention": {"tasks": tasks, "num_items_per_task": None},
        }
    }


def test_equal_weights_are_said_and_marked(paper: dict[str, Any], study: dict[str, Any]) -> None:
    text = report(paper, settings=paper_settings("per_token"))
    words = words_of(text)
    assert "The checkpoints of olmo at steps 554,000, 700,000 hold identical weights" in words
    assert "⚠ step 554,000" in words
    same = csv_of(text, "checkpoints.csv").set_index("step")["same_weights_as"]
    assert same.dropna().to_dict() == {554000: 700000, 700000: 554000}
    assert "identical weights" not in words_of(report(study))


@pytest.mark.parametrize("score", ["per_token", "reference_padded"])
def test_published_numbers_stand_beside_the_papers_own_study(
    paper: dict[str, Any], score: str
) -> None:
    text = report(paper, settings=paper_settings(score))
    first, second = (csv_of(text, f"table_{number}_olmo.csv") for number in (1, 2))
    published = first.dropna(subset="published")
    assert set(published["recipe"]) == {"baseline"}
    assert set(published["step"]) == {117850, 369000, 554000, 738020}
    assert published["difference"].to_numpy() == pytest.approx(
        (published["value"] - published["published"]).to_numpy()
    )
    acquired = published[(published["quantity"] == "acquisition") & (published["step"] == 738020)]
    assert acquired["published"].tolist() == [0.188]
    assert "A, %: difference" in words_of(text)
    scales = set(second.dropna(subset="published")["column"])
    if score == "per_token":
        assert scales == {"P after, %"}
        assert "this study's of K per token" in words_of(text)
    else:
        assert scales == {"P after, %", "K after, reference scale"}
        ends = second[second["column"] == "K after, per token"]
        curves = read_frame(paper["tables"]["curves"], CURVES)
        curves = curves[(curves["moment"] == "end") & (curves["condition"] == "all")]
        expected = curves.groupby(["recipe", "step"])["performance"].mean()
        assert ends["value"].to_numpy() == pytest.approx(expected.to_numpy())


def test_another_study_has_no_published_numbers(study: dict[str, Any]) -> None:
    text = report(study)
    assert csv_of(text, "table_1_nursery.csv")["published"].isna().all()
    assert "A, %: difference" not in words_of(text)


def test_memories_are_told_in_tokens_the_last_stage_first(study: dict[str, Any]) -> None:
    text = report(study)
    section = text[text.index('id="memories"') : text.index('id="provenance"')]
    pages = re.findall(r"<summary>nursery, step ([\d,]+)", section)
    assert pages == ["2,000", "1,200", "800", "400", "100", "0"]
    assert "␣river \\n &lt;b&gt;0&lt;/b&gt;" in section
    complete = csv_of(text, "memories.csv.gz")
    assert len(complete) == 6 * 4 * 2 * 3
    assert json.loads(complete["tokens"].iloc[0]) == [" river", "\n", "<b>0</b>"]


def test_long_tables_are_cut_and_their_csv_is_not(
    study: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ke_steps.report.tables.MAX_ROWS", 3)
    monkeypatch.setattr(memory_tables, "MAX_MEMORY_ROWS", 16)
    monkeypatch.setattr(memory_tables, "MAX_CHECKPOINTS", 3)
    text = report(study)
    words = words_of(text)
    assert "The first 3 of 6 rows; the CSV has all." in words
    assert len(csv_of(text, "main.csv")) == 6
    assert "The first 2 of each end; the CSV has all." in words
    pages = re.findall(r"<summary>nursery, step ([\d,]+)", text)
    assert pages == ["2,000", "400", "0"]
    assert len(csv_of(text, "memories.csv.gz")) == 6 * 4 * 2 * 3


def test_a_study_without_the_extras_leaves_them_out(tmp_path: Path) -> None:
    study = SyntheticStudy(tmp_path, steps=(2000,), seeds=(0,), variants={}, is_plain=True)
    text = report({"root": tmp_path, "tables": study.build(), "figures": []})
    missing = {"entropies.csv", "updates.csv", "decay.csv", "novelty.csv", "rankings.csv"}
    missing |= {"rivals.csv", "memories.csv.gz"}
    assert not missing & set(Page(text).downloads)


def test_telling_needs_no_model_library() -> None:
    code = (
        "import sys, ke_steps.summarize, ke_steps.plot_figures, ke_steps.write_report;"
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
