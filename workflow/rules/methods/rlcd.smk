"""RLCD: pairs of responses under contrasted constitutions, to be learned without these."""


rule build_rlcd_examples:
    input:
        responses=in_experiment(layout.RESPONSES),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
    output:
        pairs=in_experiment(layout.PAIRS),
        counts=in_experiment(layout.EXAMPLE_COUNTS),
    log:
        in_experiment(layout.log("build_rlcd_examples-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("build_rlcd_examples-{iteration}"))
    wildcard_constraints:
        experiment=BY_METHOD["rlcd"],
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_rlcd_examples"),
        prompts=prompts_of,
        template=lambda wildcards: settings_of(wildcards).method.template(INPUTS.task(wildcards.experiment).prompts),
        filters=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).filters),
        method=slice_of("method"),
        seed=seed_of,
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("build_rlcd_examples") + "--responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --template {params.template:q} "
        "--filters {params.filters:q} --method {params.method:q} --seed {params.seed} --policy {params.policy} "
        "--output {output.pairs:q} --counts {output.counts:q}"
