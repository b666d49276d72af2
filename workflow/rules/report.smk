"""The whole study on one page."""


rule summarize:
    input:
        manifests=[
            manifest_of(model, step)
            for model in STUDY.models
            for step in STUDY.models[model].steps
        ],
        entropies=of_each(STATES, f"{RESULTS}/aggregate_entropy/{STATE}/entropy.parquet"),
        coefficients=of_each(STATES, f"{RESULTS}/extract_coefficients/{STATE}/coefficients.parquet"),
        knowledge=of_each(RUNS, f"{RESULTS}/evaluate_knowledge/{RUN}/knowledge.parquet"),
        probe_scores=of_each(RUNS, f"{RESULTS}/inject_knowledge/{RUN}/probe_scores.parquet"),
        retention_before=of_each(STATES, f"{RESULTS}/evaluate_retention/{STATE}/retention.parquet"),
        retention_after=of_each(RUNS, f"{RESULTS}/evaluate_retention/{RUN}/retention.parquet"),
        training=of_each(RUNS, f"{RESULTS}/inject_knowledge/{RUN}/training.parquet"),
    output:
        summary=f"{RESULTS}/summarize/summary.parquet",
        correlations=f"{RESULTS}/summarize/correlations.parquet",
        claims=f"{RESULTS}/summarize/claims.parquet",
        curves=f"{RESULTS}/summarize/curves.parquet",
        distributions=f"{RESULTS}/summarize/distributions.parquet",
    log:
        **logs("summarize", ""),
    params:
        settings=settings_for("summarize"),
        code=code_digest("summarize"),
    shell:
        "python -m ke_steps.summarize --settings {params.settings:q}"
        " --manifests {input.manifests:q} --entropies {input.entropies:q}"
        " --coefficients {input.coefficients:q} --knowledge {input.knowledge:q}"
        " --probe-scores {input.probe_scores:q} --retention-before {input.retention_before:q}"
        " --retention-after {input.retention_after:q} --training {input.training:q}"
        " --output-summary {output.summary:q} --output-correlations {output.correlations:q}"
        " --output-claims {output.claims:q} --output-curves {output.curves:q}"
        " --output-distributions {output.distributions:q}"
        " --record {log.record:q} 2> {log.text:q}"


FIGURES = STUDY.plot_figures.figures


rule plot_figures:
    input:
        summary=rules.summarize.output.summary,
        correlations=rules.summarize.output.correlations,
        curves=rules.summarize.output.curves,
        distributions=rules.summarize.output.distributions,
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
    params:
        settings=settings_for("plot_figures"),
        code=code_digest("plot_figures"),
    shell:
        "python -m ke_steps.plot_figures --settings {params.settings:q}"
        " --summary {input.summary:q} --correlations {input.correlations:q}"
        " --curves {input.curves:q} --distributions {input.distributions:q}"
        " --output-figures {output:q} --record {log.record:q} 2> {log.text:q}"


rule write_report:
    input:
        summary=rules.summarize.output.summary,
        correlations=rules.summarize.output.correlations,
        claims=rules.summarize.output.claims,
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
    params:
        settings=settings_for("write_report"),
        code=code_digest("write_report"),
    shell:
        "python -m ke_steps.write_report --settings {params.settings:q}"
        " --summary {input.summary:q} --correlations {input.correlations:q}"
        " --claims {input.claims:q} --figures {input.figures:q} --captions {input.captions:q}"
        " --template {input.template:q} --output {output:q}"
        " --record {log.record:q} 2> {log.text:q}"
