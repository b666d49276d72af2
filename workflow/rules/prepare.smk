"""Checkpoints, texts and new knowledge."""


rule fetch_checkpoint:
    input:
        weight_files,
    output:
        f"{RESULTS}/{FETCHED}",
    log:
        **logs("fetch_checkpoint", CHECKPOINT),
    wildcard_constraints:
        model=one_of(m for m in STUDY.models if m not in NURSERIES + BRANCHES),
    resources:
        **resources_for("fetch_checkpoint"),
    params:
        **params_of("fetch_checkpoint"),
    shell:
        step("fetch_checkpoint", "output")


rule train_tokenizer:
    input:
        lambda w: text_files(STUDY.nurseries[w.model].corpus),
    output:
        f"{RESULTS}/train_tokenizer/{{model}}/manifest.json",
    log:
        **logs("train_tokenizer", "{model}"),
    wildcard_constraints:
        model=one_of(NURSERIES),
    resources:
        **resources_for("train_tokenizer"),
    params:
        **params_of("train_tokenizer"),
    shell:
        step("train_tokenizer", "output")


rule prepare_corpus:
    input:
        texts=lambda w: text_files(w.corpus),
        tokenizer=tokenizer,
    output:
        sequences=f"{RESULTS}/{SEQUENCES}",
        documents=f"{RESULTS}/{DOCUMENTS}",
    log:
        **logs("prepare_corpus", PREPARATION),
    threads: STUDY.num_threads
    resources:
        **resources_for("prepare_corpus"),
    params:
        **params_of("prepare_corpus"),
    shell:  # this step never forks, so that its tokenizer may use threads
        step(
            "prepare_corpus",
            "tokenizer",
            "output_sequences",
            "output_documents",
            variables="TOKENIZERS_PARALLELISM=true RAYON_NUM_THREADS={threads}",
        )


rule prepare_knowledge:
    input:
        knowledge_files,
    output:
        passages=f"{RESULTS}/{PASSAGES}",
        probes=f"{RESULTS}/prepare_knowledge/probes.parquet",
    log:
        **logs("prepare_knowledge", ""),
    group:
        group_of("prepare_knowledge")
    resources:
        **resources_for("prepare_knowledge"),
    params:
        **params_of("prepare_knowledge"),
    shell:
        step("prepare_knowledge", "output_passages", "output_probes")


rule encode_probes:
    input:
        tokenizer=tokenizer,
        probes=rules.prepare_knowledge.output.probes,
    output:
        f"{RESULTS}/{PROBES}",
    log:
        **logs("encode_probes", "{model}"),
    resources:
        **resources_for("encode_probes"),
    params:
        **params_of("encode_probes"),
    shell:
        step("encode_probes", "tokenizer", "probes", "output")


rule schedule_injections:
    input:
        passages=rules.prepare_knowledge.output.passages,
    output:
        f"{RESULTS}/schedule_injections/{SCHEDULE}/schedule.parquet",
    log:
        **logs("schedule_injections", SCHEDULE),
    group:
        group_of("schedule_injections")
    resources:
        **resources_for("schedule_injections"),
    params:
        **params_of("schedule_injections"),
    shell:
        step("schedule_injections", "passages", "output")


rule pretrain_nursery:
    input:
        tokenizer=tokenizer,
        sequences=lambda w: text_of(SEQUENCES, STUDY.nurseries[w.model].corpus)(w),
    output:
        training=f"{RESULTS}/{TRAINED}",
    log:
        **logs("pretrain_nursery", "{model}"),
    wildcard_constraints:
        model=one_of(NURSERIES),
    threads: lambda w: STUDY.nurseries[w.model].num_threads
    resources:
        **resources_for("pretrain_nursery"),
    params:
        **params_of("pretrain_nursery"),
    shell:
        step("pretrain_nursery", "tokenizer", "sequences", "output_training")


rule keep_checkpoint:
    input:
        training=rules.pretrain_nursery.output.training,
    output:
        f"{RESULTS}/{PRETRAINED}",
    log:
        **logs("pretrain_nursery", CHECKPOINT),
    wildcard_constraints:
        model=one_of(NURSERIES),
    group:
        group_of("keep_checkpoint")
    resources:
        **resources_for("keep_checkpoint"),
    params:
        **params_of("keep_checkpoint"),
    shell:
        step("keep_checkpoint", "training", "output")


rule branch_checkpoint:
    input:
        checkpoint=lambda w: manifest_of(STUDY.trunk(w.model), w.step),
        sequences=lambda w: text_of(SEQUENCES, STUDY.branches[w.model].corpus)(w),
    output:
        checkpoint=f"{RESULTS}/{BRANCHED}",
        training=f"{RESULTS}/branch_checkpoint/{CHECKPOINT}/training.parquet",
    log:
        **logs("branch_checkpoint", CHECKPOINT),
    wildcard_constraints:
        model=one_of(BRANCHES),
    threads: STUDY.num_threads
    resources:
        **resources_for("branch_checkpoint"),
    params:
        **params_of("branch_checkpoint"),
    shell:
        step(
            "branch_checkpoint",
            "checkpoint",
            "sequences",
            "output_checkpoint",
            "output_training",
        )
