"""Records of jobs: traced from the report backwards, named by their subjects, their usage told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ke_steps.job.files import hash_file, write_json
from ke_steps.report import jobs
from ke_steps.report.jobs import (
    job_frame,
    job_table,
    step_table,
    subject,
    trace_jobs,
)

# --- Which jobs, and of what --------------------------------------------------------------------


def test_records_are_traced_backwards_by_content(tmp_path: Path) -> None:
    def record(step: str, inputs: list[str], output: str, started: float) -> None:
        path = tmp_path / "m" / "step1" / "original" / output
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(output)
        job = {
            "step": step,
            "inputs": {name: hash_file(path.parent / name) for name in inputs},
            "outputs": {str(path): hash_file(path)},
            "started_unix_seconds": started,
        }
        write_json(tmp_path / "logs" / step / "record.json", job)

    record("first", [], "a", 1)
    record("second", ["a"], "b", 2)
    record("elsewhere", [], "z", 3)
    trace = trace_jobs(tmp_path, [tmp_path / "m" / "step1" / "original" / "b"])
    assert [job["step"] for job in trace.records] == ["first", "second"]
    assert trace.num_left_out == 1
    assert subject(trace.records[0]) == "m · step 1 · original"


def test_results_of_a_study_are_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records are linked by what they say; one whose results are gone led to nothing."""
    hashed: list[str] = []
    monkeypatch.setattr(jobs, "hash_file", lambda path: (hashed.append(path.name), "h b")[1])
    for step, inputs, outputs in (
        ("first", {}, ["a"]),
        ("gone", {}, ["a", "absent"]),
        ("second", {"x": "h a"}, ["b"]),
    ):
        paths = {str(tmp_path / name): f"h {name}" for name in outputs}
        job = {"step": step, "inputs": inputs, "outputs": paths, "started_unix_seconds": 0}
        write_json(tmp_path / "logs" / step / "record.json", job)
    for name in ("a", "b"):
        (tmp_path / name).touch()
    trace = trace_jobs(tmp_path, [tmp_path / "b"])
    assert {record["step"] for record in trace.records} == {"first", "second"}
    assert (trace.num_left_out, hashed) == (1, ["b"])


def test_a_job_on_a_corpus_names_it() -> None:
    path = "results/extract_coefficients/m/step1/original/c4/coefficients.parquet"
    assert subject({"outputs": {path: ""}}) == "m · step 1 · original · c4"


def test_a_shard_is_told_from_names_that_look_like_one() -> None:
    place = "results/extract_shard/m/step1/original/c4/shard2/coefficients.parquet"
    assert subject({"outputs": {place: ""}}) == "m · step 1 · original · c4 · shard 2"
    place = "results/extract_coefficients/m/step1/original/shard2/coefficients.parquet"
    assert subject({"outputs": {place: ""}}) == "m · step 1 · original · shard2"
    place = "results/evaluate_retention/m/step1/shard2/retention.parquet"
    assert subject({"outputs": {place: ""}}) == "m · step 1 · shard2"


# --- What the jobs used -------------------------------------------------------------------------


def job_record(step: str, **usage: Any) -> dict[str, Any]:
    output = {f"results/{step}/m/step1/original/x.parquet": "0" * 64}
    times = {"wall_seconds": 10.0, "cpu_seconds": 8.0, "peak_memory_mb": 100.0}
    return {"step": step, "code": "c", "outputs": output, "started_unix_seconds": 1} | times | usage


def test_totals_by_step_come_in_the_order_of_their_start() -> None:
    gpu = {"peak_gpu_memory_mb": 2048.0, "mean_gpu_utilisation": 0.9}
    busier = {"wall_seconds": 30.0, "peak_gpu_memory_mb": 4096.0, "mean_gpu_utilisation": 0.5}
    records = [job_record("train", **gpu), job_record("draw"), job_record("train", **busier)]
    table = step_table(job_frame(records))
    assert table.columns == [
        "step",
        "jobs",
        "wall s",
        "CPU s",
        "peak MB",
        "peak GPU MB",
        "GPU busy",
    ]
    assert table.rows == [
        ["train", "2", "40.0", "16.0", "100", "4,096", "60%"],
        ["draw", "1", "10.0", "8.0", "100", "–", "–"],
    ]
    alone = job_table(job_frame([job_record("draw")]))
    assert "peak GPU MB" not in alone.columns


def test_a_record_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("x")
    record = job_record("draw") | {"outputs": {str(output): hash_file(output)}}
    folders = [tmp_path / "logs" / name for name in ("first", "second")]
    for number, folder in enumerate(folders):
        own = record | {"started_unix_seconds": number, "inputs": {}}
        write_json(folder / "record.json", own)
    (tmp_path / "logs" / "killed").mkdir()
    (tmp_path / "logs" / "killed" / "record.json").write_text('{"step": "dr')
    trace = trace_jobs(tmp_path, [output])
    assert [r["started_unix_seconds"] for r in trace.records] == [0, 1]
    assert trace.num_left_out == 1
