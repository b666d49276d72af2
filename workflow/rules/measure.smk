"""How broadly a checkpoint uses its memory."""


rule extract_coefficients:
    input:
        unpack(state),
        sequences=sequences(STUDY.extract_coefficients.corpus),
    output:
        f"{RESULTS}/extract_coefficients/{STATE}/coefficients.parquet",
    log:
        **logs("extract_coefficients", STATE),
    threads: STUDY.num_threads
    resources:
        gpu=1,
    params:
        settings=settings_for("extract_coefficients"),
        code=code_digest("extract_coefficients"),
        multipliers=multipliers_option,
    shell:
        "python -m ke_steps.extract_coefficients --settings {params.settings:q}"
        " --checkpoint {input.checkpoint:q} {params.multipliers} --sequences {input.sequences:q}"
        " --output {output:q} --record {log.record:q} 2> {log.text:q}"


rule aggregate_entropy:
    input:
        coefficients=rules.extract_coefficients.output,
    output:
        f"{RESULTS}/aggregate_entropy/{STATE}/entropy.parquet",
    log:
        **logs("aggregate_entropy", STATE),
    params:
        settings=settings_for("aggregate_entropy"),
        code=code_digest("aggregate_entropy"),
    shell:
        "python -m ke_steps.aggregate_entropy --settings {params.settings:q}"
        " --coefficients {input.coefficients:q} --output {output:q}"
        " --record {log.record:q} 2> {log.text:q}"
