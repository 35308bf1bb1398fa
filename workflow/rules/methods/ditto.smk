"""DITTO: queries and training examples of demonstrations, and pairs of these with the responses of all policies so far."""

from sami.workflow.arguments import flags


rule build_ditto_queries:
    input:
        demonstrations=lambda wildcards: settings_of(wildcards).method.demonstrations,
        held_out=in_experiment(layout.EVAL_QUERIES),
    output:
        in_experiment(layout.DEMONSTRATED_QUERIES),
    log:
        in_experiment(layout.log("build_ditto_queries")),
    benchmark:
        in_experiment(layout.benchmark("build_ditto_queries"))
    wildcard_constraints:
        experiment=BY_METHOD["ditto"],
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_ditto_queries"),
        task=lambda wildcards: settings_of(wildcards).task,
    shell:
        stage("build_ditto_queries") + "--demonstrations {input.demonstrations:q} --held-out {input.held_out:q} "
        "--task {params.task:q} --output {output:q}"


rule build_ditto_examples:
    input:
        demonstrations=lambda wildcards: settings_of(wildcards).method.demonstrations,
        queries=in_experiment(layout.DEMONSTRATED_QUERIES),
        responses=by_wildcards(INPUTS.paired_responses),
        constitutions=in_experiment(layout.CONSTITUTIONS),
    output:
        examples=in_experiment(layout.PAIRS),
        counts=in_experiment(layout.EXAMPLE_COUNTS),
    log:
        in_experiment(layout.log("build_ditto_examples-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("build_ditto_examples-{iteration}"))
    wildcard_constraints:
        experiment=BY_METHOD["ditto"],
        iteration=r"[2-9]|[1-9]\d+",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_ditto_examples"),
        prompts=prompts_of,
        template=lambda wildcards: settings_of(wildcards).method.template(INPUTS.task(wildcards.experiment).prompts),
        # Apart from the next, since what is made of inputs makes nothing out of date.
        pairs=lambda wildcards: flags(
            policies=ARGUMENTS.paired_policies(wildcards.experiment, wildcards.iteration),
            filters=as_json(INPUTS.task(wildcards.experiment).filters),
            shares=as_json(settings_of(wildcards).method.shares),
            seed=seed_of(wildcards),
        ),
        sampled=lambda wildcards, input: flags(responses=list(input.responses), constitutions=input.constitutions),
    shell:
        stage("build_ditto_examples") + "--demonstrations {input.demonstrations:q} --queries {input.queries:q} "
        "--prompts {params.prompts:q} --template {params.template:q} {params.pairs} {params.sampled} "
        "--output {output.examples:q} --counts {output.counts:q}"


# Fine-tuning learns the demonstrations alone, so that no reference model has a say.
use rule build_ditto_examples as build_ditto_first_examples with:
    input:
        demonstrations=lambda wildcards: settings_of(wildcards).method.demonstrations,
        queries=in_experiment(layout.DEMONSTRATED_QUERIES),
    output:
        examples=in_experiment(layout.EXAMPLES),
        counts=in_experiment(layout.EXAMPLE_COUNTS),
    wildcard_constraints:
        experiment=BY_METHOD["ditto"],
        iteration="1",
    localrule: True
    params:
        pairs="",
        sampled="",
