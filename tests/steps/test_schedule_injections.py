"""The schedule: who is injected, how often, where; seed 0 is the paper's layout."""

import pandas as pd
import pytest

from ke_steps import schedule_injections
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.artefacts.text_schemas import PASSAGES, SCHEDULE
from ke_steps.job.errors import UserError
from ke_steps.settings.learning import ScheduleInjections


def passages_frame(num_paraphrase, num_once, num_texts=10):
    conditions = ["paraphrase"] * num_paraphrase + ["once"] * num_once
    return pd.DataFrame(
        [
            {"passage_id": n, "condition": condition, "text_index": t, "text": f"{n}/{t}"}
            for n, condition in enumerate(conditions)
            for t in range(num_texts)
        ]
    )


@pytest.fixture
def schedule(tmp_path):
    """Return a function that runs the step on passages and returns the schedule."""

    def schedule(passages, seed=0, num_injections=10, *, interval=16, batch_size=128, **epochs):
        num_epochs, rest = epochs.get("num_epochs", 1), epochs.get("rest", 0)
        write_table(tmp_path / "passages.parquet", passages, PASSAGES)
        output = tmp_path / "schedule.parquet"
        settings = ScheduleInjections(
            num_steps=num_epochs * (num_injections * interval + rest),
            num_epochs=num_epochs,
            num_injections=num_injections,
            injection_interval_steps=interval,
            batch_size_sequences=batch_size,
            seed=seed,
        )
        schedule_injections.run(
            passages=tmp_path / "passages.parquet", output=output, settings=settings
        )
        return read_frame(output, SCHEDULE)

    return schedule


def test_seed_0_is_the_papers_layout(schedule):
    rows = schedule(passages_frame(70, 60), interval=160)
    expected = []
    for injection in range(1, 11):
        step = 160 * injection
        for n in range(70):
            expected.append((injection, step, n, n, injection - 1, "paraphrase"))
        for n in range(6):
            passage = 70 + 6 * (injection - 1) + n
            expected.append((injection, step, 70 + n, passage, 0, "once"))
    assert list(rows.itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("num_paraphrase", "num_once", "num_injections"), [(70, 60, 10), (5, 13, 4), (3, 2, 5)]
)
def test_everyone_gets_a_turn(schedule, seed, num_paraphrase, num_once, num_injections):
    passages = passages_frame(num_paraphrase, num_once)
    rows = schedule(passages, seed, num_injections)
    assert (rows["train_step"] == 16 * rows["injection"]).all()
    for injection in range(1, num_injections + 1):
        at = rows[rows["injection"] == injection]
        paraphrase = at[at["condition"] == "paraphrase"]
        assert paraphrase["passage_id"].tolist() == [*range(num_paraphrase)]
        assert at["batch_row"].is_unique
        assert at["batch_row"].between(0, 127).all()
    paraphrase = rows[rows["condition"] == "paraphrase"]
    assert not paraphrase.duplicated(["passage_id", "text_index"]).any()
    assert paraphrase["text_index"].between(0, 9).all()
    once = rows[rows["condition"] == "once"]
    assert sorted(once["passage_id"]) == [*range(num_paraphrase, num_paraphrase + num_once)]
    assert (once["text_index"] == 0).all()
    sizes = [(once["injection"] == k).sum() for k in range(1, num_injections + 1)]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("seed", [0, 3])
def test_epochs_repeat_the_schedule(schedule, seed):
    passages = passages_frame(5, 7)
    once = schedule(passages, seed, num_injections=4)
    thrice = schedule(passages, seed, num_injections=4, num_epochs=3, rest=9)
    expected = pd.concat(
        [
            once.assign(
                injection=once["injection"] + 4 * epoch,
                train_step=once["train_step"] + (4 * 16 + 9) * epoch,
            )
            for epoch in range(3)
        ],
        ignore_index=True,
    )
    pd.testing.assert_frame_equal(thrice, expected, check_dtype=False)


def test_other_seeds_draw_texts_groups_and_rows(schedule):
    passages = passages_frame(7, 20)
    drawn = [schedule(passages, seed) for seed in (1, 2)]
    assert drawn[0].equals(schedule(passages, 1))
    for column in ("batch_row", "passage_id", "text_index"):
        assert drawn[0][column].tolist() != drawn[1][column].tolist()


def test_either_condition_may_be_absent(schedule):
    assert set(schedule(passages_frame(3, 0))["condition"]) == {"paraphrase"}
    assert set(schedule(passages_frame(0, 3), 1)["condition"]) == {"once"}


def test_more_injections_than_texts_are_refused(schedule):
    with pytest.raises(UserError, match=r"num_injections: 11 is more than the 10 texts"):
        schedule(passages_frame(2, 2), num_injections=11)
    assert len(schedule(passages_frame(0, 2, num_texts=1), num_injections=11)) == 2


def test_an_injection_larger_than_the_batch_is_refused(schedule):
    with pytest.raises(
        UserError, match=r"recipes\.<name>\.batch_size_sequences: 75 rows cannot hold the 76 texts"
    ):
        schedule(passages_frame(70, 60), batch_size=75)
    assert schedule(passages_frame(70, 60), batch_size=76)["batch_row"].max() == 75
