r"""Draw the figures of a study, each as SVG, PDF and PNG, with its data and its title.

Reads the summary, its estimates, families, phases, frontiers, effects, runs, correlations, what
goes with entropy between runs, curves, distributions, rankings, novelty and retained curves that
``summarize`` wrote. Points and error bars are the estimates; the seeds beside them, thin dots, are
the summary's. Runs that diverged are in no mean; a figure that has no others says so. Each output
is ``<figure>.svg``, ``.pdf`` or ``.png``; the file's name says which figure it holds. Beside them
``narrow/<figure>.png``, drawn for phones with its panels one below the other; ``<figure>.csv``, a
row per point or bar, unrounded; and ``words.json``: by figure its finding as title, a caption and
an alternative text of this study. Equal tables give equal bytes.

    python -m ke_steps.plot_figures --summary … --estimates … --families … --phases … \
        --frontiers … --effects … --runs … --correlations … --between-runs … --curves … \
        --distributions … --rankings … --novelty … --retained … \
        --output-figures …/entropy_by_stage.svg --output-narrow …/narrow/entropy_by_stage.png \
        --output-data …/entropy_by_stage.csv --output-words …/words.json \
        --settings '{"figures": ["entropy_by_stage"], "confidence": 0.95, \
        "main_corpora": {"tiny": "pretraining"}, "variants": {}, "recipes": ["baseline"]}'
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

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
from ke_steps.figures.drawn import Drawing
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
from ke_steps.figures.layout import NothingToShowError, save, save_narrow, settle, words
from ke_steps.figures.learning import (
    acquisition_and_forgetting,
    entropy_and_learning,
    performance_by_stage,
)
from ke_steps.figures.memories import ranking_changes, update_map
from ke_steps.figures.panels import Tables
from ke_steps.figures.phases import entropy_by_phase
from ke_steps.figures.resuscitation import resuscitation_by_stage
from ke_steps.figures.rivals import rivals_by_stage
from ke_steps.figures.strengths import (
    attention_temperature,
    resuscitation_by_boost,
    resuscitation_by_quantile,
)
from ke_steps.figures.telling import words_of
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import replacing, write_json
from ke_steps.settings.telling import FigureName, PlotFiguresJob
from ke_steps.summary.runs import converged, diverged

FIGURES: dict[FigureName, Callable[[Tables], Drawing]] = {
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
    output_narrow: list[Path],
    output_data: list[Path],
    output_words: Path,
    settings: PlotFiguresJob,
) -> None:
    """Write every figure of the settings in the formats that the outputs name."""
    places = {"figures": output_figures, "narrow": output_narrow, "data": output_data}
    for flag, paths in places.items():
        if unknown := {path.stem for path in paths} ^ set(settings.figures):
            raise UserError(
                f"figures and --output-{flag} disagree about: {', '.join(sorted(unknown))}"
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
    has_diverged = bool(every_run["diverged_at_step"].notna().any())
    style.use_style()
    told = {}
    for name in settings.figures:
        figure = draw(name, tables, has_diverged=has_diverged)
        told[name] = words_of(name, figure, settings.confidence)._asdict()
        settle(figure)
        for path in (path for path in output_figures if path.stem == name):
            with replacing(path) as beside:
                save(figure, beside, path.suffix[1:])
        for path in (path for path in output_data if path.stem == name):
            with replacing(path) as beside:
                figure.data().to_csv(beside, index=False, lineterminator="\n")
    style.use_style(style.NARROW_INCHES)
    for path in output_narrow:
        figure = draw(cast(FigureName, path.stem), tables, has_diverged=has_diverged)
        settle(figure)
        with replacing(path) as beside:
            save_narrow(figure, beside)
    write_json(output_words, told)


def draw(name: FigureName, tables: Tables, *, has_diverged: bool) -> Drawing:
    """Return a figure; one without data says so where runs diverged, else it is refused."""
    try:
        return FIGURES[name](tables)
    except NothingToShowError as error:
        if not has_diverged:
            raise UserError(f"figure {name}: {error}") from error
        return words("Nothing to show: too many of its runs diverged.")


if __name__ == "__main__":
    main(run)
