"""Principles, by a person or a model, and the constitutions made of them."""

# Principles that no model of this cluster writes are no work for it.
PRINCIPLES_ARE_LOCAL = MAIN_PROCESS and not any(
    local_model(SETTINGS.writers[SETTINGS.experiments[name].constitutions.writer]) for name in REQUESTED
)


rule write_principles:
    input:
        principles=by_wildcards(INPUTS.principles),
        model=by_wildcards(INPUTS.writer_model),
        server=writer_server(layout.WRITER_SERVER),
    output:
        in_experiment(layout.PRINCIPLES),
    log:
        in_experiment(layout.log("write_principles")),
    benchmark:
        in_experiment(layout.benchmark("write_principles"))
    wildcard_constraints:
        experiment=experiments(lambda settings: not settings.constitutions.keep),
    localrule: PRINCIPLES_ARE_LOCAL
    conda:
        environment_of(lambda wildcards: writer_of(wildcards).runs_model)
    threads: cores(writing_kind)
    resources:
        **job_resources(writing_kind),
        api_jobs=lambda wildcards: 1 if writer_of(wildcards).asks_endpoint else None,
    params:
        code=writing_code,
        writer=lambda wildcards: as_json(writer_of(wildcards), exclude={"price"}),
        name=lambda wildcards: settings_of(wildcards).constitutions.writer,
        model=lambda wildcards, input: flag("model", input.model),
        server=lambda wildcards, input: flag("server", input.server),
        wanted=by_wildcards(ARGUMENTS.writing),
        seed=seed_of,
    shell:
        stage("write_principles") + "--principles {input.principles[0]:q} --writer {params.writer:q} "
        "--writer-name {params.name:q} {params.model} {params.server} {params.wanted} --seed {params.seed} "
        "--output {output:q}"


# All pairs, of which screening keeps some.
use rule write_principles as propose_principles with:
    output:
        in_experiment(layout.PROPOSED),
    log:
        in_experiment(layout.log("propose_principles")),
    benchmark:
        in_experiment(layout.benchmark("propose_principles"))
    wildcard_constraints:
        experiment=experiments(lambda settings: settings.constitutions.keep),


# Training neither waits for held-out principles nor depends on them.
use rule write_principles as write_held_out_principles with:
    input:
        principles=by_wildcards(INPUTS.held_out_principles),
        model=by_wildcards(INPUTS.writer_model),
        server=writer_server(layout.HELD_OUT_WRITER_SERVER),
    output:
        in_experiment(layout.HELD_OUT + layout.PRINCIPLES),
    log:
        in_experiment(layout.log("write_held_out_principles")),
    benchmark:
        in_experiment(layout.benchmark("write_held_out_principles"))
    wildcard_constraints:
        experiment=WITH_HELD_OUT,
    priority: 1  # what is wrong with them should be known before hours of training
    localrule: PRINCIPLES_ARE_LOCAL
    params:
        wanted="",


rule build_constitutions:
    input:
        principles=in_experiment(layout.PRINCIPLES),
    output:
        in_experiment(layout.CONSTITUTIONS),
    log:
        in_experiment(layout.log("build_constitutions")),
    benchmark:
        in_experiment(layout.benchmark("build_constitutions"))
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_constitutions"),
        settings=by_wildcards(ARGUMENTS.constitutions),
        training=lambda wildcards, input: flag("training", input.get("training")),
        seed=seed_of,
    shell:
        stage("build_constitutions") + "--principles {input.principles:q} {params.training} "
        "--settings {params.settings:q} --seed {params.seed} --output {output:q}"


use rule build_constitutions as build_held_out_constitutions with:
    input:
        principles=in_experiment(layout.HELD_OUT + layout.PRINCIPLES),
        training=in_experiment(layout.PRINCIPLES),
    output:
        in_experiment(layout.HELD_OUT + layout.CONSTITUTIONS),
    log:
        in_experiment(layout.log("build_held_out_constitutions")),
    benchmark:
        in_experiment(layout.benchmark("build_held_out_constitutions"))
    wildcard_constraints:
        experiment=WITH_HELD_OUT,
    priority: 1
    localrule: True
