"""The report's page in a browser: tables that sort and copy, keys, colours, phones and paper."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from PIL import Image

from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.summary_schemas import ESTIMATES
from ke_steps.job.files import write_json
from tests.invented.chromium import CHROMIUM, Browser, chromium
from tests.invented.figures import figure_outputs
from tests.invented.pdf import pages_of
from tests.invented.report import FIGURES, report
from tests.invented.study import SyntheticStudy

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

PROBES = Path(__file__).with_suffix(".js").read_text()
DRAWN = '<svg xmlns="http://www.w3.org/2000/svg" width="700" height="300"><path d="M0 0h9"/></svg>'
STEPS = (0, 400, 2000)
MAIN = "Every stage"

PAPERS = {"A4": (210 / 25.4, 297 / 25.4), "letter": (8.5, 11.0)}
"""Width and height in inches."""
MARGINS = 28 / 25.4
"""Left and right of it, as the style has them."""
LEAST_CONTRAST = 4.5
"""Of text, by WCAG 2 (AA)."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything in it, wide and long tables, and a dash: F at the first step."""
    root = tmp_path_factory.mktemp("study")
    tables = SyntheticStudy(root, steps=STEPS).build()
    estimates = read_frame(tables["estimates"], ESTIMATES)
    is_unknown = (estimates["quantity"] == "forgetting") & (estimates["step"] == STEPS[0])
    write_table(tables["estimates"], estimates[~is_unknown], ESTIMATES)
    figures = [root / f"{name}.svg" for name in FIGURES]
    told = figure_outputs(root / "plot_figures", FIGURES)
    for figure, narrow, data in zip(
        figures, told["output_narrow"], told["output_data"], strict=True
    ):
        figure.write_text(DRAWN)
        narrow.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (600, 300)).save(narrow)
        data.write_text("step,value\n0,1\n")
    words = dict.fromkeys(("title", "caption", "alt"), "What it shows.")
    write_json(told["output_words"], dict.fromkeys(FIGURES, words))
    report({"root": root, "tables": tables, "figures": figures})
    return root / "report.html"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(running: Browser, page: Path) -> Browser:
    """The browser with the page as it is when it was just opened."""
    running.look(1440)
    running.open(page)
    running.ask(PROBES)
    return running


def ask(browser: Browser, probe: str, *arguments: Any) -> Any:
    return browser.ask(f"probes.{probe}({', '.join(map(json.dumps, arguments))})")


def open_all(browser: Browser) -> None:
    browser.ask("document.querySelectorAll('details').forEach((each) => { each.open = true; })")


# --- Tables that sort and copy ------------------------------------------------------------------


def test_numbers_sort_as_numbers_and_dashes_are_last(browser: Browser) -> None:
    def column(name: str) -> list[str]:
        found: list[str] = ask(browser, "column", MAIN, name)
        return found

    steps, forgetting = column("step"), column("F")
    assert steps == [f"{step:,}" for step in STEPS]
    assert [ask(browser, "press", MAIN, "step") for _ in "ab"] == ["ascending", "descending"]
    assert column("step") == steps[::-1]
    dash, *known = forgetting
    assert dash == "–"
    known.sort(key=lambda text: float(text.replace("−", "-")))
    assert ask(browser, "press", MAIN, "F") == "ascending"
    assert column("F") == [*known, dash]
    assert ask(browser, "press", MAIN, "F") == "descending"
    assert column("F") == [*known[::-1], dash]
    assert ask(browser, "press", MAIN, "F") is None
    assert (column("step"), column("F")) == (steps, forgetting)


def test_a_table_is_copied_as_it_is_sorted(browser: Browser) -> None:
    for _ in "ab":
        ask(browser, "press", MAIN, "step")
    copied = ask(browser, "copy", MAIN, "copy as Markdown")
    head, rule, *rows = [line.strip("| ").split(" | ") for line in copied.splitlines()]
    assert head[:2] == ["step", "H"]
    assert rule == ["--:"] * len(head)
    assert [row[0] for row in rows] == ask(browser, "column", MAIN, "step")
    assert [row[1].partition(" ")[0] for row in rows] == ask(browser, "column", MAIN, "H")
    lines = ask(browser, "copy", MAIN, "copy as LaTeX").splitlines()
    assert lines[1] == f"\\begin{{tabular}}{{{'r' * len(head)}}}"
    told = [line.removesuffix(" \\\\").split(" & ") for line in lines if line.endswith(" \\\\")]
    read = [[text.replace("$-$", "−").replace("--", "–") for text in row] for row in told[1:]]
    assert read == rows


def test_where_copying_is_refused_the_text_is_shown(browser: Browser) -> None:
    assert ask(browser, "copy", MAIN, "copy as Markdown", True) is None
    box = "document.querySelector('[role=status] textarea')"
    assert browser.ask(f"{box}.value").startswith("| step | H |")


def test_every_header_says_of_what_it_is(browser: Browser) -> None:
    scopes = "[...document.querySelectorAll('th')].map((each) => each.scope)"
    assert set(browser.ask(scopes)) == {"col", "row"}
    rows = "[...document.querySelectorAll('.scroll tbody tr')]"
    counts = f"{rows}.map((row) => row.querySelectorAll('th').length)"
    assert set(browser.ask(counts)) == {1}


# --- Keys ---------------------------------------------------------------------------------------


def test_few_stops_of_the_tab_key_and_each_is_seen(browser: Browser) -> None:
    stops: list[dict[str, Any]] = []
    while not stops or stops[-1]["tag"] != "BODY":
        browser.press("Tab")
        stops.append(ask(browser, "focused"))
        assert len(stops) < 150
    del stops[-1]
    assert stops[0]["kind"] == "skip"
    assert min(stop["outline"] for stop in stops) >= 2
    heads = [stop["head"] for stop in stops if stop["head"]]
    assert len(heads) == len(set(heads)) > 3
    scrolled = {stop["table"] for stop in stops if stop["kind"] == "scroll"}
    assert not scrolled & set(heads)


def test_arrows_lead_along_a_header_and_enter_sorts(browser: Browser) -> None:
    browser.ask(f"probes.head('{MAIN}', 'step').querySelector('button').focus()")
    browser.press("ArrowRight")
    assert ask(browser, "focused")["text"] == "H"
    browser.press("Enter", "\r")
    assert browser.ask(f"probes.head('{MAIN}', 'H').ariaSort") == "ascending"
    browser.press("ArrowLeft")
    assert ask(browser, "focused")["text"] == "step"


# --- Colours, phones, paper ---------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(browser: Browser, scheme: str) -> None:
    browser.look(1440, scheme=scheme)
    open_all(browser)
    found = ask(browser, "contrasts")
    assert len(found) > 500
    assert {kind for contrast, kind in found if contrast < LEAST_CONTRAST} == set()
    ground = browser.ask("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_is_no_wider_than_the_window(browser: Browser, width: int) -> None:
    browser.look(width)
    open_all(browser)
    assert browser.ask("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("paper", PAPERS)
def test_paper_cuts_nothing_and_leaves_no_heading_alone(browser: Browser, paper: str) -> None:
    width, height = PAPERS[paper]
    pages = pages_of(browser.print(width, height))
    browser.look(int(96 * (width - MARGINS)), media="print", scheme="dark")
    assert ask(browser, "stickingOut") == []
    assert browser.ask("getComputedStyle(document.body).color") == "rgb(31, 35, 40)"
    for what in ("#verdicts details", "thead th"):
        wanted = texts(browser, what)
        assert wanted
        assert not [text for text in wanted if text not in "".join(pages)]
    assert len(pages) > 5
    last_words = [page.removeprefix(f"{at}/{len(pages)}") for at, page in enumerate(pages, 1)]
    for heading in texts(browser, "h2, h3"):
        assert not [words for words in last_words if words.endswith(heading)]


def texts(browser: Browser, selector: str) -> list[str]:
    """Return what elements say, without blanks."""
    each = f"[...document.querySelectorAll({json.dumps(selector)})].map((each) => each.textContent)"
    return ["".join(normalize("NFKC", text).split()) for text in browser.ask(each)]
