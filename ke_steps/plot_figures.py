r"""Draw the figures of a study, each as SVG, PDF and PNG.

Reads the summary, runs, correlations, curves, distributions, rankings, novelty and retained curves
that ``summarize`` wrote. Runs that diverged are in no mean; a figure that has no others says so.
Each output is ``<figure>.svg``, ``.pdf`` or ``.png``; the file's name says
which figure it holds. Equal tables give equal bytes.

    python -m ke_steps.plot_figures --summary … --runs … --correlations … --curves … \
        --distributions … --rankings … --novelty … --retained … \
        --output-figures …/entropy_by_stage.svg \
        --settings '{"figures": ["entropy_by_stage"], "corpus": "pretraining", "variants": {}, \
        "recipes": ["baseline"]}'
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ke_steps import (
    _cli,
    _figures_comparisons,
    _figures_curves,
    _figures_entropy,
    _figures_learning,
    _figures_memories,
    _figures_resuscitation,
    _schemas,
    _style,
    _tables,
)
from ke_steps._errors import UserError
from ke_steps._figure_panels import Tables
from ke_steps._job_files import replacing
from ke_steps._runs import converged, diverged
from ke_steps.settings import FigureName, PlotFiguresJob

FIGURES: dict[FigureName, Callable[[Tables], Figure]] = {
    "entropy_by_stage": _figures_entropy.entropy_by_stage,
    "entropy_by_layer": _figures_entropy.entropy_by_layer,
    "entropy_by_measure": _figures_entropy.entropy_by_measure,
    "entropy_by_corpus": _figures_entropy.entropy_by_corpus,
    "attention_and_next_token_entropy": _figures_entropy.attention_and_next_token_entropy,
    "acquisition_and_forgetting": _figures_learning.acquisition_and_forgetting,
    "performance_by_stage": _figures_learning.performance_by_stage,
    "probe_curves": _figures_curves.probe_curves,
    "knowledge_by_injection": _figures_curves.knowledge_by_injection,
    "variants": _figures_comparisons.variants,
    "resuscitation_by_boost": _figures_resuscitation.resuscitation_by_boost,
    "resuscitation_by_quantile": _figures_resuscitation.resuscitation_by_quantile,
    "resuscitation_by_stage": _figures_resuscitation.resuscitation_by_stage,
    "attention_temperature": _figures_resuscitation.attention_temperature,
    "learning_by_recipe": _figures_comparisons.learning_by_recipe,
    "learning_by_model": _figures_comparisons.learning_by_model,
    "retention_over_time": _figures_curves.retention_over_time,
    "entropy_and_learning": _figures_learning.entropy_and_learning,
    "coefficient_distributions": _figures_entropy.coefficient_distributions,
    "novelty_by_corpus": _figures_comparisons.novelty_by_corpus,
    "update_map": _figures_memories.update_map,
    "ranking_changes": _figures_memories.ranking_changes,
}


def run(
    *,
    summary: Path,
    runs: Path,
    correlations: Path,
    curves: Path,
    distributions: Path,
    rankings: Path,
    novelty: Path,
    retained: Path,
    output_figures: list[Path],
    settings: PlotFiguresJob,
) -> None:
    """Write every figure of the settings in the formats that the outputs name."""
    unknown = {path.stem for path in output_figures} ^ set(settings.figures)
    if unknown:
        raise UserError(
            f"figures and --output-figures disagree about: {', '.join(sorted(unknown))}"
        )
    every_run = _tables.read_frame(runs, _schemas.RUNS)
    every_curve = _tables.read_frame(curves, _schemas.CURVES)
    tables = Tables(
        summary=converged(_tables.read_frame(summary, _schemas.SUMMARY), every_run),
        correlations=_tables.read_frame(correlations, _schemas.CORRELATIONS),
        curves=converged(every_curve, every_run),
        diverged_curves=diverged(every_curve, every_run),
        distributions=_tables.read_frame(distributions, _schemas.DISTRIBUTIONS),
        rankings=_tables.read_frame(rankings, _schemas.RANKINGS),
        novelty=_tables.read_frame(novelty, _schemas.NOVELTY_QUANTILES),
        retained=converged(_tables.read_frame(retained, _schemas.RETAINED_CURVES), every_run),
        corpus=settings.corpus,
        variants=settings.variants,
        recipes=settings.recipes,
    )
    _style.use_style()
    for name in settings.figures:
        try:
            figure = FIGURES[name](tables)
        except _style.NothingToShowError as error:
            if not every_run["diverged_at_step"].notna().any():
                raise UserError(f"figure {name}: {error}") from error
            figure = _style.words("Nothing to show: too many of its runs diverged.")
        _style.settle(figure)
        for path in output_figures:
            if path.stem == name:
                with replacing(path) as beside:
                    _style.save(figure, beside, path.suffix[1:])


if __name__ == "__main__":
    _cli.main(run)
