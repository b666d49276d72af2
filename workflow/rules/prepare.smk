"""Checkpoints, texts and new knowledge."""


rule fetch_checkpoint:
    input:
        weight_files,
    output:
        f"{RESULTS}/{FETCHED}",
    log:
        **logs("fetch_checkpoint", CHECKPOINT),
    benchmark:
        benchmark_of("fetch_checkpoint", CHECKPOINT)
    wildcard_constraints:
        model=one_of(m for m in STUDY.models if m not in NURSERIES),
    resources:
        **resources_for("fetch_checkpoint"),
    params:
        settings=settings_for("fetch_checkpoint"),
        code=code_digest("fetch_checkpoint"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.fetch_checkpoint --settings {params.settings:q}"
        " --output {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule train_tokenizer:
    output:
        f"{RESULTS}/train_tokenizer/{{model}}/manifest.json",
    log:
        **logs("train_tokenizer", "{model}"),
    benchmark:
        benchmark_of("train_tokenizer", "{model}")
    wildcard_constraints:
        model=one_of(NURSERIES),
    resources:
        **resources_for("train_tokenizer"),
    params:
        settings=settings_for("train_tokenizer"),
        code=code_digest("train_tokenizer"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.train_tokenizer --settings {params.settings:q}"
        " --output {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule prepare_corpus:
    input:
        texts=text_files,
        tokenizer=tokenizer,
    output:
        sequences=sequences("{corpus}"),
        documents=documents("{corpus}"),
    log:
        **logs("prepare_corpus", PREPARATION),
    benchmark:
        benchmark_of("prepare_corpus", PREPARATION)
    threads: STUDY.num_threads
    resources:
        **resources_for("prepare_corpus"),
    params:
        settings=settings_for("prepare_corpus"),
        code=code_digest("prepare_corpus"),
        launch=launcher,
    shell:  # this step never forks, so that its tokenizer may use threads
        "TOKENIZERS_PARALLELISM=true RAYON_NUM_THREADS={threads}"
        " {params.launch} -m ke_steps.prepare_corpus --settings {params.settings:q}"
        " --tokenizer {input.tokenizer:q} --output {output.sequences:q}"
        " --output-documents {output.documents:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule prepare_knowledge:
    input:
        knowledge_files,
    output:
        passages=f"{RESULTS}/prepare_knowledge/passages.parquet",
        probes=f"{RESULTS}/prepare_knowledge/probes.parquet",
    log:
        **logs("prepare_knowledge", ""),
    benchmark:
        benchmark_of("prepare_knowledge", "")
    group:
        group_of("prepare_knowledge")
    resources:
        **resources_for("prepare_knowledge"),
    params:
        settings=settings_for("prepare_knowledge"),
        code=code_digest("prepare_knowledge"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.prepare_knowledge --settings {params.settings:q}"
        " --output-passages {output.passages:q} --output-probes {output.probes:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule encode_probes:
    input:
        tokenizer=tokenizer,
        probes=rules.prepare_knowledge.output.probes,
    output:
        f"{RESULTS}/encode_probes/{{model}}/probes.parquet",
    log:
        **logs("encode_probes", "{model}"),
    benchmark:
        benchmark_of("encode_probes", "{model}")
    resources:
        **resources_for("encode_probes"),
    params:
        settings=settings_for("encode_probes"),
        code=code_digest("encode_probes"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.encode_probes --settings {params.settings:q}"
        " --tokenizer {input.tokenizer:q} --probes {input.probes:q} --output {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule schedule_injections:
    input:
        passages=rules.prepare_knowledge.output.passages,
    output:
        f"{RESULTS}/schedule_injections/{SCHEDULE}/schedule.parquet",
    log:
        **logs("schedule_injections", SCHEDULE),
    benchmark:
        benchmark_of("schedule_injections", SCHEDULE)
    group:
        group_of("schedule_injections")
    resources:
        **resources_for("schedule_injections"),
    params:
        settings=settings_for("schedule_injections"),
        code=code_digest("schedule_injections"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.schedule_injections --settings {params.settings:q}"
        " --passages {input.passages:q} --output {output:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"


rule pretrain_nursery:
    input:
        tokenizer=rules.train_tokenizer.output,
        sequences=(sequences(STUDY.pretrain_nursery.corpus) if STUDY.pretrain_nursery else []),
    output:
        manifests=[
            f"{RESULTS}/{PRETRAINED}".replace("{step}", str(each.step))
            for each in places(STUDY).nursery_checkpoints
        ],
        training=f"{RESULTS}/pretrain_nursery/{{model}}/training.parquet",
    log:
        **logs("pretrain_nursery", "{model}"),
    benchmark:
        benchmark_of("pretrain_nursery", "{model}")
    wildcard_constraints:
        model=one_of(NURSERIES),
    threads: STUDY.pretrain_nursery.num_threads if STUDY.pretrain_nursery else 1
    resources:
        **resources_for("pretrain_nursery"),
    params:
        settings=settings_for("pretrain_nursery"),
        code=code_digest("pretrain_nursery"),
        launch=launcher,
    shell:
        "{params.launch} -m ke_steps.pretrain_nursery --settings {params.settings:q}"
        " --tokenizer {input.tokenizer:q} --sequences {input.sequences:q}"
        " --output-manifests {output.manifests:q} --output-training {output.training:q}"
        " --record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}"
