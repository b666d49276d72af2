"""Figures come in three formats, the same bytes each time, and are refused by name."""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from ke_steps import plot_figures
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import ESTIMATES
from ke_steps.job.errors import UserError
from ke_steps.settings.telling import PlotFiguresJob
from tests.invented.figures import FIGURES, INPUTS, drawing_job, figure_outputs
from tests.invented.study import SyntheticStudy

FORMATS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}


class Built(typing.NamedTuple):
    study: SyntheticStudy
    paths: dict[str, Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return a study with what one figure needs, and its tables."""
    variants = dict.fromkeys(("boost_p50_q1", "boost_p50_q2"), (400, 2000))
    root = tmp_path_factory.mktemp("study")
    study = SyntheticStudy(root, steps=(400, 2000), variants=variants, is_plain=True)
    return Built(study, study.build())


def draw(
    paths: dict[str, Path], folder: Path, settings: PlotFiguresJob, formats: typing.Iterable[str]
) -> list[Path]:
    outputs = [folder / f"{figure}.{kind}" for figure in settings.figures for kind in formats]
    plot_figures.run(
        **{name: paths[name] for name in (*INPUTS, "runs")},
        output_figures=outputs,
        **figure_outputs(folder, settings.figures),
        settings=settings,
    )
    return outputs


def test_figures_are_the_same_bytes_twice_in_every_format(built: Built, tmp_path: Path) -> None:
    few = drawing_job(built.study, ["resuscitation_by_boost"])
    first = draw(built.paths, tmp_path / "a", few, FORMATS)
    second = draw(built.paths, tmp_path / "b", few, FORMATS)
    assert len(first) == len(FORMATS)
    for path, again in zip(first, second, strict=True):
        content = path.read_bytes()
        assert content.startswith(FORMATS[path.suffix[1:]])
        assert len(content) > 5_000
        assert content == again.read_bytes(), path.name
    for name in ("narrow/resuscitation_by_boost.png", "resuscitation_by_boost.csv", "words.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    with Image.open(tmp_path / "a/narrow/resuscitation_by_boost.png") as picture:
        assert picture.width == 592
        assert picture.height > 3 * picture.width


def test_a_vector_picture_is_rounded_and_its_letters_are_not(built: Built, tmp_path: Path) -> None:
    (path,) = draw(built.paths, tmp_path, drawing_job(built.study, ["entropy_by_stage"]), ["svg"])
    svg = path.read_text()
    assert "scale(0.015625)" in svg
    assert not re.search(r"[1-9]\.\d{3}|<!--|\n.*\n", svg)


def test_the_data_of_a_figure_are_the_estimates_to_the_last_bit(
    built: Built, tmp_path: Path
) -> None:
    draw(built.paths, tmp_path, drawing_job(built.study, ["entropy_by_stage"]), ["svg"])
    data = pd.read_csv(tmp_path / "entropy_by_stage.csv", float_precision="round_trip")
    estimates = read_frame(built.paths["estimates"], ESTIMATES)
    expected = estimates[
        (estimates["quantity"] == "entropy_nats")
        & (estimates["group"] == "model")
        & (estimates["variant"] == "original")
    ]
    points = data[data["step"].notna()]
    for column in ("value", "low", "high", "num_items"):
        assert list(points[column]) == list(expected.sort_values("step")[column])
    words = json.loads((tmp_path / "words.json").read_text())["entropy_by_stage"]
    first, last = points["value"]
    expected_title = f"H falls from {first:.3f} to {last:.3f} nats over the stages of pretraining"
    assert words["title"] == expected_title


def test_every_name_in_the_settings_has_a_figure() -> None:
    assert set(plot_figures.FIGURES) == set(FIGURES)


def test_every_figure_has_a_caption_that_docutils_reads() -> None:
    folder = Path(plot_figures.__file__).parents[1] / "workflow" / "report"
    assert {path.stem for path in folder.glob("*.rst")} == {*FIGURES, "report", "workflow"}
    for figure in FIGURES:
        caption = (folder / f"{figure}.rst").read_text()
        assert len(caption) > 100
        assert caption.count("\n") == 1
        # Substitutions, emphasis and templates would change or break the text.
        assert not set(caption) & set("|*`{}"), figure


def test_outputs_that_disagree_with_the_settings_are_refused(built: Built, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="variants"):
        plot_figures.run(
            **{name: built.paths[name] for name in (*INPUTS, "runs")},
            output_figures=[tmp_path / "variants.svg"],
            output_narrow=[],
            output_data=[],
            output_words=tmp_path / "words.json",
            settings=drawing_job(built.study, ["entropy_by_stage"]),
        )


def test_a_figure_without_data_is_refused_by_name(built: Built, tmp_path: Path) -> None:
    lonely = dataclasses.replace(built.study, variants={"boost_p50_q2": (400, 2000)})
    with pytest.raises(UserError, match="figure resuscitation_by_boost: the tables hold nothing"):
        draw(built.paths, tmp_path, drawing_job(lonely, ["resuscitation_by_boost"]), ["svg"])
    assert not list(tmp_path.iterdir())
