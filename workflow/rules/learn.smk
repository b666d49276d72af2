"""What a checkpoint, or a variant of it, learns and forgets."""


rule resuscitate:
    input:
        coefficients=original_coefficients,
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
        **params_of("resuscitate"),
    shell:
        step("resuscitate", "coefficients", "output")


rule temper_attention:
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
        **params_of("temper_attention"),
    shell:
        step("temper_attention", "output")


rule rescale_queries:
    input:
        checkpoint=checkpoint,
    output:
        f"{RESULTS}/rescale_queries/{STATE}/intervention.safetensors",
    log:
        **logs("rescale_queries", STATE),
    benchmark:
        benchmark_of("rescale_queries", STATE)
    wildcard_constraints:
        variant=variants_of_kind("rescale_queries"),
    group:
        group_of("rescale_queries")
    resources:
        **resources_for("rescale_queries"),
    params:
        **params_of("rescale_queries"),
    shell:
        step("rescale_queries", "checkpoint", "output")


rule inject_knowledge:
    input:
        unpack(state),
        sequences=lambda w: text_of(SEQUENCES, STUDY.recipes[w.recipe].corpus)(w),
        passages=rules.prepare_knowledge.output.passages,
        probes=lambda w: f"{RESULTS}/{PROBES}".format(model=STUDY.speaker(w.model)),
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
        **params_of("inject_knowledge"),
        intervention=intervention_option,
    shell:
        step(
            "inject_knowledge",
            "checkpoint",
            "sequences",
            "passages",
            "probes",
            "schedule",
            "output_model",
            "output_training",
            "output_probe_scores",
            "output_updates",
            more="{params.intervention}",
        )


rule evaluate_knowledge:
    input:
        probe_scores=rules.inject_knowledge.output.probe_scores,
    output:
        knowledge=f"{RESULTS}/evaluate_knowledge/{RUN}/knowledge.parquet",
        replicates=f"{RESULTS}/evaluate_knowledge/{RUN}/replicates.parquet",
    log:
        **logs("evaluate_knowledge", RUN),
    benchmark:
        benchmark_of("evaluate_knowledge", RUN)
    group:
        group_of("evaluate_knowledge")
    resources:
        **resources_for("evaluate_knowledge"),
    params:
        **params_of("evaluate_knowledge"),
    shell:
        step("evaluate_knowledge", "probe_scores", "output_knowledge", "output_replicates")


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
        **params_of("fit_decay"),
    shell:
        step("fit_decay", "probe_scores", "schedule", "output_decay", "output_retained")


rule aggregate_updates:
    input:
        updates=rules.inject_knowledge.output.updates,
        coefficients=main_coefficients,
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
        **params_of("aggregate_updates"),
    shell:
        step("aggregate_updates", "updates", "coefficients", "output")


rule evaluate_retention:
    input:
        unpack(state),
        sequences=text_of(SEQUENCES, *HELD_OUT),
    output:
        retention=f"{RESULTS}/evaluate_retention/{STATE}/retention.parquet",
        answers=f"{RESULTS}/evaluate_retention/{STATE}/items.parquet",
        replicates=f"{RESULTS}/evaluate_retention/{STATE}/replicates.parquet",
    log:
        **logs("evaluate_retention", STATE),
    benchmark:
        benchmark_of("evaluate_retention", STATE)
    threads: STUDY.num_threads
    resources:
        **resources_for("evaluate_retention"),
    params:
        **params_of("evaluate_retention"),
        intervention=intervention_option,
    shell:
        step(
            "evaluate_retention",
            "checkpoint",
            "sequences",
            "output_retention",
            "output_answers",
            "output_replicates",
            more="{params.intervention}",
        )


use rule evaluate_retention as evaluate_retention_after_learning with:
    input:
        checkpoint=rules.inject_knowledge.output.model,
        sequences=text_of(SEQUENCES, *HELD_OUT),
    output:
        retention=f"{RESULTS}/evaluate_retention/{RUN}/retention.parquet",
        answers=f"{RESULTS}/evaluate_retention/{RUN}/items.parquet",
        replicates=f"{RESULTS}/evaluate_retention/{RUN}/replicates.parquet",
    log:
        **logs("evaluate_retention", RUN),
    benchmark:
        benchmark_of("evaluate_retention", RUN)
    resources:
        **resources_for("evaluate_retention_after_learning"),
