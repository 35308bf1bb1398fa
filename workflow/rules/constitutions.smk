"""Principles, by a person or a model, and the constitutions made of them."""


def writer_of(wildcards):
    return SETTINGS.writers[settings_of(wildcards).constitutions.writer]


def writer_model(wildcards):
    """The model folder of a writer that runs on this machine."""
    writer = writer_of(wildcards)
    return f"{RESOURCES}/models/{writer.model}" if writer.kind == "local" else []


rule write_principles:
    output:
        in_experiment("principles.jsonl"),
    input:
        principles=lambda w: f"{SETTINGS.root.constitutions}/{settings_of(w).constitutions.principles}.yaml",
        model=writer_model,
    params:
        code=code_digest("write_principles"),
        writer=lambda wildcards: as_json(writer_of(wildcards)),
        name=lambda wildcards: settings_of(wildcards).constitutions.writer,
        model=lambda wildcards, input: f"--model {input.model}" if input.model else "",
        seed=seed_of,
    log:
        in_experiment("logs/write_principles.log"),
    benchmark:
        in_experiment("benchmarks/write_principles.tsv")
    threads: lambda wildcards: HEAVY_THREADS if writer_of(wildcards).kind == "local" else 1
    resources:
        mem_mb=lambda wildcards: 4000 if writer_of(wildcards).kind == "local" else 1000,
    shell:
        stage("write_principles") + "--principles {input.principles:q} --writer {params.writer:q} "
        "--writer-name {params.name:q} {params.model} --seed {params.seed} --output {output:q}"


rule build_constitutions:
    output:
        in_experiment("constitutions.jsonl"),
    input:
        in_experiment("principles.jsonl"),
    params:
        code=code_digest("build_constitutions"),
        settings=slice_of("constitutions"),
        seed=seed_of,
    log:
        in_experiment("logs/build_constitutions.log"),
    benchmark:
        in_experiment("benchmarks/build_constitutions.tsv")
    resources:
        mem_mb=1000,
    shell:
        stage("build_constitutions") + "--principles {input:q} --settings {params.settings:q} "
        "--seed {params.seed} --output {output:q}"
