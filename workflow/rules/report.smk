"""The whole study on one page."""

FIGURES = jobs.figures(STUDY)

TABLES = (
    "summary estimates families phases downstream frontiers effects doses runs correlations"
    " between_runs contests claims warnings curves distributions checkpoints memories rankings"
    " memory_ranks novelty retained"
).split()
DRAWN = (
    "summary estimates families phases frontiers effects runs correlations between_runs curves"
    " distributions rankings novelty retained"
).split()
TOLD = (
    "summary estimates families phases downstream frontiers effects doses runs correlations contests"
    " claims warnings"
).split()
SHOWN = "curves checkpoints memories rankings memory_ranks".split()


def table(name):
    return f"{RESULTS}/summarize/{name}.parquet"


def in_each(name, result):
    """The pattern of a result with the name of a list of places in braces, for its wildcards."""
    return re.sub(r"\{model\}.*\}(?=/)", f"{{{name}}}", result)


# Every result that the summary reads, as a pattern over places, which its settings name: thousands
# of names would not fit on a command line.
SUMMARIZED = {
    "manifests": [
        in_each("nursery_checkpoints", f"{RESULTS}/{PRETRAINED}"),
        in_each("fetched_checkpoints", f"{RESULTS}/{FETCHED}"),
        in_each("branched_checkpoints", f"{RESULTS}/{BRANCHED}"),
    ],
    "entropies": [in_each("measurements", rules.aggregate_entropy.output.entropy)],
    "activities": [in_each("original_measurements", rules.aggregate_entropy.output.activity)],
    "distributions": [in_each("main_measurements", rules.aggregate_entropy.output.distribution)],
    "knowledge": [in_each("runs", rules.evaluate_knowledge.output.knowledge)],
    "probe_scores": [in_each("runs", rules.inject_knowledge.output.probe_scores)],
    "retention_before": [in_each("assessed_states", rules.evaluate_retention.output.retention)],
    "retention_after": [
        in_each("assessed_runs", rules.evaluate_retention_after_learning.output.retention)
    ],
    "replicates": [
        in_each("measurements", rules.aggregate_entropy.output.replicates),
        in_each("runs", rules.evaluate_knowledge.output.replicates),
        in_each("assessed_states", rules.evaluate_retention.output.replicates),
        in_each("assessed_runs", rules.evaluate_retention_after_learning.output.replicates),
    ],
    "training": [in_each("runs", rules.inject_knowledge.output.training)],
    "update_statistics": [in_each("runs", rules.aggregate_updates.output[0])],
    "decays": [in_each("decaying_runs", rules.fit_decay.output.decay)],
    "retained": [in_each("decaying_runs", rules.fit_decay.output.retained)],
    "memories": [in_each("described_checkpoints", rules.describe_memories.output[0])],
    "rivals": [in_each("rival_checkpoints", rules.measure_rivals.output[0])],
    "novelties": [in_each("novelty_checkpoints", rules.evaluate_novelty.output[0])],
}
FOLDERS = folders(STUDY)


def filled(pattern):
    """The pattern once for each place of the list that it names."""
    name = re.search(r"\{(\w+)\}", pattern)[1]
    return [pattern.replace(f"{{{name}}}", folder) for folder in FOLDERS[name]]


rule summarize:
    input:
        **{
            name: [path for pattern in patterns for path in filled(pattern)]
            for name, patterns in SUMMARIZED.items()
        },
    output:
        tables=[table(name) for name in TABLES],
    log:
        **logs("summarize", ""),
    resources:
        **resources_for("summarize"),
    params:
        **params_of("summarize"),
        results=lambda wildcards: options_of(SUMMARIZED),
    shell:
        step("summarize", "output_tables", more="{params.results}")


def summarized_and_gone(wildcards):
    """What the summary reads and is not there: asked for, so that what was removed is made again."""
    return [path for path in rules.summarize.input if not Path(path).exists()]


rule plot_figures:
    input:
        **{name: table(name) for name in DRAWN},
    output:
        figures=[
            *(
                report(
                    f"{RESULTS}/plot_figures/{figure}.svg",
                    caption=f"../report/{figure}.rst",
                    category="Figures",
                    labels={"figure": figure.replace("_", " ")},
                )
                for figure in FIGURES
            ),
            *expand(
                f"{RESULTS}/plot_figures/{{figure}}.{{format}}",
                figure=FIGURES,
                format=["pdf", "png"],
            ),
        ],
        narrow=expand(f"{RESULTS}/plot_figures/narrow/{{figure}}.png", figure=FIGURES),
        data=expand(f"{RESULTS}/plot_figures/{{figure}}.csv", figure=FIGURES),
        words=f"{RESULTS}/plot_figures/words.json",
    log:
        **logs("plot_figures", ""),
    resources:
        **resources_for("plot_figures"),
    params:
        **params_of("plot_figures"),
    shell:
        step(
            "plot_figures",
            *DRAWN,
            "output_figures",
            "output_narrow",
            "output_data",
            "output_words",
        )


rule write_report:
    input:
        **{name: table(name) for name in TOLD + SHOWN},
        figures=rules.plot_figures.output.figures,
        narrow=rules.plot_figures.output.narrow,
        data=rules.plot_figures.output.data,
        words=rules.plot_figures.output.words,
        captions=expand("workflow/report/{figure}.rst", figure=FIGURES),
        templates=sorted(map(str, Path("workflow/report/page").glob("*.*"))),
        glossary="docs/glossary.md",
        citation="CITATION.cff",
    output:
        html=report(
            f"{RESULTS}/report.html",
            caption="../report/report.rst",
            category="Claims",
        ),
        markdown=f"{RESULTS}/summary.md",
        json=f"{RESULTS}/summary.json",
    log:
        **logs("write_report", ""),
    resources:
        **resources_for("write_report"),
    params:
        **params_of("write_report"),
    shell:
        step(
            "write_report",
            *TOLD,
            *SHOWN,
            *(
                "figures",
                "narrow",
                "data",
                "words",
                "captions",
                "templates",
                "glossary",
                "citation",
            ),
            *("output_html", "output_markdown", "output_json"),
        )
