"""What a checkpoint, or a variant of it, learns and forgets."""


rule resuscitate:
    input:
        coefficients=main_coefficients(ORIGINAL),
    output:
        f"{RESULTS}/resuscitate/{STATE}/intervention.safetensors",
    log:
        **logs("resuscitate", STATE),
    benchmark:
        benchmark_of("resuscitate", STATE)
    wildcard_constraints:
        variant=variants_of_kind("resuscitate"),
    group:
        group_of("resuscitate")
    resources:
        **resources_for("resuscitate"),
    params:
        settings=settings_for("resuscitate"),
        code=code_digest("resuscitate"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.resuscitate --settings {params.settings:q}"
        " --coefficients {input.coefficients:q} --output {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule temper_attention:
    input:
        checkpoint=checkpoint,
    output:
        f"{RESULTS}/temper_attention/{STATE}/intervention.safetensors",
    log:
        **logs("temper_attention", STATE),
    benchmark:
        benchmark_of("temper_attention", STATE)
    wildcard_constraints:
        variant=variants_of_kind("temper_attention"),
    group:
        group_of("temper_attention")
    resources:
        **resources_for("temper_attention"),
    params:
        settings=settings_for("temper_attention"),
        code=code_digest("temper_attention"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.temper_attention --settings {params.settings:q}"
        " --checkpoint {input.checkpoint:q} --output {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule inject_knowledge:
    input:
        unpack(state),
        sequences=lambda w: sequences(STUDY.recipes[w.recipe].corpus).format(model=w.model),
        passages=rules.prepare_knowledge.output.passages,
        probes=rules.encode_probes.output,
        schedule=rules.schedule_injections.output,
    output:
        model=f"{RESULTS}/inject_knowledge/{RUN}/manifest.json",
        training=f"{RESULTS}/inject_knowledge/{RUN}/training.parquet",
        probe_scores=f"{RESULTS}/inject_knowledge/{RUN}/probe_scores.parquet",
        updates=f"{RESULTS}/inject_knowledge/{RUN}/updates.parquet",
    log:
        **logs("inject_knowledge", RUN),
    benchmark:
        benchmark_of("inject_knowledge", RUN)
    threads: STUDY.num_threads
    resources:
        **resources_for("inject_knowledge"),
    params:
        settings=settings_for("inject_knowledge"),
        code=code_digest("inject_knowledge"),
        launch=launcher,
        intervention=intervention_option,
    shell:
        "{params.launch} -m ke_steps.inject_knowledge --settings {params.settings:q}"
        " --checkpoint {input.checkpoint:q} {params.intervention} --sequences {input.sequences:q}"
        " --passages {input.passages:q} --probes {input.probes:q} --schedule {input.schedule:q}"
        " --output-model {output.model:q} --output-training {output.training:q}"
        " --output-probe-scores {output.probe_scores:q} --output-updates {output.updates:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule evaluate_knowledge:
    input:
        probe_scores=rules.inject_knowledge.output.probe_scores,
    output:
        f"{RESULTS}/evaluate_knowledge/{RUN}/knowledge.parquet",
    log:
        **logs("evaluate_knowledge", RUN),
    benchmark:
        benchmark_of("evaluate_knowledge", RUN)
    group:
        group_of("evaluate_knowledge")
    resources:
        **resources_for("evaluate_knowledge"),
    params:
        settings=settings_for("evaluate_knowledge"),
        code=code_digest("evaluate_knowledge"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.evaluate_knowledge --settings {params.settings:q}"
        " --probe-scores {input.probe_scores:q} --output {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule fit_decay:
    input:
        probe_scores=rules.inject_knowledge.output.probe_scores,
        schedule=rules.schedule_injections.output,
    output:
        decay=f"{RESULTS}/fit_decay/{RUN}/decay.parquet",
        retained=f"{RESULTS}/fit_decay/{RUN}/retained.parquet",
    log:
        **logs("fit_decay", RUN),
    benchmark:
        benchmark_of("fit_decay", RUN)
    group:
        group_of("fit_decay")
    resources:
        **resources_for("fit_decay"),
    params:
        settings=settings_for("fit_decay"),
        code=code_digest("fit_decay"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.fit_decay --settings {params.settings:q}"
        " --probe-scores {input.probe_scores:q} --schedule {input.schedule:q}"
        " --output {output.decay:q} --output-retained {output.retained:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule aggregate_updates:
    input:
        updates=rules.inject_knowledge.output.updates,
        coefficients=main_coefficients("{variant}"),
    output:
        f"{RESULTS}/aggregate_updates/{RUN}/updates.parquet",
    log:
        **logs("aggregate_updates", RUN),
    benchmark:
        benchmark_of("aggregate_updates", RUN)
    group:
        group_of("aggregate_updates")
    resources:
        **resources_for("aggregate_updates"),
    params:
        settings=settings_for("aggregate_updates"),
        code=code_digest("aggregate_updates"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.aggregate_updates --settings {params.settings:q}"
        " --updates {input.updates:q} --coefficients {input.coefficients:q}"
        " --output {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule evaluate_retention:
    input:
        unpack(state),
        sequences=sequences(STUDY.evaluate_retention.held_out_corpus),
    output:
        retention=f"{RESULTS}/evaluate_retention/{STATE}/retention.parquet",
        answers=f"{RESULTS}/evaluate_retention/{STATE}/items.parquet",
    log:
        **logs("evaluate_retention", STATE),
    benchmark:
        benchmark_of("evaluate_retention", STATE)
    threads: STUDY.num_threads
    resources:
        **resources_for("evaluate_retention"),
    params:
        settings=settings_for("evaluate_retention"),
        code=code_digest("evaluate_retention"),
        launch=launcher,
        intervention=intervention_option,
    shell:
        "{params.launch} -m ke_steps.evaluate_retention --settings {params.settings:q}"
        " --checkpoint {input.checkpoint:q} {params.intervention} --sequences {input.sequences:q}"
        " --output {output.retention:q} --output-items {output.answers:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


use rule evaluate_retention as evaluate_retention_after_learning with:
    input:
        checkpoint=rules.inject_knowledge.output.model,
        sequences=sequences(STUDY.evaluate_retention.held_out_corpus),
    output:
        retention=f"{RESULTS}/evaluate_retention/{RUN}/retention.parquet",
        answers=f"{RESULTS}/evaluate_retention/{RUN}/items.parquet",
    log:
        **logs("evaluate_retention", RUN),
    benchmark:
        benchmark_of("evaluate_retention", RUN)
    resources:
        **resources_for("evaluate_retention_after_learning"),
