"""Write the report of a study: one HTML file that opens anywhere, offline, whole without script.

Beside it its first screen, findings, key table and verdicts, as Markdown and as data (JSON, with
unrounded numbers: ``report.overview``).

Reads tables of ``summarize``; the figures of ``plot_figures`` with their data, what they show in
any study and what they show in this one; the templates, the glossary, CITATION.cff; and the job
records in ``<results_dir>/logs``, beside the folder of the summary. Writes HTML: summary and
verdicts first, then figures (an SVG, or a PNG on phones), tables (each downloadable as CSV), layers
and memories, provenance, glossary. Long tables show their first rows; their CSV is complete. The
times of the jobs, and the commit of the code, make the page the one output that two equal runs do
not repeat byte by byte.

    python -m ke_steps.write_report --summary … --figures … --output-html results/report.html …
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.summary_schemas import (
    CHECKPOINTS,
    CLAIMS,
    CONTESTS,
    CORRELATIONS,
    CURVES,
    DOSES,
    DOWNSTREAM,
    EFFECTS,
    ESTIMATES,
    FAMILIES,
    FRONTIERS,
    MEMORY_RANKS,
    MEMORY_TABLE,
    PHASES,
    RANKINGS,
    RUNS,
    SUMMARY,
    WARNINGS,
)
from ke_steps.job.command_line import main
from ke_steps.job.files import replacing, write_json
from ke_steps.report.correlations import correlation_table
from ke_steps.report.doses import dose_table
from ke_steps.report.downstream import downstream_table
from ke_steps.report.effects import effect_table
from ke_steps.report.families import family_table
from ke_steps.report.figures import FigureFiles, figures_of
from ke_steps.report.first_screen import overview_of, screen_of
from ke_steps.report.frontiers import frontier_table
from ke_steps.report.further_tables import further_tables
from ke_steps.report.glossary import terms_of
from ke_steps.report.identity import identity_of
from ke_steps.report.jobs import (
    Trace,
    distinct,
    job_frame,
    job_table,
    step_table,
    trace_jobs,
    versions,
)
from ke_steps.report.manifests import manifest_table
from ke_steps.report.memory_tables import checkpoint_table, ranking_table
from ke_steps.report.memory_views import memory_views
from ke_steps.report.phases import phase_table
from ke_steps.report.rivals import contest_table, rival_table
from ke_steps.report.runs import recipe_tables, run_table
from ke_steps.report.short_forms import markdown, terminal
from ke_steps.report.tables import (
    Results,
    csv_uri,
    data_uri,
    stage_table,
    variant_table,
)
from ke_steps.report.verdicts import findings_of, warnings_of
from ke_steps.settings.resolved import study_file
from ke_steps.settings.telling import WriteReportJob
from ke_steps.summary.runs import mark


def provenance_of(trace: Trace) -> dict[str, Any]:
    """Return what the template says about how the numbers came to be."""
    records = trace.records
    jobs = job_frame(records)
    return {
        "num_jobs": len(records),
        "num_left_out": trace.num_left_out,
        "by_step": step_table(jobs),
        "jobs": job_table(jobs),
        "manifests": manifest_table(records),
        "versions": versions(records),
        "devices": distinct(records, "device"),
        "hosts": distinct(records, "host"),
        "wall_seconds": jobs["wall_seconds"].sum(),
        "peak_memory_mb": jobs["peak_memory_mb"].max(),
    }


def complete_summary(summary: pd.DataFrame) -> str:
    """Return the whole tidy table as a link to a gzipped CSV; equal tables give equal bytes."""
    content = summary.to_csv(index=False, lineterminator="\n").encode()
    return data_uri(gzip.compress(content, mtime=0), "application/gzip")


class Script(NamedTuple):
    """What runs in the page, and the hash by which its content policy knows it."""

    text: str
    policy: str

    @classmethod
    def of(cls, templates: Sequence[Path]) -> Script:
        """Return every .js of the templates as one."""
        text = "".join(path.read_text() for path in templates if path.suffix == ".js")
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        return cls(text, f"'sha256-{digest}'" if text else "'none'")


def _page_of(templates: Sequence[Path]) -> jinja2.Template:
    """Return the page, which includes the other templates; style and script are no HTML."""
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({path.name: path.read_text() for path in templates}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def run(
    *,
    summary: Path,
    estimates: Path,
    families: Path,
    phases: Path,
    downstream: Path,
    frontiers: Path,
    effects: Path,
    doses: Path,
    runs: Path,
    correlations: Path,
    contests: Path,
    claims: Path,
    warnings: Path,
    curves: Path,
    checkpoints: Path,
    memories: Path,
    rankings: Path,
    memory_ranks: Path,
    figures: list[Path],
    narrow: list[Path],
    data: list[Path],
    words: Path,
    captions: list[Path],
    templates: list[Path],
    glossary: Path,
    citation: Path,
    output_html: Path,
    output_markdown: Path,
    output_json: Path,
    settings: WriteReportJob,
) -> None:
    """Write the report, and its first screen as Markdown and as data."""
    every_run = read_frame(runs, RUNS)
    measured = mark(read_frame(summary, SUMMARY), every_run)
    results = Results(measured, read_frame(estimates, ESTIMATES))
    pairs = read_frame(correlations, CORRELATIONS)
    findings = read_frame(claims, CLAIMS)
    told_warnings = read_frame(warnings, WARNINGS)
    gains = read_frame(downstream, DOWNSTREAM)
    progress = mark(read_frame(curves, CURVES), every_run)
    sources = [
        *(summary, estimates, families, phases, downstream, frontiers, effects, doses, runs),
        *(correlations, contests, claims, warnings, curves, checkpoints, memories, rankings),
        *(memory_ranks, *figures),
    ]
    places = read_frame(checkpoints, CHECKPOINTS)
    tables = [
        stage_table(results),
        phase_table(read_frame(phases, PHASES)),
        variant_table(results),
        family_table(read_frame(families, FAMILIES)),
        downstream_table(gains, results.estimates),
        frontier_table(read_frame(frontiers, FRONTIERS)),
        effect_table(read_frame(effects, EFFECTS)),
        dose_table(read_frame(doses, DOSES)),
        *recipe_tables(results, progress, settings.study),
        *further_tables(results),
        rival_table(results),
        contest_table(read_frame(contests, CONTESTS)),
        correlation_table(pairs),
        ranking_table(
            read_frame(rankings, RANKINGS),
            settings.study["summarize"]["turnover_fraction"],
        ),
        checkpoint_table(places),
        run_table(every_run, measured),
    ]
    trace = trace_jobs(summary.parent.parent, sources)
    study = study_file(settings.study)
    overview = overview_of(
        results,
        claims=findings,
        warnings=told_warnings,
        downstream=gains,
        runs=every_run,
        settings=settings,
    )
    page = _page_of(templates).render(
        script=Script.of(templates),
        title=settings.title,
        description=settings.description,
        overview=overview,
        screen=screen_of(overview),
        warnings=warnings_of(told_warnings),
        findings=findings_of(findings),
        findings_csv=csv_uri(findings),
        figures=figures_of(FigureFiles(figures, narrow, data, captions, words)),
        tables=[table for table in tables if table is not None],
        memories=memory_views(
            results,
            read_frame(memory_ranks, MEMORY_RANKS),
            read_frame(memories, MEMORY_TABLE),
            places,
            settings.study["aggregate_entropy"]["dormant_ratio"],
        ),
        complete_summary=complete_summary(measured),
        glossary=terms_of(glossary),
        identity=identity_of(trace.records, citation),
        provenance=provenance_of(trace),
        study=study,
        study_uri=data_uri(study.encode(), "application/yaml"),
    )
    for path, content in ((output_html, page), (output_markdown, markdown(overview))):
        with replacing(path) as beside:
            beside.write_text(content)
    write_json(
        output_json, overview.model_dump(mode="json") | {"terminal": list(terminal(overview))}
    )


if __name__ == "__main__":
    main(run)
