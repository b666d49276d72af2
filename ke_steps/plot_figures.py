r"""Draw the figures of a study, each as SVG, PDF and PNG.

Reads the summary, correlations, curves and distributions that ``summarize`` wrote. Each output is
``<figure>.svg``, ``.pdf`` or ``.png``; the file's name says which figure it holds. Equal tables
give equal bytes.

    python -m ke_steps.plot_figures --summary … --correlations … --curves … --distributions … \
        --output-figures …/entropy_by_stage.svg --settings '{"figures": ["entropy_by_stage"]}'
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ke_steps import _cli, _figures_entropy, _figures_learning, _figures_variants, _style, _tables
from ke_steps._errors import UserError
from ke_steps._figure_data import Tables
from ke_steps.settings import FigureName, PlotFigures

FIGURES: dict[FigureName, Callable[[Tables], Figure]] = {
    "entropy_by_stage": _figures_entropy.entropy_by_stage,
    "entropy_by_layer": _figures_entropy.entropy_by_layer,
    "coefficient_distributions": _figures_entropy.coefficient_distributions,
    "acquisition_and_forgetting": _figures_learning.acquisition_and_forgetting,
    "performance_by_stage": _figures_learning.performance_by_stage,
    "probe_curves": _figures_learning.probe_curves,
    "variants": _figures_variants.variants,
    "entropy_and_learning": _figures_learning.entropy_and_learning,
}


def run(
    *,
    summary: Path,
    correlations: Path,
    curves: Path,
    distributions: Path,
    output_figures: list[Path],
    settings: PlotFigures,
) -> None:
    """Write every figure of the settings in the formats that the outputs name."""
    _style.use_style()
    tables = Tables(
        _tables.read_frame(summary, _tables.SUMMARY),
        _tables.read_frame(correlations, _tables.CORRELATIONS),
        _tables.read_frame(curves, _tables.CURVES),
        _tables.read_frame(distributions, _tables.DISTRIBUTIONS),
    )
    unknown = {path.stem for path in output_figures} ^ set(settings.figures)
    if unknown:
        raise UserError(
            f"figures and --output-figures disagree about: {', '.join(sorted(unknown))}"
        )
    for name in settings.figures:
        figure = FIGURES[name](tables)
        for path in output_figures:
            if path.stem == name:
                with _tables.replacing(path) as beside:
                    _style.save(figure, beside, path.suffix[1:])


if __name__ == "__main__":
    _cli.main(run)
