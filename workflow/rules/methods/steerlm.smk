"""SteerLM: labels of sampled responses, and training examples of the responses behind their labels."""


rule label_responses:
    input:
        responses=in_experiment(layout.RESPONSES),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        principles=in_experiment(layout.PRINCIPLES),
    output:
        in_experiment(layout.LABELS),
    log:
        in_experiment(layout.log("label_responses-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("label_responses-{iteration}"))
    wildcard_constraints:
        experiment=BY_METHOD["steerlm"],
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("label_responses"),
        method=lambda wildcards: as_json(settings_of(wildcards).method, exclude={"labels", "asked", "steering"}),
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("label_responses") + "--responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --principles {input.principles:q} --method {params.method:q} "
        "--policy {params.policy} --output {output:q}"


rule build_steerlm_examples:
    input:
        responses=in_experiment(layout.RESPONSES),
        labels=in_experiment(layout.LABELS),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
    output:
        examples=in_experiment(layout.EXAMPLES),
        counts=in_experiment(layout.EXAMPLE_COUNTS),
    log:
        in_experiment(layout.log("build_steerlm_examples-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("build_steerlm_examples-{iteration}"))
    wildcard_constraints:
        experiment=BY_METHOD["steerlm"],
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_steerlm_examples"),
        prompts=prompts_of,
        template=lambda wildcards: settings_of(wildcards).method.template(INPUTS.task(wildcards.experiment).prompts),
        filters=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).filters),
        method=lambda wildcards: as_json(settings_of(wildcards).method, exclude={"attributes", "asked", "steering"}),
        seed=seed_of,
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("build_steerlm_examples") + "--responses {input.responses:q} --labels {input.labels:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --prompts {params.prompts:q} "
        "--template {params.template:q} --filters {params.filters:q} --method {params.method:q} "
        "--seed {params.seed} --policy {params.policy} --output {output.examples:q} --counts {output.counts:q}"
