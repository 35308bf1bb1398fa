"""SAMI: training examples of responses under contrasted constitutions."""


rule build_sami_examples:
    input:
        responses=in_experiment(layout.RESPONSES),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        relevance=by_wildcards(INPUTS.training_relevance),
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
        relevance=lambda wildcards, input: flag("relevance", input.relevance),
        # Apart from the file: what is made of an input is not looked at when it is told what is out of date.
        rule=lambda wildcards: (
            flag("relevant", as_json(settings_of(wildcards).method.relevance))
            if settings_of(wildcards).method.relevance
            else ""
        ),
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("build_sami_examples") + "--responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --filters {params.filters:q} "
        "--objective {params.objective} {params.others} {params.relevance} {params.rule} --policy {params.policy} "
        "--output {output.examples:q} --counts {output.counts:q}"
