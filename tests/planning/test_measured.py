"""Jobs that were done before, as their records tell them."""

import json

import pytest

from ke_steps.planning.durations import Measured
from ke_steps.planning.measured import MAX_RECORDS, measured_before
from ke_steps.planning.planned_jobs import PlannedJob

KEEP = PlannedJob("keep_checkpoint", "a/step1")
TRAIN = PlannedJob("pretrain_nursery", "a")
BEFORE = PlannedJob("evaluate_retention", "a/step1/original")
AFTER = PlannedJob("evaluate_retention_after_learning", "a/step1/original/once/seed0")
SUMMARY = PlannedJob("summarize")


@pytest.fixture
def results(tmp_path):
    for place, record in {
        "pretrain_nursery/a": {"step": "pretrain_nursery", "wall_seconds": 100.0},
        "pretrain_nursery/a/step1": {"step": "keep_checkpoint", "wall_seconds": 1.0},
        "pretrain_nursery/a/step2": {"step": "keep_checkpoint", "wall_seconds": 9.0},
        f"evaluate_retention/{BEFORE.place}": {"step": "evaluate_retention", "wall_seconds": 3.0},
        f"evaluate_retention/{AFTER.place}": {"step": "evaluate_retention", "wall_seconds": 4.0},
        "summarize": {"step": "summarize", "wall_seconds": 5.0, "peak_gpu_memory_mb": 7.0},
    }.items():
        path = tmp_path / "logs" / place / "record.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record))
    return tmp_path


def test_jobs_are_found_by_place_and_step(results):
    jobs = [TRAIN, KEEP, BEFORE, AFTER, SUMMARY, PlannedJob("write_report")]
    expected = [(BEFORE, 3.0), (AFTER, 4.0), (TRAIN, 100.0), (KEEP, 1.0), (SUMMARY, 5.0)]
    found = measured_before(results, jobs)
    assert sorted(found, key=str) == sorted((Measured(*each) for each in expected), key=str)
    assert Measured(SUMMARY, 5.0) not in measured_before(results, jobs, without_gpu=True)
    assert measured_before(results / "nowhere", jobs) == []


def test_a_record_that_a_kill_cut_short_is_passed_over(results):
    assert measured_before(results, [TRAIN]) == [Measured(TRAIN, 100.0)]
    (results / "logs/pretrain_nursery/a/record.json").write_text('{"wall_sec')
    assert measured_before(results, [TRAIN]) == []


def test_of_many_records_some_are_enough(results):
    jobs = [PlannedJob("draw", f"seed{number}") for number in range(MAX_RECORDS + 10)]
    for job in jobs:
        path = results / "logs/draw" / job.place / "record.json"
        path.parent.mkdir(parents=True)
        path.write_text('{"step": "draw", "wall_seconds": 2}')
    assert len(measured_before(results, jobs)) == MAX_RECORDS
