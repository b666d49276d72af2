"""Snakemake's memory beside the results: it grows by what is new, and nothing of it is lost."""

import json
import os
import shutil
from pathlib import Path

import pytest
from snakemake.persistence import MetadataRecord
from snakemake.persistence.file import FilePersistence

from ke_steps.job.files import hash_file, write_json
from ke_steps.job.records import files_of
from ke_steps.running import snakemake_memory
from ke_steps.running.snakemake_memory import FILE, FORMER_FILE, recall, remember, start

RESULTS = Path("results/a")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    RESULTS.mkdir(parents=True)
    start(RESULTS)
    return tmp_path


def run(place, text="done", *, is_known=True):
    """Pretend that a job ran: its output, its record, and Snakemake's own memory of it."""
    output = RESULTS / "make" / place / "out.txt"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text)
    hashes = {str(output): hash_file(output)}
    write_json(files_of(RESULTS, "make", place).record, {"step": "make", "outputs": hashes})
    metadata = MetadataRecord(
        rule="make", input=[f"{RESULTS}/in.txt"], params=[text], endtime=output.stat().st_mtime
    )
    if is_known:
        FilePersistence(nolock=True)._write_record(str(output), metadata)
    return str(output)


def remembered():
    """Return {output: what made it} of the file as a reader would who knows no code of it."""
    _, *lines = (RESULTS / FILE).read_text().splitlines()
    return {each["path"]: each["metadata"]["params"] for each in map(json.loads, lines)}


def last_line():
    return (RESULTS / FILE).read_text().splitlines()[-1]


def size():
    return (RESULTS / FILE).stat().st_size


def test_the_end_of_a_run_adds_what_ran_and_reads_nothing_else(monkeypatch):
    paths = [run(str(number)) for number in range(5)]
    remember(RESULTS)
    before = (RESULTS / FILE).read_text()
    again, new = run("3", "again"), run("5", "new")
    read = []
    monkeypatch.setattr(
        snakemake_memory,
        "read_record",
        lambda path: read.append(path.parent.name) or json.loads(path.read_text()),
    )
    remember(RESULTS)
    assert sorted(read) == ["3", "5"]
    assert (RESULTS / FILE).read_text().startswith(before)
    done = {path: ["done"] for path in paths} | {again: ["again"], new: ["new"]}
    assert remembered() == done
    remember(RESULTS)
    assert len(read) == 2


def test_a_job_counts_whenever_it_ran_by_whatever_clock():
    """That of a killed run, or of a machine whose clock is years behind."""
    run("0")
    remember(RESULTS)
    late = run("1")
    os.utime(files_of(RESULTS, "make", "1").record, (1.0, 1.0))
    remember(RESULTS)
    assert remembered().keys() >= {late}


def test_what_snakemake_does_not_know_yet_is_taken_in_later():
    path = run("0", is_known=False)
    remember(RESULTS)
    assert remembered() == {}
    run("0")
    remember(RESULTS)
    assert remembered() == {path: ["done"]}
    unfinished = run("1")
    FilePersistence(nolock=True)._mark_incomplete(unfinished, None)
    remember(RESULTS)
    assert remembered() == {path: ["done"]}


def test_a_line_that_a_kill_cut_short_costs_no_other():
    first, second = run("0"), run("1")
    remember(RESULTS)
    os.truncate(RESULTS / FILE, size() - 40)
    cut = [path for path in (first, second) if f'"path": "{path}"' in last_line()]
    shutil.rmtree(".snakemake")  # another clone, where only what is beside the results counts
    recall(RESULTS)
    persistence = FilePersistence(nolock=True)
    assert len(cut) == 1
    assert persistence._filter_incomplete_keys([first, second]) == {*cut}  # will be made again
    assert all(persistence._read_record(p) for p in {first, second} - {*cut})


def test_a_file_that_was_cut_is_written_anew_by_the_next_run():
    run("0")
    remember(RESULTS)
    whole = (RESULTS / FILE).read_text()
    os.truncate(RESULTS / FILE, size() - 10)
    remember(RESULTS)
    assert (RESULTS / FILE).read_text() == whole


def test_lines_that_count_no_more_are_left_out_in_time(monkeypatch):
    path = run("0", "0")
    remember(RESULTS)
    monkeypatch.setattr(snakemake_memory, "SPARE_BYTES", 2 * len(last_line()))
    numbers = []
    for number in range(1, 9):
        run("0", str(number))
        remember(RESULTS)
        numbers.append(len((RESULTS / FILE).read_text().splitlines()) - 1)
        assert remembered() == {path: [str(number)]}
    assert numbers == [2, 3, 4, 1, 2, 3, 4, 1]


def test_long_lines_are_left_out_as_soon_as_many_short_ones(monkeypatch):
    """Those of the summary are a thousand times as long as others."""
    monkeypatch.setattr(snakemake_memory, "SPARE_BYTES", 0)
    run("0", "x" * 100_000)
    for number in range(10):
        run(str(number + 1))
    remember(RESULTS)
    whole = size()
    for number in range(5):
        run("0", str(number) * 100_000)
        remember(RESULTS)
        assert size() <= 2 * whole


def test_what_an_earlier_version_noted_of_the_file_counts_for_nothing():
    path = run("0")
    remember(RESULTS)
    (noted,) = Path(".snakemake/known_results").glob("*.json")
    told = json.loads(noted.read_text())
    noted.write_text(json.dumps(told | {"num_lines": 1, "num_first": 1}))
    remember(RESULTS)
    assert remembered() == {path: ["done"]}
    assert json.loads(noted.read_text()) == told


def test_results_in_another_clone_under_another_name_are_known(tmp_path, monkeypatch):
    run("0", "0")
    remember(RESULTS)
    run("0", "1")  # of two lines the last counts
    remember(RESULTS)
    other = tmp_path / "clone"
    shutil.copytree("results/a", other / "results/b", copy_function=shutil.copyfile)
    monkeypatch.chdir(other)
    recall(Path("results/b"))
    known = FilePersistence(nolock=True)._read_record("results/b/make/0/out.txt")
    assert (known.params, known.input) == (["1"], ["results/b/in.txt"])


def test_the_file_of_an_earlier_version_is_taken_over_once():
    path = run("0")
    remember(RESULTS)
    first, line = map(json.loads, (RESULTS / FILE).read_text().splitlines())
    outputs = {line.pop("path"): line}
    (RESULTS / FORMER_FILE).write_text(json.dumps(first | {"outputs": outputs}) + "\n")
    (RESULTS / FILE).unlink()
    shutil.rmtree(".snakemake")
    recall(RESULTS)
    assert FilePersistence(nolock=True)._read_record(path).params == ["done"]
    start(RESULTS)
    remember(RESULTS)
    assert not (RESULTS / FORMER_FILE).exists()
    assert json.loads((RESULTS / FILE).read_text().splitlines()[0]) == first
    assert remembered() == {path: ["done"]}
