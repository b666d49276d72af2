"""What a checkpoint, or a variant of it, learns and forgets."""

TRAINED_MODEL = f"{RESULTS}/{trained_models.TRAINED_MODEL}"


def models_read_only():
    """The trained models that jobs of this run read and none trains."""
    made, read = set(), set()
    for job in workflow.dag.needrun_jobs():
        if job.rule.name == "inject_knowledge":
            made.add(str(job.output.model))
        elif job.rule.name == "evaluate_retention_after_learning":
            read.add(str(job.input.checkpoint))
    return read - made


rule intervene:
    input:
        unpack(intervened),
    output:
        f"{RESULTS}/intervene/{STATE}/intervention.safetensors",
    log:
        **logs("intervene", STATE),
    wildcard_constraints:
        variant=one_of(STUDY.arms),
    group:
        group_of("intervene")
    resources:
        **resources_for("intervene"),
    params:
        **params_of("intervene"),
        coefficients=optional("coefficients"),
    shell:
        step("intervene", "checkpoint", "output", more="{params.coefficients}")


rule inject_knowledge:
    input:
        unpack(state),
        sequences=lambda w: text_of(SEQUENCES, STUDY.recipes[w.recipe].corpus)(w),
        passages=rules.prepare_knowledge.output.passages,
        probes=lambda w: f"{RESULTS}/{PROBES}".format(model=STUDY.speaker(w.model)),
        schedule=rules.schedule_injections.output,
    output:
        model=TRAINED_MODEL,
        training=f"{RESULTS}/inject_knowledge/{RUN}/training.parquet",
        probe_scores=f"{RESULTS}/inject_knowledge/{RUN}/probe_scores.parquet",
        updates=f"{RESULTS}/inject_knowledge/{RUN}/updates.parquet",
    log:
        **logs("inject_knowledge", RUN),
    threads: STUDY.num_threads
    resources:
        **resources_for("inject_knowledge"),
    params:
        **params_of("inject_knowledge"),
        intervention=optional("intervention"),
        then=retention_ahead("inject_knowledge", RUN, lambda w: {"checkpoint": TRAINED_MODEL}),
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
            more="{params.intervention} {params.then}",
        )


rule evaluate_knowledge:
    input:
        probe_scores=rules.inject_knowledge.output.probe_scores,
    output:
        knowledge=f"{RESULTS}/evaluate_knowledge/{RUN}/knowledge.parquet",
        replicates=f"{RESULTS}/evaluate_knowledge/{RUN}/replicates.parquet",
    log:
        **logs("evaluate_knowledge", RUN),
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
        **retention_at(STATE),
    log:
        **logs("evaluate_retention", STATE),
    priority: -1  # after all else that could run: by then its state is measured, and this done
    threads: STUDY.num_threads
    resources:
        **resources_for("evaluate_retention"),
    params:
        **params_of("evaluate_retention"),
        intervention=optional("intervention"),
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
        **retention_at(RUN),
    log:
        **logs("evaluate_retention", RUN),
    priority: 1
    resources:
        **resources_for("evaluate_retention_after_learning"),
