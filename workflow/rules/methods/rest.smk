"""ReST: training examples of the responses with high rewards; those of one sampling serve several iterations."""

from sami.workflow.arguments import flags


rule build_rest_examples:
    input:
        responses=by_wildcards(INPUTS.learned_responses),
        rewards=by_wildcards(INPUTS.learned_rewards),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
    output:
        examples=in_experiment(layout.EXAMPLES),
        counts=in_experiment(layout.EXAMPLE_COUNTS),
    log:
        in_experiment(layout.log("build_rest_examples-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("build_rest_examples-{iteration}"))
    wildcard_constraints:
        experiment=BY_METHOD["rest"],
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_rest_examples"),
        choice=lambda wildcards: flags(**settings_of(wildcards).method.choice(int(wildcards.iteration))),
        prompts=prompts_of,
        template=lambda wildcards: settings_of(wildcards).method.template(INPUTS.task(wildcards.experiment).prompts),
        filters=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).filters),
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("build_rest_examples") + "--responses {input.responses:q} --rewards {input.rewards:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} {params.choice} "
        "--prompts {params.prompts:q} --template {params.template:q} --filters {params.filters:q} "
        "--policy {params.policy} --iteration {wildcards.iteration} "
        "--output {output.examples:q} --counts {output.counts:q}"
