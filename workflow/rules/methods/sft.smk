"""Supervised fine-tuning: training examples of the policy's own responses, or of demonstrations, which need no policy."""

from sami.workflow.arguments import flags


def sft_responses(wildcards):
    """Input function: the policy's own responses, where it learns them."""
    own = settings_of(wildcards).method.draws_responses
    return LAYOUT.path(layout.RESPONSES, **wildcards) if own else []


def sft_constitutions(wildcards):
    """Input function: the constitutions, but for demonstrations without one, which no principle changes."""
    method = settings_of(wildcards).method
    needed = method.draws_responses or method.constitution == "in-prompt"
    return LAYOUT.path(layout.CONSTITUTIONS, wildcards.experiment) if needed else []


def sft_source(wildcards, input):
    """Arguments that say what is learned: responses of a policy, or the demonstrations of an iteration."""
    names = wildcards.experiment, wildcards.iteration
    if input.responses:
        return flags(responses=[input.responses], policy=ARGUMENTS.sampled_policy(*names))
    settings = settings_of(wildcards)
    drawn = flags(seed=settings.seed, shuffle=settings.constitutions.shuffle) if input.constitutions else ""
    return f"{ARGUMENTS.training_queries(*names)} {drawn}"


rule build_sft_examples:
    input:
        queries=in_experiment(layout.TRAIN_QUERIES),
        responses=sft_responses,
        constitutions=sft_constitutions,
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
        source=sft_source,
        constitutions=lambda wildcards, input: flag("constitutions", input.constitutions),
        prompts=prompts_of,
        template=lambda wildcards: settings_of(wildcards).method.template(INPUTS.task(wildcards.experiment).prompts),
        filters=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).filters),
    shell:
        stage("build_sft_examples") + "--queries {input.queries:q} {params.constitutions} {params.source} "
        "--prompts {params.prompts:q} --template {params.template:q} --filters {params.filters:q} "
        "--output {output.examples:q} --counts {output.counts:q}"
