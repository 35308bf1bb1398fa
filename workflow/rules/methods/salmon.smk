"""SALMON: pairs of each query's responses with the highest and the lowest reward, in place of PPO."""


rule build_salmon_examples:
    input:
        responses=in_experiment(layout.RESPONSES),
        rewards=in_experiment(layout.REWARDS),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
    output:
        pairs=in_experiment(layout.PAIRS),
        counts=in_experiment(layout.EXAMPLE_COUNTS),
    log:
        in_experiment(layout.log("build_salmon_examples-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("build_salmon_examples-{iteration}"))
    wildcard_constraints:
        experiment=BY_METHOD["salmon"],
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_salmon_examples"),
        prompts=prompts_of,
        template=lambda wildcards: settings_of(wildcards).method.template(INPUTS.task(wildcards.experiment).prompts),
        filters=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).filters),
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("build_salmon_examples") + "--responses {input.responses:q} --rewards {input.rewards:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --prompts {params.prompts:q} "
        "--template {params.template:q} --filters {params.filters:q} --policy {params.policy} "
        "--output {output.pairs:q} --counts {output.counts:q}"
