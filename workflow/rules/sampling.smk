"""Responses for training, sampled from the policy of the iteration before."""


rule sample_responses:
    input:
        model=lambda wildcards: policy(wildcards.experiment, int(wildcards.iteration) - 1),
        queries=in_experiment("queries/train.jsonl"),
        constitutions=in_experiment("constitutions.jsonl"),
    output:
        responses=in_experiment("iteration-{iteration}/responses.jsonl"),
        counts=in_experiment("iteration-{iteration}/sampling.json"),
    log:
        in_experiment("logs/sample_responses-{iteration}.log"),
    benchmark:
        in_experiment("benchmarks/sample_responses-{iteration}.tsv")
    wildcard_constraints:
        iteration=r"[1-9]\d*",
    conda:
        "../../envs/sami.yaml"
    threads: HEAVY_THREADS
    resources:
        mem_mb=4000,
    params:
        code=code_digest("sample_responses"),
        prompts=prompts_of,
        stop=lambda wildcards: task_of(wildcards).stop,
        filters=lambda wildcards: as_json(task_of(wildcards).filters),
        sampling=slice_of("sampling"),
        slice=train_slice,
        shuffle=shuffle_flag,
        policy=lambda wildcards: f"iteration-{int(wildcards.iteration) - 1}",
        seed=seed_of,
    shell:
        stage("sample_responses") + "--model {input.model:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --sampling {params.sampling:q} "
        "--policy {params.policy} {params.slice} {params.shuffle} --filters {params.filters:q} "
        "--stop {params.stop:q} --seed {params.seed} "
        "--output {output.responses:q} --counts {output.counts:q}"
