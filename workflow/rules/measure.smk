"""How broadly a checkpoint uses its memory, and what its memories say."""


rule extract_coefficients:
    input:
        unpack(state),
        sequences=sequences("{corpus}"),
    output:
        coefficients=f"{RESULTS}/extract_coefficients/{MEASUREMENT}/coefficients.parquet",
        token_entropies=f"{RESULTS}/extract_coefficients/{MEASUREMENT}/token_entropies.parquet",
    log:
        **logs("extract_coefficients", MEASUREMENT),
    threads: STUDY.num_threads
    resources:
        gpu=1,
    params:
        settings=settings_for("extract_coefficients"),
        code=code_digest("extract_coefficients"),
        intervention=intervention_option,
    shell:
        "python -m ke_steps.extract_coefficients --settings {params.settings:q}"
        " --checkpoint {input.checkpoint:q} {params.intervention} --sequences {input.sequences:q}"
        " --output {output.coefficients:q} --output-token-entropies {output.token_entropies:q}"
        " --record {log.record:q} 2> {log.text:q}"


rule aggregate_entropy:
    input:
        coefficients=rules.extract_coefficients.output.coefficients,
        token_entropies=rules.extract_coefficients.output.token_entropies,
    output:
        f"{RESULTS}/aggregate_entropy/{MEASUREMENT}/entropy.parquet",
    log:
        **logs("aggregate_entropy", MEASUREMENT),
    params:
        settings=settings_for("aggregate_entropy"),
        code=code_digest("aggregate_entropy"),
    shell:
        "python -m ke_steps.aggregate_entropy --settings {params.settings:q}"
        " --coefficients {input.coefficients:q} --token-entropies {input.token_entropies:q}"
        " --output {output:q} --record {log.record:q} 2> {log.text:q}"


rule describe_memories:
    input:
        checkpoint=checkpoint,
        coefficients=main_coefficients(ORIGINAL),
    output:
        f"{RESULTS}/describe_memories/{CHECKPOINT}/memories.parquet",
    log:
        **logs("describe_memories", CHECKPOINT),
    threads: STUDY.num_threads
    resources:
        gpu=1,
    params:
        settings=settings_for("describe_memories"),
        code=code_digest("describe_memories"),
    shell:
        "python -m ke_steps.describe_memories --settings {params.settings:q}"
        " --checkpoint {input.checkpoint:q} --coefficients {input.coefficients:q}"
        " --output {output:q} --record {log.record:q} 2> {log.text:q}"


rule evaluate_novelty:
    input:
        checkpoint=checkpoint,
        sequences=[sequences(corpus) for corpus in NOVEL_CORPORA],
        documents=[documents(corpus) for corpus in NOVEL_CORPORA],
    output:
        f"{RESULTS}/evaluate_novelty/{CHECKPOINT}/novelty.parquet",
    log:
        **logs("evaluate_novelty", CHECKPOINT),
    threads: STUDY.num_threads
    resources:
        gpu=1,
    params:
        settings=settings_for("evaluate_novelty"),
        code=code_digest("evaluate_novelty"),
    shell:
        "python -m ke_steps.evaluate_novelty --settings {params.settings:q}"
        " --checkpoint {input.checkpoint:q} --sequences {input.sequences:q}"
        " --documents {input.documents:q} --output {output:q}"
        " --record {log.record:q} 2> {log.text:q}"
