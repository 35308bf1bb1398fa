"""SAMI: training examples of responses under contrasted constitutions."""

from sami.workflow.arguments import flags


# The stage of rule score_relevance on the responses for training, where examples are left out by it.
rule score_training_relevance:
    input:
        model=by_wildcards(INPUTS.base_model),  # whichever policy drew the responses
        responses=in_experiment(layout.RESPONSES),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
    output:
        in_experiment(layout.TRAINING_RELEVANCE),
    log:
        in_experiment(layout.log("score_training_relevance")),
    benchmark:
        in_experiment(layout.benchmark("score_training_relevance"))
    wildcard_constraints:
        experiment=experiments(lambda settings: not settings.external and settings.method.relevance_others),
        iteration=r"[1-9]\d*",
    conda:
        "../../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        engine=slice_of("engine"),
        processes=lambda wildcards: JOBS.of(wildcards.experiment, "score").gpus or 1,
    params:
        code=code_digest("score_relevance"),
        prompts=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).prompts),
        policy=by_wildcards(ARGUMENTS.sampled_policy),
        scorer=lambda wildcards: settings_of(wildcards).model,
        others=lambda wildcards: settings_of(wildcards).method.relevance_others,
        seed=seed_of,
    shell:
        stage("score_relevance")
        + "--model {input.model:q} --responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --policy {params.policy} "
        "--scorer {params.scorer} --others {params.others} --seed {params.seed} --engine {resources.engine:q} "
        "--processes {resources.processes} --contexts alone --output {output:q}"


rule build_sami_examples:
    input:
        responses=in_experiment(layout.RESPONSES),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        relevance=lambda wildcards: (
            LAYOUT.path(layout.TRAINING_RELEVANCE, **wildcards) if settings_of(wildcards).method.relevance else []
        ),
    output:
        examples=in_experiment(layout.EXAMPLES),
        counts=in_experiment(layout.EXAMPLE_COUNTS),
    log:
        in_experiment(layout.log("build_sami_examples-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("build_sami_examples-{iteration}"))
    wildcard_constraints:
        experiment=BY_METHOD["sami"],
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_sami_examples"),
        prompts=prompts_of,
        filters=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).filters),
        objective=lambda wildcards: settings_of(wildcards).training.objective.name,
        others=by_wildcards(ARGUMENTS.other_queries),
        relevant=lambda wildcards, input: (
            flags(relevance=[input.relevance], relevant=as_json(settings_of(wildcards).method.relevance))
            if input.relevance
            else ""
        ),
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("build_sami_examples") + "--responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --filters {params.filters:q} "
        "--objective {params.objective} {params.others} {params.relevant} --policy {params.policy} "
        "--output {output.examples:q} --counts {output.counts:q}"
