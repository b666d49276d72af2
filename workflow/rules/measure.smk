"""How broadly a checkpoint uses its memory, and what its memories say."""

COEFFICIENTS = f"{RESULTS}/extract_coefficients/{MEASUREMENT}/coefficients.parquet"
TOKEN_ENTROPIES = f"{RESULTS}/extract_coefficients/{MEASUREMENT}/token_entropies.parquet"
NUM_SHARDS = STUDY.extract_coefficients.num_shards


def state_measured_first(wildcards):
    """A state, of its measurement on the main corpus: every state has that one."""
    is_main = wildcards.corpus == STUDY.main_corpus(wildcards.model)
    return state(wildcards) if is_main else {}


def in_shards(pattern):
    return [pattern.replace("{shard}", str(shard)) for shard in range(NUM_SHARDS)]


def shard_options(wildcards):
    """The files of all shards, as patterns over `places` of the settings."""
    place = "/".join([MEASUREMENT.format(**dict(wildcards.items())), "{shards}"])
    return options_of(
        {
            name: [f"{RESULTS}/extract_shard/{place}/{name}.parquet"]
            for name in ["coefficients", "token_entropies"]
        }
    )


if NUM_SHARDS == 1:

    rule extract_coefficients:
        input:
            unpack(state),
            sequences=text_of(SEQUENCES),
        output:
            coefficients=COEFFICIENTS,
            token_entropies=TOKEN_ENTROPIES,
        log:
            **logs("extract_coefficients", MEASUREMENT),
        group:
            group_of("extract_coefficients")
        threads: STUDY.num_threads
        resources:
            **resources_for("extract_coefficients"),
        params:
            **params_of("extract_coefficients"),
            intervention=optional("intervention"),
            then=retention_ahead("extract_coefficients", STATE, state_measured_first),
        shell:
            step(
                "extract_coefficients",
                "checkpoint",
                "sequences",
                "output_coefficients",
                "output_token_entropies",
                more="{params.intervention} {params.then}",
            )

else:

    rule extract_shard:
        input:
            unpack(state),
            sequences=text_of(SEQUENCES),
        output:
            coefficients=f"{RESULTS}/extract_shard/{SHARD}/coefficients.parquet",
            token_entropies=f"{RESULTS}/extract_shard/{SHARD}/token_entropies.parquet",
        log:
            **logs("extract_shard", SHARD),
        wildcard_constraints:
            shard=one_of(range(NUM_SHARDS)),
        threads: STUDY.num_threads
        resources:
            **resources_for("extract_shard"),
        params:
            **params_of("extract_shard"),
            intervention=optional("intervention"),
        shell:
            step(
                "extract_shard",
                "checkpoint",
                "sequences",
                "output_coefficients",
                "output_token_entropies",
                more="{params.intervention}",
            )

    rule merge_shards:
        input:
            coefficients=in_shards(rules.extract_shard.output.coefficients),
            token_entropies=in_shards(rules.extract_shard.output.token_entropies),
        output:
            coefficients=COEFFICIENTS,
            token_entropies=TOKEN_ENTROPIES,
        # beside the files: a record of theirs that another rule left would be taken for this one's
        log:
            **logs("extract_coefficients", MEASUREMENT),
        resources:
            **resources_for("merge_shards"),
        params:
            **params_of("merge_shards"),
            shards=shard_options,
        shell:
            step(
                "merge_shards",
                "output_coefficients",
                "output_token_entropies",
                more="{params.shards}",
            )


rule aggregate_entropy:
    input:
        coefficients=COEFFICIENTS,
        token_entropies=TOKEN_ENTROPIES,
        sequences=text_of(SEQUENCES),
    output:
        entropy=f"{RESULTS}/aggregate_entropy/{MEASUREMENT}/entropy.parquet",
        replicates=f"{RESULTS}/aggregate_entropy/{MEASUREMENT}/replicates.parquet",
        activity=f"{RESULTS}/aggregate_entropy/{MEASUREMENT}/activity.parquet",
        distribution=f"{RESULTS}/aggregate_entropy/{MEASUREMENT}/distribution.parquet",
    log:
        **logs("aggregate_entropy", MEASUREMENT),
    group:
        group_of("aggregate_entropy")
    resources:
        **resources_for("aggregate_entropy"),
    params:
        **params_of("aggregate_entropy"),
    shell:
        step(
            "aggregate_entropy",
            "coefficients",
            "token_entropies",
            "sequences",
            "output_entropy",
            "output_replicates",
            "output_activity",
            "output_distribution",
        )


rule describe_memories:
    input:
        checkpoint=checkpoint,
        coefficients=original_coefficients,
    output:
        f"{RESULTS}/describe_memories/{CHECKPOINT}/memories.parquet",
    log:
        **logs("describe_memories", CHECKPOINT),
    group:
        group_of("describe_memories")
    threads: STUDY.num_threads
    resources:
        **resources_for("describe_memories"),
    params:
        **params_of("describe_memories"),
    shell:
        step("describe_memories", "checkpoint", "coefficients", "output")


rule measure_rivals:
    input:
        checkpoint=checkpoint,
        coefficients=original_coefficients,
        sequences=lambda w: text_of(SEQUENCES, STUDY.main_corpus(w.model))(w),
        held_out=lambda w: text_of(SEQUENCES, STUDY.measure_rivals.held_out_corpus)(w),
        new_text=lambda w: text_of(SEQUENCES, STUDY.measure_rivals.new_corpus)(w),
    output:
        f"{RESULTS}/measure_rivals/{CHECKPOINT}/rivals.parquet",
    log:
        **logs("measure_rivals", CHECKPOINT),
    threads: STUDY.num_threads
    resources:
        **resources_for("measure_rivals"),
    params:
        **params_of("measure_rivals"),
    shell:
        step(
            "measure_rivals",
            "checkpoint",
            "coefficients",
            "sequences",
            "held_out",
            "new_text",
            "output",
        )


rule evaluate_novelty:
    input:
        checkpoint=checkpoint,
        sequences=text_of(SEQUENCES, *NOVEL_CORPORA),
        documents=text_of(DOCUMENTS, *NOVEL_CORPORA),
    output:
        f"{RESULTS}/evaluate_novelty/{CHECKPOINT}/novelty.parquet",
    log:
        **logs("evaluate_novelty", CHECKPOINT),
    threads: STUDY.num_threads
    resources:
        **resources_for("evaluate_novelty"),
    params:
        **params_of("evaluate_novelty"),
    shell:
        step("evaluate_novelty", "checkpoint", "sequences", "documents", "output")
