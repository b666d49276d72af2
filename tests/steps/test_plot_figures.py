"""Every figure in three formats, the same bytes twice, and sensible for the smallest study."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest
from synthetic_study import SyntheticStudy

from ke_steps import plot_figures
from ke_steps._errors import UserError
from ke_steps._figures_entropy import spread_indices
from ke_steps.settings import FigureName, PlotFigures

FIGURES = typing.get_args(FigureName)
FORMATS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}


def draw(tables: dict[str, Path], folder: Path, formats: tuple[str, ...]) -> list[Path]:
    outputs = [folder / f"{figure}.{kind}" for figure in FIGURES for kind in formats]
    plot_figures.run(
        summary=tables["summary"],
        correlations=tables["correlations"],
        curves=tables["curves"],
        distributions=tables["distributions"],
        output_figures=outputs,
        settings=PlotFigures(figures=list(FIGURES)),
    )
    return outputs


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return SyntheticStudy(tmp_path_factory.mktemp("study")).build()


def test_every_name_in_the_settings_has_a_figure() -> None:
    assert set(plot_figures.FIGURES) == set(FIGURES)


def test_every_figure_has_a_caption_that_docutils_reads() -> None:
    folder = Path(plot_figures.__file__).parents[1] / "workflow" / "report"
    for figure in FIGURES:
        caption = (folder / f"{figure}.rst").read_text()
        assert len(caption) > 100
        # Substitutions, emphasis and templates would change or break the text.
        assert not set(caption) & set("|*`{}"), figure


def test_figures_come_in_three_formats_with_the_same_bytes_twice(
    tables: dict[str, Path], tmp_path: Path
) -> None:
    first = draw(tables, tmp_path / "a", tuple(FORMATS))
    second = draw(tables, tmp_path / "b", tuple(FORMATS))
    for path, again in zip(first, second, strict=True):
        content = path.read_bytes()
        assert content.startswith(FORMATS[path.suffix[1:]])
        assert len(content) > 5_000
        assert content == again.read_bytes(), path.name


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "study",
    [
        {"steps": (2000,), "seeds": (0,), "variants": {}},
        {"steps": (0,), "seeds": (0,), "variants": {}},
        {"models": ("olmo", "pythia"), "steps": (100, 2000), "num_layers": 12},
    ],
    ids=["one checkpoint", "untrained only", "two models"],
)
def test_small_and_wide_studies_draw_without_a_warning(
    study: dict[str, typing.Any], tmp_path: Path
) -> None:
    tables = SyntheticStudy(tmp_path, **study).build()
    for path in draw(tables, tmp_path / "figures", ("svg",)):
        assert path.stat().st_size > 5_000


def test_outputs_that_disagree_with_the_settings_are_refused(
    tables: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="variants"):
        plot_figures.run(
            summary=tables["summary"],
            correlations=tables["correlations"],
            curves=tables["curves"],
            distributions=tables["distributions"],
            output_figures=[tmp_path / "variants.svg"],
            settings=PlotFigures(figures=["entropy_by_stage"]),
        )


def test_spread_indices_keep_both_ends() -> None:
    assert spread_indices(3, 4) == [0, 1, 2]
    assert spread_indices(16, 4) == [0, 5, 10, 15]
    assert spread_indices(1, 4) == [0]
