"""Responses for training, sampled from the policy of the iteration before."""


def train_slice(wildcards):
    """Which of the ordered training queries an iteration uses: never the same twice."""
    counts, iteration = settings_of(wildcards).train_counts(), int(wildcards.iteration)
    return f"--first {sum(counts[: iteration - 1])} --count {counts[iteration - 1]}"


def shuffle_flag(wildcards):
    return "--shuffle" if settings_of(wildcards).constitutions.shuffle else ""


rule sample_responses:
    output:
        responses=in_experiment("iteration-{iteration}/responses.jsonl"),
        counts=in_experiment("iteration-{iteration}/sampling.json"),
    input:
        model=lambda wildcards: policy(wildcards.experiment, int(wildcards.iteration) - 1),
        queries=in_experiment("queries/train.jsonl"),
        constitutions=in_experiment("constitutions.jsonl"),
    wildcard_constraints:
        iteration=r"[1-9]\d*",
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
    log:
        in_experiment("logs/sample_responses-{iteration}.log"),
    benchmark:
        in_experiment("benchmarks/sample_responses-{iteration}.tsv")
    threads: HEAVY_THREADS
    resources:
        mem_mb=4000,
    shell:
        stage("sample_responses") + "--model {input.model:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --sampling {params.sampling:q} "
        "--policy {params.policy} {params.slice} {params.shuffle} --filters {params.filters:q} --stop {params.stop:q} --seed {params.seed} "
        "--output {output.responses:q} --counts {output.counts:q}"
