"""Held-out evaluation of policy 0 (the base model), 1, ..., T, and of other models beside them."""


rule sample_evaluation:
    input:
        model=lambda wildcards: policy_model(wildcards.experiment, wildcards.policy),
        queries=in_experiment("queries/eval.jsonl"),
        constitutions=evaluated_constitutions,
        shards=evaluation_shards,
    output:
        responses=in_experiment("{policy}/eval/responses.jsonl"),
        counts=in_experiment("{policy}/eval/sampling.json"),
    log:
        in_experiment("logs/sample_evaluation-{policy}.log"),
    benchmark:
        in_experiment("benchmarks/sample_evaluation-{policy}.tsv")
    wildcard_constraints:
        experiment=SAMPLED,
    conda:
        sampling_environment(lambda settings: settings.evaluation.sampling)
    threads: cores(sampling_kind)
    resources:
        **needs(sampling_kind),
        engine=slice_of("engine"),
    params:
        code=sampling_code(lambda settings: settings.evaluation.sampling),
        arguments=lambda wildcards: evaluation_samples(wildcards.experiment, wildcards.policy),
        share=joined,
        counts=lambda wildcards, output: flag("counts", output.get("counts")),
    shell:
        stage("sample_responses") + "--model {input.model:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} {params.arguments} --engine {resources.engine:q} {params.share} "
        "--output {output.responses:q} {params.counts}"


use rule sample_evaluation as sample_evaluation_shard with:
    input:
        model=lambda wildcards: policy_model(wildcards.experiment, wildcards.policy),
        queries=in_experiment("queries/eval.jsonl"),
        constitutions=evaluated_constitutions,
    output:
        responses=temp(in_experiment("{policy}/eval/responses/shard-{shard}.jsonl")),
    log:
        in_experiment("logs/sample_evaluation-{policy}/shard-{shard}.log"),
    benchmark:
        in_experiment("benchmarks/sample_evaluation-{policy}/shard-{shard}.tsv")
    threads: alike(lambda settings: settings.resources.of("sample").cores or HEAVY_THREADS, cores("sample"))
    resources:
        **needs("sample"),
        engine=alike(lambda settings: as_json(settings.engine)),
    params:
        share="--shard {shard}",
        counts="",


rule score_responses:
    input:
        model=lambda wildcards: policy(wildcards.experiment, int(wildcards.iteration)),
        base_model=lambda wildcards: policy(wildcards.experiment, 0),
        responses=in_experiment("iteration-{iteration}/eval/responses.jsonl"),
        base_responses=in_experiment("iteration-0/eval/responses.jsonl"),
        queries=in_experiment("queries/eval.jsonl"),
        constitutions=evaluated_constitutions,
    output:
        in_experiment("iteration-{iteration}/eval/scores.jsonl"),
    log:
        in_experiment("logs/score_responses-{iteration}.log"),
    benchmark:
        in_experiment("benchmarks/score_responses-{iteration}.tsv")
    wildcard_constraints:
        experiment=TRAINED,
    conda:
        "../../envs/training.yaml"
    threads: cores("score")
    resources:
        **needs("score"),
        engine=slice_of("engine"),
        processes=lambda wildcards: job_of(wildcards.experiment, "score").gpus or 1,  # a model too large for one GPU
    params:
        code=code_digest("score_responses"),
        prompts=prompts_of,
    shell:
        stage("score_responses") + "--model {input.model:q} --responses {input.responses:q} "
        "--base-model {input.base_model:q} --base-responses {input.base_responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --policy iteration-{wildcards.iteration} "
        "--base iteration-0 --engine {resources.engine:q} --processes {resources.processes} --output {output:q}"


# How judges are asked; no verdict depends on it.
ASKED = {
    "api_jobs": lambda wildcards: 1 if judge_of(wildcards).kind == "openai" else None,
    "limits": lambda wildcards: flag("limits", as_json(getattr(judge_of(wildcards), "limits", Limits()))),
}


rule judge_responses:
    input:
        responses=in_experiment("{policy}/eval/responses.jsonl"),
        comparator=lambda wildcards: f"{RESULTS}/{wildcards.experiment}/{policy_name(wildcards.comparator)}/eval/responses.jsonl",
        queries=in_experiment("queries/eval.jsonl"),
        constitutions=evaluated_constitutions,
        model=judge_model,
        server=judge_server,
    output:
        in_experiment("{policy}/eval/verdicts-{judge}-vs-{comparator}.jsonl"),
    log:
        in_experiment("logs/judge_responses-{judge}-{policy}-vs-{comparator}.log"),
    benchmark:
        in_experiment("benchmarks/judge_responses-{judge}-{policy}-vs-{comparator}.tsv")
    wildcard_constraints:
        judge=judges(lambda judge: judge.kind != "panel" and not local_model(judge)),
    conda:
        environment_of(lambda wildcards: judge_of(wildcards).kind == "likelihood")
    threads: cores("judge")
    resources:
        **needs("judge"),
        **ASKED,
    params:
        code=code_digest("judge_responses"),
        judge=lambda wildcards: as_json(judge_of(wildcards), exclude={"limits"}),
        judged=lambda wildcards: settings_of(wildcards).evaluation.judged,
        model=lambda wildcards, input: flag("model", input.model),
        server=lambda wildcards, input: flag("server", input.server),
        answers=SETTINGS.root.answers,
        seed=seed_of,
    shell:
        stage("judge_responses") + "--responses {input.responses:q} --comparator-responses {input.comparator:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --judged {params.judged} "
        "--judge {params.judge:q} --judge-name {wildcards.judge} {params.model} {params.server} {resources.limits} "
        "--answers {params.answers:q} --account {wildcards.experiment}/{wildcards.judge} --seed {params.seed} --output {output:q}"


# A judge that is a model of this cluster is not asked from a login node.
use rule judge_responses as judge_by_model with:
    wildcard_constraints:
        judge=judges(local_model),
    threads: cores(judging_kind)
    resources:
        **needs("score"),
        **ASKED,


rule combine_verdicts:
    input:
        member_verdicts,
    output:
        in_experiment("{policy}/eval/verdicts-{judge}-vs-{comparator}.jsonl"),
    log:
        in_experiment("logs/combine_verdicts-{judge}-{policy}-vs-{comparator}.log"),
    benchmark:
        in_experiment("benchmarks/combine_verdicts-{judge}-{policy}-vs-{comparator}.tsv")
    wildcard_constraints:
        judge=judges(lambda judge: judge.kind == "panel"),
    conda:
        "../../envs/analysis.yaml"
    resources:
        **needs("light"),
    params:
        code=code_digest("combine_verdicts"),
    shell:
        stage("combine_verdicts") + "--members {input:q} --judge-name {wildcards.judge} --output {output:q}"
