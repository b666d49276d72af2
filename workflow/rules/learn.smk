"""What a checkpoint, or a variant of it, learns and forgets."""


rule resuscitate:
    input:
        coefficients=(
            f"{RESULTS}/extract_coefficients/{CHECKPOINT}/{ORIGINAL}/coefficients.parquet"
        ),
    output:
        f"{RESULTS}/resuscitate/{STATE}/multipliers.safetensors",
    log:
        **logs("resuscitate", STATE),
    wildcard_constraints:
        variant=one_of(STUDY.variants),
    params:
        settings=settings_for("resuscitate"),
        code=code_digest("resuscitate"),
    shell:
        "python -m ke_steps.resuscitate --settings {params.settings:q}"
        " --coefficients {input.coefficients:q} --output {output:q}"
        " --record {log.record:q} 2> {log.text:q}"


rule inject_knowledge:
    input:
        unpack(state),
        sequences=lambda w: sequences(STUDY.recipes[w.recipe].corpus).format(model=w.model),
        passages=rules.prepare_knowledge.output.passages,
        probes=rules.prepare_knowledge.output.probes,
        schedule=rules.schedule_injections.output,
    output:
        model=f"{RESULTS}/inject_knowledge/{RUN}/manifest.json",
        training=f"{RESULTS}/inject_knowledge/{RUN}/training.parquet",
        probe_scores=f"{RESULTS}/inject_knowledge/{RUN}/probe_scores.parquet",
    log:
        **logs("inject_knowledge", RUN),
    threads: STUDY.num_threads
    resources:
        gpu=1,
    params:
        settings=settings_for("inject_knowledge"),
        code=code_digest("inject_knowledge"),
        multipliers=multipliers_option,
    shell:
        "python -m ke_steps.inject_knowledge --settings {params.settings:q}"
        " --checkpoint {input.checkpoint:q} {params.multipliers} --sequences {input.sequences:q}"
        " --passages {input.passages:q} --probes {input.probes:q} --schedule {input.schedule:q}"
        " --output-model {output.model:q} --output-training {output.training:q}"
        " --output-probe-scores {output.probe_scores:q}"
        " --record {log.record:q} 2> {log.text:q}"


rule evaluate_knowledge:
    input:
        probe_scores=rules.inject_knowledge.output.probe_scores,
    output:
        f"{RESULTS}/evaluate_knowledge/{RUN}/knowledge.parquet",
    log:
        **logs("evaluate_knowledge", RUN),
    params:
        settings=settings_for("evaluate_knowledge"),
        code=code_digest("evaluate_knowledge"),
    shell:
        "python -m ke_steps.evaluate_knowledge --settings {params.settings:q}"
        " --probe-scores {input.probe_scores:q} --output {output:q}"
        " --record {log.record:q} 2> {log.text:q}"


rule evaluate_retention:
    input:
        unpack(state),
        sequences=sequences(STUDY.evaluate_retention.held_out_corpus),
    output:
        retention=f"{RESULTS}/evaluate_retention/{STATE}/retention.parquet",
        answers=f"{RESULTS}/evaluate_retention/{STATE}/items.parquet",
    log:
        **logs("evaluate_retention", STATE),
    threads: STUDY.num_threads
    resources:
        gpu=1,
    params:
        settings=settings_for("evaluate_retention"),
        code=code_digest("evaluate_retention"),
        multipliers=multipliers_option,
    shell:
        "python -m ke_steps.evaluate_retention --settings {params.settings:q}"
        " --checkpoint {input.checkpoint:q} {params.multipliers} --sequences {input.sequences:q}"
        " --output {output.retention:q} --output-items {output.answers:q}"
        " --record {log.record:q} 2> {log.text:q}"


use rule evaluate_retention as evaluate_retention_after_learning with:
    input:
        checkpoint=rules.inject_knowledge.output.model,
        sequences=sequences(STUDY.evaluate_retention.held_out_corpus),
    output:
        retention=f"{RESULTS}/evaluate_retention/{RUN}/retention.parquet",
        answers=f"{RESULTS}/evaluate_retention/{RUN}/items.parquet",
    log:
        **logs("evaluate_retention", RUN),
