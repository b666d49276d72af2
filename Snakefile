"""Knowledge entropy: from checkpoints to the report. See README.md for the DAG as a table."""

from snakemake.utils import min_version

min_version("9.27")

if not config:  # a study given by --configfile is read alone, not merged into this one

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/learn.smk"
include: "workflow/rules/report.smk"


workflow.localrules(*STUDY.cluster.local_rules)


rule all:
    default_target: True
    input:
        rules.write_report.output,
        summarized_and_gone,


onstart:
    try:
        trained_models.refuse_missing(STUDY, models_read_only())
    except UserError as error:
        raise WorkflowError(str(error)) from None
    snakemake_memory.start(Path(RESULTS))
    if STUDY_FILE:
        own_results.sign(STUDY, STUDY_FILE)
    handed_over.write_settings(STUDY)


onsuccess:
    snakemake_memory.remember(Path(RESULTS))


onerror:
    snakemake_memory.remember(Path(RESULTS))
