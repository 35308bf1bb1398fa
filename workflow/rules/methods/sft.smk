"""Supervised fine-tuning: training examples of the policy's own responses, or of demonstrations, which need no policy."""

from sami.workflow.arguments import flags


rule build_sft_examples:
    input:
        queries=in_experiment(layout.TRAIN_QUERIES),
        # The policy's own, where it learns them.
        responses=lambda wildcards: (
            LAYOUT.path(layout.RESPONSES, **wildcards) if settings_of(wildcards).method.draws_responses else []
        ),
        # Not for demonstrations without a constitution, which no principle changes.
        constitutions=lambda wildcards: (
            LAYOUT.path(layout.CONSTITUTIONS, wildcards.experiment)
            if settings_of(wildcards).method.draws_responses
            or settings_of(wildcards).method.constitution == "in-prompt"
            else []
        ),
    output:
        examples=in_experiment(layout.EXAMPLES),
        counts=in_experiment(layout.EXAMPLE_COUNTS),
    log:
        in_experiment(layout.log("build_sft_examples-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("build_sft_examples-{iteration}"))
    wildcard_constraints:
        experiment=BY_METHOD["sft"],
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_sft_examples"),
        responses=lambda wildcards, input: flag("responses", input.responses),
        # What is learned: responses of a policy, or the demonstrations of an iteration, with constitutions drawn or not.
        # Apart from the files: what is made of an input is not looked at when it is told what is out of date.
        learned=lambda wildcards: (
            flags(policy=ARGUMENTS.sampled_policy(wildcards.experiment, wildcards.iteration))
            if settings_of(wildcards).method.draws_responses
            else ARGUMENTS.training_queries(wildcards.experiment, wildcards.iteration)
        ),
        drawn=lambda wildcards: (
            flags(seed=seed_of(wildcards), shuffle=settings_of(wildcards).constitutions.shuffle)
            if settings_of(wildcards).method.constitution == "in-prompt"
            and not settings_of(wildcards).method.draws_responses
            else ""
        ),
        constitutions=lambda wildcards, input: flag("constitutions", input.constitutions),
        prompts=prompts_of,
        template=lambda wildcards: settings_of(wildcards).method.template(INPUTS.task(wildcards.experiment).prompts),
        filters=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).filters),
    shell:
        stage("build_sft_examples")
        + "--queries {input.queries:q} {params.constitutions} {params.responses} {params.learned} {params.drawn} "
        "--prompts {params.prompts:q} --template {params.template:q} --filters {params.filters:q} "
        "--output {output.examples:q} --counts {output.counts:q}"
