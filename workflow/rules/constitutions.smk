"""Principles, by a person or a model, and the constitutions made of them."""


rule write_principles:
    input:
        principles=principle_files,
        model=writer_model,
        server=writer_server,
    output:
        in_experiment("principles.jsonl"),
    log:
        in_experiment("logs/write_principles.log"),
    benchmark:
        in_experiment("benchmarks/write_principles.tsv")
    conda:
        "../../envs/sami.yaml"
    threads: lambda wildcards: HEAVY_THREADS if writer_of(wildcards).kind == "local" else 1
    resources:
        mem_mb=lambda wildcards: 4000 if writer_of(wildcards).kind == "local" else 1000,
    params:
        code=code_digest("write_principles"),
        writer=lambda wildcards: as_json(writer_of(wildcards)),
        name=lambda wildcards: settings_of(wildcards).constitutions.writer,
        model=lambda wildcards, input: flag("model", input.model),
        server=lambda wildcards, input: flag("server", input.server),
        seed=seed_of,
    shell:
        stage("write_principles") + "--principles {input.principles[0]:q} --writer {params.writer:q} "
        "--writer-name {params.name:q} {params.model} {params.server} --seed {params.seed} --output {output:q}"


rule build_constitutions:
    input:
        in_experiment("principles.jsonl"),
    output:
        in_experiment("constitutions.jsonl"),
    log:
        in_experiment("logs/build_constitutions.log"),
    benchmark:
        in_experiment("benchmarks/build_constitutions.tsv")
    conda:
        "../../envs/sami.yaml"
    resources:
        mem_mb=1000,
    params:
        code=code_digest("build_constitutions"),
        settings=slice_of("constitutions"),
        seed=seed_of,
    shell:
        stage("build_constitutions") + "--principles {input:q} --settings {params.settings:q} "
        "--seed {params.seed} --output {output:q}"
