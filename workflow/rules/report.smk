"""The whole study on one page."""

# Every result that the summary reads, as a pattern over places: the names themselves would not fit
# on a command line, which the system limits to 128 kB.
SUMMARIZED = {
    "manifests": [
        f"{RESULTS}/pretrain_nursery/{{nursery_checkpoints}}/manifest.json",
        f"{RESULTS}/fetch_checkpoint/{{fetched_checkpoints}}/manifest.json",
    ],
    "entropies": [f"{RESULTS}/aggregate_entropy/{{measurements}}/entropy.parquet"],
    "coefficients": [
        f"{RESULTS}/extract_coefficients/{{states}}/{MAIN_CORPUS}/coefficients.parquet"
    ],
    "knowledge": [f"{RESULTS}/evaluate_knowledge/{{runs}}/knowledge.parquet"],
    "probe_scores": [f"{RESULTS}/inject_knowledge/{{runs}}/probe_scores.parquet"],
    "retention_before": [f"{RESULTS}/evaluate_retention/{{states}}/retention.parquet"],
    "retention_after": [f"{RESULTS}/evaluate_retention/{{runs}}/retention.parquet"],
    "training": [f"{RESULTS}/inject_knowledge/{{runs}}/training.parquet"],
    "update_statistics": [f"{RESULTS}/aggregate_updates/{{runs}}/updates.parquet"],
    "decays": [f"{RESULTS}/fit_decay/{{decaying_runs}}/decay.parquet"],
    "retained": [f"{RESULTS}/fit_decay/{{decaying_runs}}/retained.parquet"],
    "memories": [f"{RESULTS}/describe_memories/{{described_checkpoints}}/memories.parquet"],
    "novelties": [f"{RESULTS}/evaluate_novelty/{{novelty_checkpoints}}/novelty.parquet"],
}


def summarized_options():
    return " ".join(
        f"--{name.replace('_', '-')} {' '.join(map(quote, patterns))}"
        for name, patterns in SUMMARIZED.items()
    )


rule summarize:
    input:
        **{
            name: [path for pattern in patterns for path in filled(pattern)]
            for name, patterns in SUMMARIZED.items()
        },
    output:
        summary=f"{RESULTS}/summarize/summary.parquet",
        runs=f"{RESULTS}/summarize/runs.parquet",
        correlations=f"{RESULTS}/summarize/correlations.parquet",
        claims=f"{RESULTS}/summarize/claims.parquet",
        curves=f"{RESULTS}/summarize/curves.parquet",
        distributions=f"{RESULTS}/summarize/distributions.parquet",
        checkpoints=f"{RESULTS}/summarize/checkpoints.parquet",
        memories=f"{RESULTS}/summarize/memories.parquet",
        rankings=f"{RESULTS}/summarize/rankings.parquet",
        novelty=f"{RESULTS}/summarize/novelty.parquet",
        retained=f"{RESULTS}/summarize/retained.parquet",
    log:
        **logs("summarize", ""),
    benchmark:
        benchmark_of("summarize", "")
    resources:
        **resources_for("summarize"),
    params:
        settings=settings_for("summarize"),
        code=code_digest("summarize"),
        launch=launcher,
        results=lambda wildcards: summarized_options(),
    shell:
        "{params.launch} -m ke_steps.summarize --settings {params.settings:q} {params.results}"
        " --output-summary {output.summary:q} --output-runs {output.runs:q}"
        " --output-correlations {output.correlations:q}"
        " --output-claims {output.claims:q} --output-curves {output.curves:q}"
        " --output-distributions {output.distributions:q}"
        " --output-checkpoints {output.checkpoints:q} --output-memories {output.memories:q}"
        " --output-rankings {output.rankings:q} --output-novelty {output.novelty:q}"
        " --output-retained {output.retained:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


FIGURES = _jobs.figures(STUDY)


rule plot_figures:
    input:
        summary=rules.summarize.output.summary,
        runs=rules.summarize.output.runs,
        correlations=rules.summarize.output.correlations,
        curves=rules.summarize.output.curves,
        distributions=rules.summarize.output.distributions,
        rankings=rules.summarize.output.rankings,
        novelty=rules.summarize.output.novelty,
        retained=rules.summarize.output.retained,
    output:
        svg=[
            report(
                f"{RESULTS}/plot_figures/{figure}.svg",
                caption=f"../report/{figure}.rst",
                category="Figures",
                labels={"figure": figure.replace("_", " ")},
            )
            for figure in FIGURES
        ],
        others=expand(
            f"{RESULTS}/plot_figures/{{figure}}.{{format}}",
            figure=FIGURES,
            format=["pdf", "png"],
        ),
    log:
        **logs("plot_figures", ""),
    benchmark:
        benchmark_of("plot_figures", "")
    resources:
        **resources_for("plot_figures"),
    params:
        settings=settings_for("plot_figures"),
        code=code_digest("plot_figures"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.plot_figures --settings {params.settings:q}"
        " --summary {input.summary:q} --runs {input.runs:q}"
        " --correlations {input.correlations:q}"
        " --curves {input.curves:q} --distributions {input.distributions:q}"
        " --rankings {input.rankings:q} --novelty {input.novelty:q} --retained {input.retained:q}"
        " --output-figures {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule write_report:
    input:
        summary=rules.summarize.output.summary,
        runs=rules.summarize.output.runs,
        correlations=rules.summarize.output.correlations,
        claims=rules.summarize.output.claims,
        curves=rules.summarize.output.curves,
        checkpoints=rules.summarize.output.checkpoints,
        memories=rules.summarize.output.memories,
        rankings=rules.summarize.output.rankings,
        figures=rules.plot_figures.output,
        captions=expand("workflow/report/{figure}.rst", figure=FIGURES),
        template="workflow/report/report.html.j2",
    output:
        report(
            f"{RESULTS}/report.html",
            caption="../report/report.rst",
            category="Report",
        ),
    log:
        **logs("write_report", ""),
    benchmark:
        benchmark_of("write_report", "")
    resources:
        **resources_for("write_report"),
    params:
        settings=settings_for("write_report"),
        code=code_digest("write_report"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.write_report --settings {params.settings:q}"
        " --summary {input.summary:q} --runs {input.runs:q}"
        " --correlations {input.correlations:q}"
        " --claims {input.claims:q} --curves {input.curves:q}"
        " --checkpoints {input.checkpoints:q} --memories {input.memories:q}"
        " --rankings {input.rankings:q} --figures {input.figures:q} --captions {input.captions:q}"
        " --template {input.template:q} --output {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"
