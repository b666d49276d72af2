"""The command line of a step is the signature of its run()."""

import json
import platform
import sys
from pathlib import Path

import pytest
import torch

from ke_steps import intervene
from ke_steps.job import identity, provenance
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import hash_file
from ke_steps.models import ranks
from ke_steps.settings.interventions import Multipliers

SETTINGS = json.dumps({"quantile": 0.5, "boost": 2.0})


def run(
    *, source: Path, extra: Path | None, many: list[Path], output: Path, settings: Multipliers
) -> None:
    """Copy the source and say what was given."""
    if source.read_text() == "bad":
        raise UserError(f"{source}: is bad; give a good one")
    assert isinstance(settings, Multipliers)
    output.write_text(f"{source.read_text()} {extra} {[p.name for p in many]}")
    provenance.note("device", "cpu")


@pytest.fixture(autouse=True)
def _pretend_to_be_a_step(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "__file__", intervene.__file__)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_text("good")
    return tmp_path / "source"


def test_run_is_called_and_recorded(tmp_path, source, monkeypatch):
    commits = iter(["at the start", "at the end"])
    monkeypatch.setattr(identity, "commit_of", lambda folder: next(commits))
    output, record = tmp_path / "deep/output", tmp_path / "log/record.json"
    arguments = [
        "--source",
        str(source),
        "--many",
        str(source),
        str(source),
        "--settings",
        SETTINGS,
    ]
    main(run, [*arguments, "--output", str(output), "--record", str(record)])
    assert output.read_text() == "good None ['source', 'source']"
    job = json.loads(record.read_text())
    assert job["step"] == "intervene"
    assert job["settings"] == json.loads(SETTINGS) | {"max_multiplier": None}
    assert job["inputs"]["source"] == hash_file(source)
    assert set(job["inputs"]) == {"source", "many[0]", "many[1]"}
    assert job["outputs"] == {str(output): hash_file(output)}
    assert job["device"] == "cpu"
    assert job["wall_seconds"] >= 0
    assert job["peak_memory_mb"] > 1
    assert (job["version"], job["commit"]) == (identity.VERSION, "at the start")
    assert job["python"] == platform.python_version()


def test_a_refusal_names_the_sections_that_its_record_tells(tmp_path, source):
    def refuse(*, source: Path, output: Path, settings: Multipliers) -> None:
        raise UserError("recipes.<name>.num_injections: too many")

    record = tmp_path / "results/logs/intervene/olmo/step3/original/often/seed1/record.json"
    given = {"--source": source, "--settings": SETTINGS, "--output": tmp_path / "o"}
    options = [str(word) for pair in given.items() for word in pair]
    for more, says in (([], "<name>"), (["--record", str(record)], "often")):
        with pytest.raises(SystemExit) as end:
            main(refuse, [*options, *more])
        assert str(end.value) == f"intervene: recipes.{says}.num_injections: too many"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"--settings": '{"quantile": 2}'}, "--settings: quantile: Input should be less than 1"),
        ({"--source": "/no/such"}, "--source: no such file: /no/such"),
        (
            {"--settings": "@/no/such"},
            "--settings: no such file: /no/such; a run of the study writes it when it starts",
        ),
    ],
)
def test_bad_call_is_one_line(tmp_path, source, change, line):
    arguments = {"--source": str(source), "--settings": SETTINGS, "--output": str(tmp_path / "o")}
    with pytest.raises(SystemExit) as end:
        main(run, [part for pair in (arguments | change).items() for part in pair])
    assert str(end.value) == f"intervene: {line}"
    assert not (tmp_path / "o").exists()


def test_only_the_first_rank_writes_a_record_and_clears_the_way(tmp_path, source, monkeypatch):
    record, left = tmp_path / "record.json", tmp_path / ".o.1.partial"
    call = ["--source", str(source), "--settings", SETTINGS, "--output", str(tmp_path / "o")]
    call += ["--record", str(record)]
    for rank in ("1", "0"):
        left.write_text("half")
        monkeypatch.setenv("RANK", rank)
        main(run, call)
        assert (record.exists(), left.exists()) == (rank == "0", rank != "0")


def run_disregarding(*, source: Path, output: Path, settings: Multipliers) -> None:
    """Write what an output says of its settings."""
    provenance.disregard("quantile")
    output.write_text(json.dumps(provenance.current()["settings"]))


def test_the_record_has_the_settings_that_an_output_leaves_out(tmp_path, source):
    output, record = tmp_path / "o", tmp_path / "record.json"
    call = ["--source", str(source), "--settings", SETTINGS, "--output", str(output)]
    main(run_disregarding, [*call, "--record", str(record)])
    told, written = json.loads(record.read_text())["settings"], json.loads(output.read_text())
    assert told == written | {"quantile": json.loads(SETTINGS)["quantile"]}
    assert "quantile" not in written


def run_with_others(*, source: Path, output: Path, settings: Multipliers) -> None:
    """Meet the other ranks."""
    ranks.join(torch.device("cpu"))
    run(source=source, extra=None, many=[], output=output, settings=settings)


def test_ranks_that_have_met_part_when_the_record_is_written(tmp_path, source, monkeypatch):
    output, record = tmp_path / "o", tmp_path / "record.json"
    call = ["--source", str(source), "--settings", SETTINGS, "--output", str(output)]
    parted = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(ranks.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(ranks, "leave", lambda: parted.append(record.is_file()))
    main(run, [*call, "--record", str(record)])
    assert parted == []
    main(run_with_others, [*call, "--record", str(record)])
    assert parted == [True]
    source.write_text("bad")
    with pytest.raises(SystemExit):
        main(run_with_others, call)
    assert parted == [True]


def test_a_failed_job_keeps_what_was_there_before(tmp_path, source):
    (tmp_path / "o").write_text("old")
    source.write_text("bad")
    with pytest.raises(SystemExit):
        main(
            run, ["--source", str(source), "--settings", SETTINGS, "--output", str(tmp_path / "o")]
        )
    assert (tmp_path / "o").read_text() == "old"


def test_refusal_is_one_line(tmp_path, source):
    source.write_text("bad")
    call = ["--source", str(source), "--settings", SETTINGS, "--output", str(tmp_path / "o")]
    with pytest.raises(SystemExit) as end:
        main(run, call)
    assert str(end.value) == f"intervene: {source}: is bad; give a good one"


class Places(Multipliers):
    """Settings that say what a pattern stands for."""

    places: dict[str, list[str]]


def run_on_many(*, many: list[Path], output: Path, settings: Places) -> None:
    """Write which files were given."""
    output.write_text(" ".join(str(path) for path in many))


def test_a_pattern_stands_for_its_places(tmp_path, capsys):
    for name in ("a", "b/c", "plain"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_text(name)
    settings = json.loads(SETTINGS) | {"places": {"runs": ["a", "b/c"], "none": []}}
    output = tmp_path / "output"
    given = [f"{tmp_path}/{{runs}}/file", f"{tmp_path}/plain/file", f"{tmp_path}/{{none}}/file"]
    arguments = ["--settings", json.dumps(settings), "--output", str(output), "--many"]
    main(run_on_many, [*arguments, *given])
    assert output.read_text() == f"{tmp_path}/a/file {tmp_path}/b/c/file {tmp_path}/plain/file"
    with pytest.raises(SystemExit) as refusal:
        main(run_on_many, [*arguments, f"{tmp_path}/{{walks}}/file"])
    assert "settings.places has no 'walks', only runs, none" in str(refusal.value)
    with pytest.raises(SystemExit) as refusal:
        main(run_on_many, [*arguments, f"{tmp_path}/{{runs}}/absent"])
    assert "no such file" in str(refusal.value)


def test_settings_may_lie_in_a_file_and_places_are_in_no_record(tmp_path, source):
    told = json.loads(SETTINGS) | {"max_multiplier": None}
    file, record, output = (tmp_path / name for name in ("settings.json", "record.json", "o"))
    file.write_text(json.dumps(told | {"places": {"runs": ["source"]}}))
    call = ["--settings", f"@{file}", "--many", f"{tmp_path}/{{runs}}", "--output", str(output)]
    main(run_on_many, [*call, "--record", str(record)])
    assert output.read_text() == str(source)
    assert json.loads(record.read_text())["settings"] == told
