"""Principles, by a person or a model, and the constitutions made of them."""


rule write_principles:
    input:
        principles=principle_files("principles"),
        model=writer_model,
        server=writer_server("writer"),
    output:
        in_experiment("principles.jsonl"),
    log:
        in_experiment("logs/write_principles.log"),
    benchmark:
        in_experiment("benchmarks/write_principles.tsv")
    localrule: PRINCIPLES_ARE_LIGHT
    conda:
        environment_of(lambda wildcards: writer_of(wildcards).kind == "local")
    threads: cores(writing_kind)
    resources:
        **needs(writing_kind),
        api_jobs=lambda wildcards: 1 if writer_of(wildcards).kind == "endpoint" else None,
    params:
        code=lambda wildcards: code_digest("write_principles", without=other_writers(writer_of(wildcards))),
        writer=lambda wildcards: as_json(writer_of(wildcards), exclude={"price"}),
        name=lambda wildcards: settings_of(wildcards).constitutions.writer,
        model=lambda wildcards, input: flag("model", input.model),
        server=lambda wildcards, input: flag("server", input.server),
        seed=seed_of,
    shell:
        stage("write_principles") + "--principles {input.principles[0]:q} --writer {params.writer:q} "
        "--writer-name {params.name:q} {params.model} {params.server} --seed {params.seed} --output {output:q}"


# Training neither waits for held-out principles nor depends on them.
use rule write_principles as write_held_out_principles with:
    input:
        principles=principle_files("held_out"),
        model=writer_model,
        server=writer_server("held-out-writer"),
    output:
        in_experiment("held-out/principles.jsonl"),
    log:
        in_experiment("logs/write_held_out_principles.log"),
    benchmark:
        in_experiment("benchmarks/write_held_out_principles.tsv")
    wildcard_constraints:
        experiment=WITH_HELD_OUT,
    priority: 1  # what is wrong with them should be known before hours of training


rule build_constitutions:
    input:
        principles=in_experiment("principles.jsonl"),
    output:
        in_experiment("constitutions.jsonl"),
    log:
        in_experiment("logs/build_constitutions.log"),
    benchmark:
        in_experiment("benchmarks/build_constitutions.tsv")
    conda:
        "../../envs/analysis.yaml"
    resources:
        **needs("light"),
    params:
        code=code_digest("build_constitutions"),
        settings=lambda wildcards: as_json(settings_of(wildcards).constitutions, exclude={"held_out"}),
        learned=lambda wildcards, input: flag("learned", input.get("learned")),
        seed=seed_of,
    shell:
        stage("build_constitutions") + "--principles {input.principles:q} {params.learned} "
        "--settings {params.settings:q} --seed {params.seed} --output {output:q}"


use rule build_constitutions as build_held_out_constitutions with:
    input:
        principles=in_experiment("held-out/principles.jsonl"),
        learned=in_experiment("principles.jsonl"),
    output:
        in_experiment("held-out/constitutions.jsonl"),
    log:
        in_experiment("logs/build_held_out_constitutions.log"),
    benchmark:
        in_experiment("benchmarks/build_held_out_constitutions.tsv")
    wildcard_constraints:
        experiment=WITH_HELD_OUT,
    priority: 1
