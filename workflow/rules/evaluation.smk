"""Held-out evaluation of policy 0 (the base model), 1, ..., T."""


rule sample_evaluation:
    input:
        model=lambda wildcards: policy(wildcards.experiment, int(wildcards.iteration)),
        queries=in_experiment("queries/eval.jsonl"),
        constitutions=in_experiment("constitutions.jsonl"),
    output:
        responses=in_experiment("iteration-{iteration}/eval/responses.jsonl"),
        counts=in_experiment("iteration-{iteration}/eval/sampling.json"),
    log:
        in_experiment("logs/sample_evaluation-{iteration}.log"),
    benchmark:
        in_experiment("benchmarks/sample_evaluation-{iteration}.tsv")
    conda:
        "../../envs/sami.yaml"
    threads: HEAVY_THREADS
    resources:
        mem_mb=4000,
    params:
        code=code_digest("sample_responses"),
        prompts=prompts_of,
        stop=lambda wildcards: task_of(wildcards).stop,
        sampling=slice_of("evaluation", "sampling"),
        eval_count=lambda wildcards: settings_of(wildcards).queries.eval,
        shuffle=shuffle_flag,
        seed=seed_of,
    shell:
        stage("sample_responses") + "--model {input.model:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --sampling {params.sampling:q} "
        "--policy iteration-{wildcards.iteration} --count {params.eval_count} {params.shuffle} --stop {params.stop:q} "
        "--seed {params.seed} --output {output.responses:q} --counts {output.counts:q}"


rule estimate_information:
    input:
        model=lambda wildcards: policy(wildcards.experiment, int(wildcards.iteration)),
        base_model=lambda wildcards: policy(wildcards.experiment, 0),
        responses=in_experiment("iteration-{iteration}/eval/responses.jsonl"),
        base_responses=in_experiment("iteration-0/eval/responses.jsonl"),
        queries=in_experiment("queries/eval.jsonl"),
        constitutions=in_experiment("constitutions.jsonl"),
    output:
        in_experiment("iteration-{iteration}/eval/information.jsonl"),
    log:
        in_experiment("logs/estimate_information-{iteration}.log"),
    benchmark:
        in_experiment("benchmarks/estimate_information-{iteration}.tsv")
    conda:
        "../../envs/sami.yaml"
    threads: HEAVY_THREADS
    resources:
        mem_mb=4000,
        engine=slice_of("engine"),
    params:
        code=code_digest("estimate_information"),
        prompts=prompts_of,
    shell:
        stage("estimate_information") + "--model {input.model:q} --responses {input.responses:q} "
        "--base-model {input.base_model:q} --base-responses {input.base_responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --policy iteration-{wildcards.iteration} "
        "--base iteration-0 --engine {resources.engine:q} --output {output:q}"


rule judge_responses:
    input:
        responses=in_experiment("iteration-{iteration}/eval/responses.jsonl"),
        comparator=in_experiment("iteration-0/eval/responses.jsonl"),
        constitutions=in_experiment("constitutions.jsonl"),
    output:
        in_experiment("iteration-{iteration}/eval/verdicts-{judge}-vs-base.jsonl"),
    log:
        in_experiment("logs/judge_responses-{judge}-{iteration}.log"),
    benchmark:
        in_experiment("benchmarks/judge_responses-{judge}-{iteration}.tsv")
    conda:
        "../../envs/sami.yaml"
    resources:
        mem_mb=1000,
    params:
        code=code_digest("judge_responses"),
        judge=lambda wildcards: as_json(SETTINGS.judges[wildcards.judge]),
    shell:
        stage("judge_responses") + "--responses {input.responses:q} --comparator-responses {input.comparator:q} "
        "--constitutions {input.constitutions:q} --judge {params.judge:q} --judge-name {wildcards.judge} "
        "--output {output:q}"
