r"""Draw the figures of a study, each as SVG, PDF and PNG.

Reads the summary, its estimates, families, phases, frontiers, effects, runs, correlations, what
goes with entropy between runs, curves, distributions, rankings, novelty and retained curves that
``summarize`` wrote. Points and error bars are the estimates; the seeds beside them, thin dots, are
the summary's. Runs that diverged are in no mean; a figure that has no others says so. Each output
is ``<figure>.svg``, ``.pdf`` or ``.png``; the file's name says which figure it holds. Equal tables
give equal bytes.

    python -m ke_steps.plot_figures --summary … --estimates … --families … --phases … \
        --frontiers … --effects … --runs … --correlations … --between-runs … --curves … \
        --distributions … --rankings … --novelty … --retained … \
        --output-figures …/entropy_by_stage.svg \
        --settings '{"figures": ["entropy_by_stage"], "confidence": 0.95, \
        "main_corpora": {"tiny": "pretraining"}, "variants": {}, "recipes": ["baseline"]}'
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import (
    BETWEEN_RUNS,
    CORRELATIONS,
    CURVES,
    DISTRIBUTIONS,
    EFFECTS,
    ESTIMATES,
    FAMILIES,
    FRONTIERS,
    NOVELTY_QUANTILES,
    PHASES,
    RANKINGS,
    RETAINED_CURVES,
    RUNS,
    SUMMARY,
)
from ke_steps.figures import style
from ke_steps.figures.between_runs import entropy_and_learning_between_runs
from ke_steps.figures.comparisons import (
    learning_by_model,
    learning_by_recipe,
    novelty_by_corpus,
    variants,
)
from ke_steps.figures.curves import knowledge_by_injection, probe_curves, retention_over_time
from ke_steps.figures.effects import gauge_and_function
from ke_steps.figures.entropy import (
    attention_and_next_token_entropy,
    coefficient_distributions,
    entropy_by_corpus,
    entropy_by_layer,
    entropy_by_measure,
    entropy_by_stage,
)
from ke_steps.figures.frontiers import learning_frontiers
from ke_steps.figures.learning import (
    acquisition_and_forgetting,
    entropy_and_learning,
    performance_by_stage,
)
from ke_steps.figures.memories import ranking_changes, update_map
from ke_steps.figures.panels import Tables
from ke_steps.figures.phases import entropy_by_phase
from ke_steps.figures.resuscitation import (
    attention_temperature,
    resuscitation_by_boost,
    resuscitation_by_quantile,
    resuscitation_by_stage,
)
from ke_steps.figures.rivals import rivals_by_stage
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import replacing
from ke_steps.settings.telling import FigureName, PlotFiguresJob
from ke_steps.summary.runs import converged, diverged

FIGURES: dict[FigureName, Callable[[Tables], Figure]] = {
    "entropy_by_stage": entropy_by_stage,
    "entropy_by_layer": entropy_by_layer,
    "entropy_by_measure": entropy_by_measure,
    "entropy_by_corpus": entropy_by_corpus,
    "entropy_by_phase": entropy_by_phase,
    "attention_and_next_token_entropy": attention_and_next_token_entropy,
    "rivals_by_stage": rivals_by_stage,
    "acquisition_and_forgetting": acquisition_and_forgetting,
    "performance_by_stage": performance_by_stage,
    "probe_curves": probe_curves,
    "knowledge_by_injection": knowledge_by_injection,
    "variants": variants,
    "resuscitation_by_boost": resuscitation_by_boost,
    "resuscitation_by_quantile": resuscitation_by_quantile,
    "resuscitation_by_stage": resuscitation_by_stage,
    "attention_temperature": attention_temperature,
    "learning_by_recipe": learning_by_recipe,
    "learning_by_model": learning_by_model,
    "learning_frontiers": learning_frontiers,
    "gauge_and_function": gauge_and_function,
    "retention_over_time": retention_over_time,
    "entropy_and_learning": entropy_and_learning,
    "entropy_and_learning_between_runs": entropy_and_learning_between_runs,
    "coefficient_distributions": coefficient_distributions,
    "novelty_by_corpus": novelty_by_corpus,
    "update_map": update_map,
    "ranking_changes": ranking_changes,
}


def run(
    *,
    summary: Path,
    estimates: Path,
    families: Path,
    phases: Path,
    frontiers: Path,
    effects: Path,
    runs: Path,
    correlations: Path,
    between_runs: Path,
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
    every_run = read_frame(runs, RUNS)
    every_curve = read_frame(curves, CURVES)
    tables = Tables(
        summary=converged(read_frame(summary, SUMMARY), every_run),
        estimates=read_frame(estimates, ESTIMATES),
        families=read_frame(families, FAMILIES),
        phases=read_frame(phases, PHASES),
        frontiers=read_frame(frontiers, FRONTIERS),
        effects=read_frame(effects, EFFECTS),
        correlations=read_frame(correlations, CORRELATIONS),
        between_runs=read_frame(between_runs, BETWEEN_RUNS),
        curves=converged(every_curve, every_run),
        diverged_curves=diverged(every_curve, every_run),
        distributions=read_frame(distributions, DISTRIBUTIONS),
        rankings=read_frame(rankings, RANKINGS),
        novelty=read_frame(novelty, NOVELTY_QUANTILES),
        retained=converged(read_frame(retained, RETAINED_CURVES), every_run),
        confidence=settings.confidence,
        main_corpora=settings.main_corpora,
        variants=settings.variants,
        recipes=settings.recipes,
    )
    style.use_style()
    for name in settings.figures:
        try:
            figure = FIGURES[name](tables)
        except style.NothingToShowError as error:
            if not every_run["diverged_at_step"].notna().any():
                raise UserError(f"figure {name}: {error}") from error
            figure = style.words("Nothing to show: too many of its runs diverged.")
        style.settle(figure)
        for path in output_figures:
            if path.stem == name:
                with replacing(path) as beside:
                    style.save(figure, beside, path.suffix[1:])


if __name__ == "__main__":
    main(run)
