"""Figures show the numbers of the tables, in three formats, the same bytes each time."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from ke_steps import plot_figures
from ke_steps.figures import style
from ke_steps.figures.comparisons import heights
from ke_steps.figures.curves import after_injections
from ke_steps.figures.memories import consecutive
from ke_steps.figures.panels import Tables, first_recipes, spread_indices
from ke_steps.figures.resuscitation import best_resuscitation, widest_resuscitations
from ke_steps.figures.sweeps import sweeps
from ke_steps.job.errors import UserError
from ke_steps.settings.telling import PlotFiguresJob
from tests.invented.figures import FIGURES, INPUTS, entry, job, read
from tests.invented.study import CORPUS, SyntheticStudy

FORMATS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}

STEPS = (0, 400, 2000)

VARIANTS = {
    "boost_p50_q1": (2000,),
    "boost_p50_q2": (400, 2000),
    "boost_p25_q2": (2000,),
    "temperature1.5": (2000,),
    "temperature2": (2000,),
}

MAIN = "baseline"

MODEL = {"group": "model", "variant": "original"}


def draw(
    paths: dict[str, Path], folder: Path, settings: PlotFiguresJob, formats: typing.Iterable[str]
) -> list[Path]:
    outputs = [folder / f"{figure}.{kind}" for figure in settings.figures for kind in formats]
    plot_figures.run(
        **{name: paths[name] for name in (*INPUTS, "runs")},
        output_figures=outputs,
        settings=settings,
    )
    return outputs


class Built(typing.NamedTuple):
    study: SyntheticStudy
    paths: dict[str, Path]
    tables: Tables


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """One model, two recipes, both kinds of variants."""
    study = SyntheticStudy(
        tmp_path_factory.mktemp("study"),
        models=("olmo",),
        steps=STEPS,
        variants=VARIANTS,
        recipes=("baseline", "c4"),
        num_layers=2,
    )
    paths = study.build()
    return Built(study, paths, read(study, paths))


@pytest.fixture(scope="module")
def tables(built: Built) -> Tables:
    """The same with a second model."""
    twice = {}
    for name in INPUTS:
        frame = getattr(built.tables, name)
        twice[name] = pd.concat([frame, frame.assign(model="pythia")], ignore_index=True)
    return built.tables._replace(**twice)


@pytest.fixture(autouse=True)
def _style_used() -> None:
    style.use_style()


def plotted(axis: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """The labelled lines of a panel, and its only line where none has a label."""
    lines = {str(line.get_label()): line for line in axis.lines}
    named = {name: line for name, line in lines.items() if not name.startswith("_")}
    own = [line for line in axis.lines if len(line.get_xdata()) and line.get_linestyle() == "-"]
    return {
        name: (list(line.get_xdata()), list(line.get_ydata()))
        for name, line in (named or {"": own[0]}).items()
    }


def means(table: pd.DataFrame, x: str, y: str, **where: typing.Any) -> dict[float, float]:
    """Mean of ``y`` over seeds by ``x``, of the rows where columns have these values."""
    for column, value in where.items():
        chosen = table[column].isna() if value is None else table[column] == value
        table = table[chosen]
    return table.groupby(x)[y].mean().to_dict()


def check(axis: Axes, label: str, expected: dict[float, float]) -> None:
    x, y = plotted(axis)[label]
    assert len(expected) > 0
    assert x == pytest.approx(list(expected))
    assert y == pytest.approx(list(expected.values()))


def title(axis: Axes) -> str:
    return axis.get_title(loc="left")


class ByStage(typing.NamedTuple):
    """A line that a figure draws over the stages of the model olmo, and where it is told."""

    figure: str
    panel: int
    label: str
    quantity: str
    group: str = "model"
    recipe: str | None = None
    variant: str = "original"


BY_STAGE = [
    ByStage("entropy_by_stage", 0, "", "entropy_nats"),
    ByStage("entropy_by_measure", 0, "", "entropy_nats"),
    ByStage("entropy_by_measure", 1, "", "positive_entropy_nats"),
    ByStage("entropy_by_measure", 2, "", "relu_gate_entropy_nats"),
    ByStage("entropy_by_measure", 3, "", "contribution_entropy_nats"),
    ByStage("entropy_by_measure", 4, "", "attribution_entropy_nats"),
    ByStage("entropy_by_corpus", 0, CORPUS, "entropy_nats"),
    ByStage("entropy_by_corpus", 0, "c4", "entropy_nats", "c4/model"),
    ByStage("attention_and_next_token_entropy", 0, "", "attention_entropy_nats"),
    ByStage("attention_and_next_token_entropy", 1, "", "next_token_entropy_nats"),
    ByStage("acquisition_and_forgetting", 0, "once", "acquisition", "once/all", MAIN),
    ByStage("acquisition_and_forgetting", 1, "sciq", "forgetting", "sciq", MAIN),
    ByStage("acquisition_and_forgetting", 1, "mean over tasks", "forgetting", "mean", MAIN),
    ByStage("performance_by_stage", 0, "before learning", "performance_before", "all/all", "c4"),
    ByStage("performance_by_stage", 0, "after learning", "performance_after", "all/all", MAIN),
    ByStage("performance_by_stage", 1, "before learning", "accuracy_before", "mean"),
    ByStage("performance_by_stage", 1, "after learning", "accuracy_after", "mean", MAIN),
    ByStage("learning_by_recipe", 0, "c4", "acquisition", "all/all", "c4"),
    ByStage("learning_by_recipe", 1, "baseline", "forgetting", "mean", MAIN),
    ByStage("learning_by_recipe", 2, "c4", "performance_after", "all/all", "c4"),
    ByStage("learning_by_recipe", 2, "before learning", "performance_before", "all/all", "c4"),
    ByStage("learning_by_recipe", 3, "c4", "accuracy_after", "mean", "c4"),
    ByStage("learning_by_recipe", 3, "before learning", "accuracy_before", "mean"),
    ByStage("resuscitation_by_stage", 0, "original", "entropy_nats"),
    ByStage(
        "resuscitation_by_stage", 1, "boost_p50_q2", "acquisition", "all/all", MAIN,
        "boost_p50_q2",
    ),
    ByStage(
        "resuscitation_by_stage", 4, "boost_p50_q2", "accuracy_after", "mean", MAIN,
        "boost_p50_q2",
    ),
    ByStage("update_map", 0, "original", "memory_update_entropy_nats", "model", MAIN),
    ByStage(
        "update_map", 1, "boost_p50_q2", "key_update_entropy_nats", "model", MAIN,
        "boost_p50_q2",
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(built: Built, tables: Tables) -> dict[str, Figure]:
    """Every figure of the study, of two models only where they are what is compared."""
    return draw_all(built, tables)


def draw_all(built: Built, tables: Tables) -> dict[str, Figure]:
    style.use_style()
    return {
        name: plot_figures.FIGURES[name](tables if name == "learning_by_model" else built.tables)
        for name in FIGURES
    }


@pytest.mark.parametrize("line", BY_STAGE, ids=lambda line: f"{line.figure}-{line.quantity}")
def test_lines_over_stages_are_the_summary(
    drawn: dict[str, Figure], tables: Tables, line: ByStage
) -> None:
    where = line._asdict()
    for key in ("figure", "panel", "label"):
        del where[key]
    expected = means(tables.summary, "step", "value", model="olmo", **where)
    check(drawn[line.figure].axes[line.panel], line.label, expected)


def test_error_bars_reach_over_the_seeds(drawn: dict[str, Figure], tables: Tables) -> None:
    rows = tables.summary
    rows = rows[(rows["model"] == "olmo") & (rows["recipe"] == "c4")]
    rows = rows[(rows["variant"] == "original") & (rows["quantity"] == "accuracy_after")]
    ends = rows[rows["group"] == "mean"].groupby("step")["value"].agg(["min", "max"])
    bars = drawn["learning_by_recipe"].axes[3].collections[2].get_segments()
    np.testing.assert_allclose([bar[:, 1] for bar in bars], ends.to_numpy())


def test_changes_count_from_the_first_trained_stage(
    drawn: dict[str, Figure], tables: Tables
) -> None:
    level = means(tables.summary, "step", "value", model="olmo", quantity="entropy_nats", **MODEL)
    drop = level[2000] - level[400]
    lines = drawn["entropy_by_corpus"].axes[1].lines
    assert any(list(line.get_ydata()) == pytest.approx([0, drop]) for line in lines)
    lines = drawn["entropy_by_measure"].axes[5].lines
    assert any(list(line.get_ydata()) == pytest.approx([0, drop / level[400]]) for line in lines)


def test_layers_of_the_main_corpus_alone_are_drawn(
    drawn: dict[str, Figure], tables: Tables
) -> None:
    axis = drawn["entropy_by_layer"].axes[0]
    layers = {
        layer: means(
            tables.summary, "step", "value", model="olmo", quantity="entropy_nats",
            group=f"layer {layer}", variant="original",
        )[2000]
        for layer in (0, 1)
    }  # fmt: skip
    check(axis, "step 2,000", layers)


@pytest.mark.parametrize(
    ("figure", "strengths", "shared"),
    [
        ("resuscitation_by_boost", {1.0: "boost_p50_q1", 2.0: "boost_p50_q2"}, "p = 50 %"),
        ("resuscitation_by_quantile", {0.25: "boost_p25_q2", 0.5: "boost_p50_q2"}, "q = 2"),
    ],
)
def test_sweeps_are_drawn_at_stages_with_two_strengths(
    drawn: dict[str, Figure],
    tables: Tables,
    figure: str,
    strengths: dict[float, str],
    shared: str,
) -> None:
    panels = [
        ("knowledge entropy H", "entropy_nats", "model", None),
        ("acquisition A", "acquisition", "all/all", MAIN),
        ("forgetting F", "forgetting", "mean", MAIN),
        ("K after learning", "performance_after", "all/all", MAIN),
        ("P after learning", "accuracy_after", "mean", MAIN),
    ]
    for axis, (name, quantity, group, recipe) in zip(drawn[figure].axes, panels, strict=False):
        where = {"model": "olmo", "quantity": quantity, "group": group, "recipe": recipe}
        values = {
            variant: means(tables.summary, "step", "value", variant=variant, **where)[2000]
            for variant in ("original", *strengths.values())
        }
        assert title(axis).endswith(name)
        assert set(plotted(axis)) == {"2,000"}, "step 400 has one strength alone"
        check(axis, "2,000", {x: values[variant] for x, variant in strengths.items()})
        marks = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
        assert ([0], [pytest.approx(values["original"])]) in marks
        assert axis.get_xticklabels()[0].get_text() == "none"
    assert title(drawn[figure].axes[0]) == f"{shared}\nknowledge entropy H"


def test_temperatures_are_drawn_from_the_original_and_beside_the_best_resuscitation(
    drawn: dict[str, Figure], tables: Tables
) -> None:
    where = {"model": "olmo", "quantity": "performance_after", "group": "all/all"}
    where |= {"recipe": "baseline"}
    values = {
        variant: means(tables.summary, "step", "value", variant=variant, **where)[2000]
        for variant in ("original", *VARIANTS)
    }
    axis = drawn["attention_temperature"].axes[3]
    names = {1.0: "original", 1.5: "temperature1.5", 2.0: "temperature2"}
    check(axis, "2,000", {x: values[variant] for x, variant in names.items()})
    best = max((name for name in VARIANTS if name.startswith("boost")), key=values.__getitem__)
    assert best_resuscitation(tables, "olmo", MAIN) == best
    marks = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
    assert ([2.5], [pytest.approx(values[best])]) in marks
    legend = drawn["attention_temperature"].axes[5].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["2,000", "original", best]


def test_the_best_resuscitation_gains_most_over_the_original_at_the_tempered_stages() -> None:
    # raised: K of -4 at step 2 is the highest, but only 1 above its original; spared: 2 above.
    rows = [
        ("original", 1, -8.0), ("original", 2, -5.0), ("temperature2", 1, -8.0),
        ("temperature2", 2, -5.0), ("boost_p50_q1", 2, -4.0), ("boost_p50_q2", 1, -6.0),
        ("boost_p50_q3", 3, 0.0),
    ]  # fmt: skip
    summary = pd.DataFrame(rows, columns=["variant", "step", "value"]).assign(
        model="m", recipe="r", seed=0, group="all/all", quantity="performance_after",
        low=np.nan, high=np.nan,
    )  # fmt: skip
    study = SyntheticStudy(
        Path("unused"), variants={row[0]: (1,) for row in rows[2:]}, recipes=("r",)
    )
    nothing = {name: schema.empty_table().to_pandas() for name, schema in INPUTS.items()}
    settings = job(study, FIGURES)
    tables = Tables(
        **(nothing | {"summary": summary, "diverged_curves": nothing["curves"]}),
        corpus=CORPUS, variants=settings.variants, recipes=settings.recipes,
    )  # fmt: skip
    assert best_resuscitation(tables, "m", "r") == "boost_p50_q2"
    assert widest_resuscitations(tables, "m", "r") == [
        "boost_p50_q1", "boost_p50_q2", "boost_p50_q3",
    ]  # fmt: skip


def test_models_are_compared_over_the_parts_of_their_courses(
    drawn: dict[str, Figure], tables: Tables
) -> None:
    where = {"model": "pythia", "variant": "original", "recipe": "baseline"}
    values = means(tables.summary, "step", "value", quantity="forgetting", group="mean", **where)
    course = {step / 2000: value for step, value in values.items()}
    check(drawn["learning_by_model"].axes[1], "pythia", course)


def test_probe_curves_are_the_means_over_seeds(drawn: dict[str, Figure], tables: Tables) -> None:
    axis = drawn["probe_curves"].axes[1]
    assert title(axis) == "once"
    x, y = plotted(axis)["400"]
    rows = tables.curves[
        (tables.curves["model"] == "olmo")
        & (tables.curves["variant"] == "original")
        & (tables.curves["recipe"] == MAIN)
        & (tables.curves["step"] == 400)
        & (tables.curves["condition"] == "once")
    ]
    assert len(x) == len(rows.groupby(["train_step", "moment"]))
    assert x == sorted(x)
    start = rows.loc[rows["moment"] == "start", "performance"].mean()
    end = rows.loc[rows["moment"] == "end", "performance"].mean()
    assert (x[0], x[-1]) == (0, 60)
    assert (y[0], y[-1]) == (pytest.approx(start), pytest.approx(end))


def test_knowledge_after_each_injection_is_relative_to_the_start_of_its_run() -> None:
    curves = pd.DataFrame(
        [
            (10, 0, "start", 0, -8.0), (10, 0, "before", 4, -7.0), (10, 0, "after", 5, -6.0),
            (10, 0, "after", 10, -4.0), (10, 0, "end", 12, -5.0),
            (10, 1, "start", 0, -4.0), (10, 1, "after", 5, -2.0), (10, 1, "after", 10, -1.0),
        ],
        columns=["step", "seed", "moment", "train_step", "performance"],
    )  # fmt: skip
    after = after_injections(curves)
    assert list(after["injection"]) == [1, 2, 1, 2]
    assert list(after["performance"]) == [-6, -4, -2, -1]
    assert list(after["acquisition"]) == [0.25, 0.5, 0.5, 0.75]


def test_knowledge_by_injection_shows_acquisition_above_performance(
    drawn: dict[str, Figure], tables: Tables
) -> None:
    where = {"model": "olmo", "variant": "original", "recipe": "baseline", "step": 2000}
    where |= {"condition": "paraphrase"}
    reached = means(tables.curves, "train_step", "performance", moment="after", **where)
    numbered = dict(enumerate(reached.values(), start=1))
    start = means(tables.curves, "train_step", "performance", moment="start", **where)[0]
    figure = drawn["knowledge_by_injection"]
    check(figure.axes[2], "2,000", numbered)
    # Both seeds start from the same K, so that the mean of their A is the A of their mean K.
    check(figure.axes[0], "2,000", {k: 1 - value / start for k, value in numbered.items()})


def test_retention_starts_after_the_peak(drawn: dict[str, Figure], tables: Tables) -> None:
    where = {"model": "olmo", "variant": "original", "recipe": "baseline", "step": 400}
    left = means(tables.retained, "steps_since", "retained", condition="once", **where)
    assert left.pop(0) == 1
    axis = drawn["retention_over_time"].axes[1]
    check(axis, "400", left)
    assert axis.get_xscale() == "log"


def test_novelty_is_a_distribution_on_a_logarithmic_axis(
    drawn: dict[str, Figure], tables: Tables
) -> None:
    rows = tables.novelty[tables.novelty["model"] == "olmo"]
    rows = rows[rows["corpus"] == "continual"]
    axis = drawn["novelty_by_corpus"].axes[0]
    x, y = plotted(axis)["continual"]
    assert x == list(rows["perplexity"])
    assert y == list(rows["quantile"])
    assert axis.get_xscale() == "log"


def test_update_correlations_are_drawn_over_the_layers(
    drawn: dict[str, Figure], tables: Tables
) -> None:
    where = {"model": "olmo", "recipe": "baseline", "variant": "original", "step": 400}
    where |= {"quantity": "key_update_correlation_spearman"}
    groups = {layer: {"group": f"layer {layer}"} for layer in (0, 1)}
    layers = {
        layer: means(tables.summary, "step", "value", **group, **where)[400]
        for layer, group in groups.items()
    }
    check(drawn["update_map"].axes[3], "400", layers)


def test_rankings_go_from_each_stage_to_the_next(drawn: dict[str, Figure], tables: Tables) -> None:
    rows = tables.rankings[tables.rankings["model"] == "olmo"]
    for axis, column in zip(
        drawn["ranking_changes"].axes,
        ("spearman", "most_active_kept", "least_active_kept"),
        strict=False,
    ):
        check(axis, "mean over layers", means(rows, "step_to", column, layer=None))
        check(axis, "layer 1", means(rows, "step_to", column, layer=1))


def test_rankings_over_several_stages_are_left_out() -> None:
    rows = pd.DataFrame(
        [("m", 0, 5, 0), ("m", 5, 9, 0), ("m", 9, 20, 0), ("m", 5, 20, 0), ("n", 5, 20, 0)],
        columns=["model", "step_from", "step_to", "layer"],
    )
    steps = consecutive(rows)[["model", "step_from", "step_to"]]
    expected = [("m", 0, 5), ("m", 5, 9), ("m", 9, 20), ("n", 5, 20)]
    assert list(steps.itertuples(index=False, name=None)) == expected


def test_variants_are_listed_in_the_order_of_the_config(
    drawn: dict[str, Figure], tables: Tables
) -> None:
    places = heights(tables, "olmo")
    assert places == {
        "original": {400: 0, 2000: 1},
        "boost_p50_q1": {2000: 2},
        "boost_p50_q2": {400: 3, 2000: 4},
        "boost_p25_q2": {2000: 5},
        "temperature1.5": {2000: 6},
        "temperature2": {2000: 7},
    }
    where = {"model": "olmo", "recipe": "baseline", "quantity": "forgetting", "group": "mean"}
    expected = {
        (means(tables.summary, "step", "value", variant=variant, **where)[step], height)
        for variant, steps in places.items()
        for step, height in steps.items()
    }
    axis = drawn["variants"].axes[2]
    points = {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in axis.lines
        if line.get_marker() == "o"
    }
    assert sorted(points) == [pytest.approx(point) for point in sorted(expected)]


def test_stages_of_entropy_and_learning_are_points(
    drawn: dict[str, Figure], tables: Tables
) -> None:
    where = {"model": "olmo", "variant": "original"}
    h = means(tables.summary, "step", "value", quantity="entropy_nats", group="model", **where)
    a = means(
        tables.summary, "step", "value", quantity="acquisition", group="all/all",
        recipe="baseline", **where,
    )  # fmt: skip
    check(drawn["entropy_and_learning"].axes[0], "2,000", {h[2000]: a[2000]})


def test_distributions_are_the_table(drawn: dict[str, Figure], tables: Tables) -> None:
    where = {"model": "olmo", "variant": "original", "layer": 1, "step": 400}
    curve = means(tables.distributions, "quantile", "relative_activity", **where)
    check(drawn["coefficient_distributions"].axes[1], "400", curve)


def test_what_is_missing_at_some_stages_is_left_out(tables: Tables) -> None:
    """The second recipe, the sweeps and the second model each lose something."""
    summary = tables.summary
    lost = (summary["recipe"] == "c4") & (summary["step"] != 400)
    lost |= (summary["model"] == "pythia") & summary["recipe"].notna() & (summary["step"] == 400)
    lost |= (summary["model"] == "pythia") & (summary["variant"] == "boost_p50_q1")
    lost |= (summary["model"] == "pythia") & summary["quantity"].str.startswith("attention")
    poorer = tables._replace(summary=summary[~lost])
    figures = {
        name: plot_figures.FIGURES[name](poorer)
        for name in (
            "learning_by_recipe",
            "learning_by_model",
            "resuscitation_by_boost",
            "attention_and_next_token_entropy",
            "variants",
        )
    }
    assert plotted(figures["learning_by_recipe"].axes[0])["c4"][0] == [400]
    assert plotted(figures["learning_by_model"].axes[0])["pythia"][0] == [0, 1]
    assert len(figures["resuscitation_by_boost"].axes) == 6
    assert title(figures["resuscitation_by_boost"].axes[0]).startswith("olmo, p = 50 %")
    panels = [title(axis) for axis in figures["attention_and_next_token_entropy"].axes]
    assert panels[2:] == ["pythia · attention entropy", "pythia · next-token entropy"]
    assert "boost_p50_q1" not in heights(poorer, "pythia")


def names_of(study: SyntheticStudy) -> Iterator[str]:
    """The figures that these invented studies have data for."""
    alone = {"resuscitation_by_boost", "resuscitation_by_quantile", "attention_temperature"}
    alone |= {"learning_by_recipe", "learning_by_model"}
    if not study.variants:
        alone |= {"variants", "resuscitation_by_stage"}
    if len(study.steps) == 1:
        alone |= {"ranking_changes"}
    if study.is_plain:
        alone |= {
            "entropy_by_corpus", "attention_and_next_token_entropy", "novelty_by_corpus",
            "retention_over_time", "update_map",
        }  # fmt: skip
    return (name for name in FIGURES if name not in alone)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "options",
    [
        {"steps": (2000,), "seeds": (0,), "variants": {}, "num_layers": 2},
        {"steps": (0,), "seeds": (0,), "variants": {}, "num_layers": 1, "is_plain": True},
    ],
    ids=["one checkpoint", "untrained only"],
)
def test_the_smallest_studies_draw_without_a_warning(
    options: dict[str, typing.Any], tmp_path: Path
) -> None:
    study = SyntheticStudy(tmp_path, **options)
    tables = read(study, study.build())
    for name in names_of(study):
        style.settle(plot_figures.FIGURES[name](tables))


def test_figures_are_the_same_bytes_twice_in_every_format(built: Built, tmp_path: Path) -> None:
    few = job(built.study, ["resuscitation_by_boost"])
    first = draw(built.paths, tmp_path / "a", few, FORMATS)
    second = draw(built.paths, tmp_path / "b", few, FORMATS)
    assert len(first) == len(FORMATS)
    for path, again in zip(first, second, strict=True):
        content = path.read_bytes()
        assert content.startswith(FORMATS[path.suffix[1:]])
        assert len(content) > 5_000
        assert content == again.read_bytes(), path.name


def contents(figure: Figure) -> list[typing.Any]:
    """Everything that was drawn, in its order: titles, labels, lines and error bars."""
    found: list[typing.Any] = []
    for axis in figure.axes:
        found += [title(axis), axis.get_xlabel(), axis.get_ylabel(), axis.get_xscale()]
        found += [
            (line.get_label(), line.get_xydata().tolist(), to_hex(line.get_color()))
            for line in axis.lines
            if not str(line.get_label()).startswith("_")
        ]
        found += [line.get_xydata().tolist() for line in axis.lines]
        found += [
            [segment.tolist() for segment in bars.get_segments()]
            for bars in axis.collections
            if isinstance(bars, LineCollection)
        ]
    legends = [*figure.legends, *filter(None, (axis.get_legend() for axis in figure.axes))]
    return [*found, *(text.get_text() for legend in legends for text in legend.get_texts())]


def test_every_figure_is_drawn_alike_twice(
    drawn: dict[str, Figure], built: Built, tables: Tables
) -> None:
    again = draw_all(built, tables)
    for name, figure in drawn.items():
        first, second = contents(figure), contents(again[name])
        assert len(first) > 5
        assert repr(first) == repr(second), name


def test_every_name_in_the_settings_has_a_figure() -> None:
    assert set(plot_figures.FIGURES) == set(FIGURES)


def test_every_figure_has_a_caption_that_docutils_reads() -> None:
    folder = Path(plot_figures.__file__).parents[1] / "workflow" / "report"
    assert {path.stem for path in folder.glob("*.rst")} == {*FIGURES, "report"}
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
            settings=job(built.study, ["entropy_by_stage"]),
        )


def test_a_figure_without_data_is_refused_by_name(built: Built, tmp_path: Path) -> None:
    lonely = dataclasses.replace(built.study, variants={"boost_p50_q2": (400, 2000)})
    with pytest.raises(UserError, match="figure resuscitation_by_boost: the tables hold nothing"):
        draw(built.paths, tmp_path, job(lonely, ["resuscitation_by_boost"]), ["svg"])
    assert not list(tmp_path.iterdir())


def test_sweeps_are_alike_but_for_the_number_swept() -> None:
    capped = {"max_multiplier": 20.0}
    variants = {
        "a": entry("boost_p50_q1"),
        "b": entry("boost_p50_q2"),
        "c": entry("boost_p50_q1") | capped,
        "d": entry("boost_p50_q3") | capped,
        "e": entry("boost_p90_q2"),
        "f": entry("boost_p50_q9") | {"rows": "key"},
        "g": entry("temperature2"),
    }
    settings = PlotFiguresJob.model_validate(
        {"figures": [], "corpus": "c", "variants": variants, "recipes": []}
    )
    assert [tuple(sweep) for sweep in sweeps(settings.variants, "boost")] == [
        ("p = 50 %", {"a": 1, "b": 2}),
        ("p = 50 %, at most × 20", {"c": 1, "d": 3}),
    ]
    assert [tuple(sweep) for sweep in sweeps(settings.variants, "quantile")] == [
        ("q = 2", {"b": 0.5, "e": 0.9})
    ]


def test_the_main_recipe_is_the_first_of_the_config_that_was_run() -> None:
    rows = pd.DataFrame(
        [("m", "late"), ("m", "early"), ("n", "late"), ("n", None), ("o", None)],
        columns=["model", "recipe"],
    )
    assert first_recipes(rows, ["early", "late"]) == [("m", "early"), ("n", "late")]
    assert first_recipes(rows, ["late", "early"]) == [("m", "late"), ("n", "late")]


def test_lines_of_many_names_differ_in_colour_or_marker() -> None:
    looks = style.line_looks(f"variant {number}" for number in range(25))
    assert len({(look["colour"], look["marker"]) for look in looks.values()}) == 25


def test_spread_indices_keep_both_ends() -> None:
    assert spread_indices(3, 4) == [0, 1, 2]
    assert spread_indices(16, 4) == [0, 5, 10, 15]
    assert spread_indices(1, 4) == [0]
