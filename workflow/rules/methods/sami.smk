"""SAMI: training examples of responses under contrasted constitutions."""


rule build_sami_examples:
    input:
        responses=in_experiment("iteration-{iteration}/responses.jsonl"),
        queries=in_experiment("queries/train.jsonl"),
        constitutions=in_experiment("constitutions.jsonl"),
    output:
        examples=in_experiment("iteration-{iteration}/examples.jsonl"),
        counts=in_experiment("iteration-{iteration}/examples.json"),
    log:
        in_experiment("logs/build_sami_examples-{iteration}.log"),
    benchmark:
        in_experiment("benchmarks/build_sami_examples-{iteration}.tsv")
    wildcard_constraints:
        experiment=with_method("sami"),
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **needs("light"),
    params:
        code=code_digest("build_sami_examples"),
        prompts=prompts_of,
        filters=lambda wildcards: as_json(task_of(wildcards).filters),
        objective=lambda wildcards: settings_of(wildcards).training.objective.name,
        policy=lambda wildcards: f"iteration-{settings_of(wildcards).method.sampled_policy(int(wildcards.iteration))}",
    shell:
        stage("build_sami_examples") + "--responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --filters {params.filters:q} "
        "--objective {params.objective} --policy {params.policy} --output {output.examples:q} --counts {output.counts:q}"
