"""The page of a run: what it shows, and that it shows it safely."""

import html
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from snakemake_logger_plugin_study.page import render, write

from tests.invented.progress_run import SECONDS, Run

PHONE = """<iframe style="width: 390px; border: 0" srcdoc="{}" onload="
const inner = this.contentDocument
const boxes = [inner.documentElement, ...inner.querySelectorAll('.scroll')]
document.body.dataset.widths =
  [this.clientWidth, ...boxes.map(box => box.scrollWidth - box.clientWidth)]"></iframe>"""
"""A page in a frame as wide as a phone: a window of chromium cannot be that narrow."""

EVIL = '<script>alert("x")</script>'


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.links, self.open = set(), [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "wbr":
            return
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def text(self):
        return " ".join(" ".join(self.words).split())


def page(run, at):
    return render(run.progress, SECONDS + at)


def test_the_page_of_a_run_shows_it_and_refreshes_itself(run):
    run.start(1, 0)
    run.finish(1, 61)
    run.start(2, 61)
    run.write(2, "training: 37%|█| 37/100 [00:10<00:17, 2it/s]")
    text = page(run, 100)
    assert '<meta http-equiv="refresh" content="5">' in text
    assert "width: 37%" in text
    shown = Page(text)
    assert not shown.links
    for words in (
        "1 of 11 jobs (9 %)", "at least 8 min 30 s left", "written at",
        "train seed 2 training 37 %, 0:17 left", "train 1 1 – 8 draw – – – 1",
        "train seed 1 1 min 1 s", "if that was minutes ago",
    ):  # fmt: skip
        assert words in shown.text()


def test_the_page_of_a_run_that_is_over_says_how_it_ended(run):
    run.progress.plan({"train": 1})
    run.start(1, 0)
    (run.folder / "results").mkdir(exist_ok=True)
    (run.folder / "results/report.html").touch()
    run.finish(1, 1)
    run.progress.end()
    text = page(run, 1)
    assert 'http-equiv="refresh"' not in text
    shown = Page(text)
    assert "finished: 1 job in 1 s" in shown.text()
    assert shown.links == ["report.html"]
    assert "if that was minutes ago" not in shown.text()


def test_the_page_of_nurseries_that_go_first_waits_for_what_follows(run):
    run.progress.more_follows = True
    run.progress.plan({"train": 1})
    run.start(1, 0)
    run.finish(1, 1)
    run.progress.end()
    text = page(run, 1)
    assert '<meta http-equiv="refresh" content="5">' in text
    assert "nurseries first: 1 job in 1 s, now what follows" in Page(text).text()


def test_the_page_shows_what_failed_and_escapes_it(run):
    run.start(1, 0)
    run.write(1, f"train: no such file: {EVIL}\n")
    run.progress.fail(1, [str(run.log_of(1))])
    run.progress.error(f"WorkflowError:\n{EVIL}")
    run.progress.error("WorkflowError:\nAt least one job did not complete successfully.\n")
    run.progress.end()
    shown = Page(page(run, 9))
    assert "script" not in shown.tags
    assert shown.text().count(EVIL) == 2
    assert str(run.log_of(1)) in shown.text()
    assert "failed after 9 s" in shown.text()
    assert "At least one job" not in shown.text()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium")
def test_the_page_is_no_wider_than_a_phone(tmp_path):
    run = Run(tmp_path / ("a_folder_of_some_length_" * 4), {"evaluate_retention": 1500, "train": 9})
    for number in (1, 2):
        run.start(number, 0, rule="evaluate_retention")
    run.write(1, "training: 37%|█| 37/100 [00:10<00:17, 2it/s]", rule="evaluate_retention")
    run.start(3, 0)
    run.finish(3, 61)
    run.start(4, 0)
    run.write(4, f"train: no such file: {'deep/' * 30}manifest.json; make it first\n")
    run.progress.fail(4, [str(run.log_of(4))])
    run.progress.error(f"WorkflowError:\n{'x' * 300}")
    told = re.sub('<meta http-equiv="[CR].*\n', "", page(run, 100), flags=re.IGNORECASE)
    (tmp_path / "phone.html").write_text(PHONE.format(html.escape(told)))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    dom = subprocess.check_output(
        [*command, str(tmp_path / "phone.html")], text=True, stderr=subprocess.DEVNULL
    )
    width, *beyond = map(int, re.search(r'data-widths="([\d,]+)"', dom)[1].split(","))
    assert width == 390
    assert beyond == [0] * 5  # the page, and four tables in it


def test_the_page_is_replaced_whole(tmp_path):
    path = tmp_path / "results" / "status.html"
    for text in ("one", "two"):
        write(path, text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]
