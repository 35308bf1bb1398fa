"""Held-out evaluation of policy 0 (the base model), 1, ..., T, and of other models beside them."""

# The same name can be a model in one experiment and a file of responses in another.
SAMPLED = before(
    {
        name: f"(?:{'|'.join(map(re.escape, settings.evaluation.models)) or '(?!)'}|iteration-\\d+)/"
        for name, settings in SETTINGS.experiments.items()
        if not settings.external
    }
)


rule sample_evaluation:
    input:
        model=by_wildcards(INPUTS.policy_model),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
        shards=by_wildcards(INPUTS.evaluation_chunks),
    output:
        responses=in_experiment(layout.EVAL_RESPONSES),
        counts=in_experiment(layout.EVAL_SAMPLING_COUNTS),
    log:
        in_experiment(layout.log("sample_evaluation")),
    benchmark:
        in_experiment(layout.benchmark("sample_evaluation"))
    wildcard_constraints:
        experiment=SAMPLED,
    conda:
        sampling_environment(lambda settings: settings.evaluation.sampling)
    threads: cores(sampling_kind)
    resources:
        **job_resources(sampling_kind),
        engine=slice_of("engine"),
    params:
        code=sampling_code(lambda settings: settings.evaluation.sampling),
        arguments=by_wildcards(ARGUMENTS.evaluation_samples),
        share=chunk_argument,
        counts=lambda wildcards, output: flag("counts", output.get("counts")),
    shell:
        stage("sample_responses") + "--model {input.model:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} {params.arguments} --engine {resources.engine:q} {params.share} "
        "--output {output.responses:q} {params.counts}"


use rule sample_evaluation as sample_evaluation_shard with:
    input:
        model=by_wildcards(INPUTS.policy_model),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
    output:
        responses=temp(in_experiment(layout.EVAL_RESPONSE_CHUNK)),
    log:
        in_experiment(layout.log("sample_evaluation_shard")),
    benchmark:
        in_experiment(layout.benchmark("sample_evaluation_shard"))
    threads: uniform(lambda settings: settings.resources.of("sample").cores or HEAVY_THREADS, cores("sample"))
    resources:
        **job_resources("sample"),
        engine=uniform(lambda settings: as_json(settings.engine)),
    params:
        share="--shard {shard}",
        counts="",


rule score_responses:
    input:
        model=by_wildcards(INPUTS.iteration_model),
        base_model=by_wildcards(INPUTS.base_model),
        responses=in_experiment(layout.EVAL_RESPONSES.format(policy="iteration-{iteration}")),
        base_responses=in_experiment(layout.EVAL_RESPONSES.format(policy=BASE)),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
    output:
        in_experiment(layout.SCORES),
    log:
        in_experiment(layout.log("score_responses")),
    benchmark:
        in_experiment(layout.benchmark("score_responses"))
    wildcard_constraints:
        experiment=experiments(lambda settings: settings.scored),
    conda:
        "../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        engine=slice_of("engine"),
        processes=lambda wildcards: JOBS.of(wildcards.experiment, "score").gpus or 1,  # a model too large for one GPU
    params:
        code=code_digest("score_responses"),
        prompts=prompts_of,
    shell:
        stage("score_responses") + "--model {input.model:q} --responses {input.responses:q} "
        "--base-model {input.base_model:q} --base-responses {input.base_responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --policy iteration-{wildcards.iteration} "
        "--base iteration-0 --engine {resources.engine:q} --processes {resources.processes} --output {output:q}"


use rule score_training_relevance as score_relevance with:
    input:
        model=by_wildcards(INPUTS.relevance_model),
        responses=in_experiment(layout.EVAL_RESPONSES),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
    output:
        in_experiment(layout.RELEVANCE),
    log:
        in_experiment(layout.log("score_relevance")),
    benchmark:
        in_experiment(layout.benchmark("score_relevance"))
    wildcard_constraints:
        experiment=experiments(lambda settings: settings.relevance_model),
    params:
        policy=lambda wildcards: wildcards.policy,
        scorer=lambda wildcards: settings_of(wildcards).relevance_model,
        others=lambda wildcards: settings_of(wildcards).evaluation.relevance.others,
        contexts=lambda wildcards: " ".join(settings_of(wildcards).evaluation.contexts),


# How judges are asked; no verdict depends on it.
REQUESTS = {
    "api_jobs": lambda wildcards: 1 if judge_of(wildcards).asks_endpoint else None,
    "limits": lambda wildcards: flag("limits", as_json(getattr(judge_of(wildcards), "limits", Limits()))),
}


rule judge_responses:
    input:
        responses=in_experiment(layout.EVAL_RESPONSES),
        comparator=by_wildcards(INPUTS.comparator_responses),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
        model=by_wildcards(INPUTS.judge_model),
        server=by_wildcards(INPUTS.judge_server),
    output:
        in_experiment(layout.VERDICTS),
    log:
        in_experiment(layout.log("judge_responses")),
    benchmark:
        in_experiment(layout.benchmark("judge_responses"))
    wildcard_constraints:
        judge=judges(lambda judge: not (judge.is_panel or local_model(judge) or isinstance(judge, LearnedJudge))),
    localrule: True
    conda:
        environment_of(lambda wildcards: judge_of(wildcards).runs_model)
    threads: cores("judge")
    resources:
        **job_resources("judge"),
        **REQUESTS,
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
        judge=judges(lambda judge: local_model(judge) and not isinstance(judge, IdentificationJudge)),
    threads: cores(judging_kind)
    resources:
        **job_resources("score"),
        **REQUESTS,


rule judge_by_reward_model:
    input:
        responses=in_experiment(layout.EVAL_RESPONSES),
        comparator=by_wildcards(INPUTS.comparator_responses),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
        reward_model=by_wildcards(INPUTS.reward_model, policy=None),
        base_model=by_wildcards(INPUTS.base_model),
    output:
        in_experiment(layout.VERDICTS),
    log:
        in_experiment(layout.log("judge_by_reward_model")),
    benchmark:
        in_experiment(layout.benchmark("judge_by_reward_model"))
    wildcard_constraints:
        judge=judges(lambda judge: isinstance(judge, LearnedJudge)),
    conda:
        "../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        engine=slice_of("engine"),
    params:
        code=code_digest("judge_by_reward_model"),
        judge=lambda wildcards: as_json(judge_of(wildcards)),
        judged=lambda wildcards: settings_of(wildcards).evaluation.judged,
        reward=by_wildcards(ARGUMENTS.learned_reward),
    shell:
        stage("judge_by_reward_model") + "--responses {input.responses:q} --comparator-responses {input.comparator:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --judged {params.judged} "
        "--judge {params.judge:q} --judge-name {wildcards.judge} --reward {params.reward:q} "
        "--reward-model {input.reward_model:q} --base {input.base_model:q} --engine {resources.engine:q} "
        "--output {output:q}"


rule score_identification:
    input:
        model=by_wildcards(INPUTS.judge_model),
        responses=in_experiment(layout.EVAL_RESPONSES),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
    output:
        in_experiment(layout.RECOGNISED),
    log:
        in_experiment(layout.log("score_identification")),
    benchmark:
        in_experiment(layout.benchmark("score_identification"))
    wildcard_constraints:
        judge=judges(lambda judge: isinstance(judge, IdentificationJudge)),
    conda:
        "../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        engine=slice_of("engine"),
        processes=lambda wildcards: JOBS.of(wildcards.experiment, "score").gpus or 1,
    params:
        code=code_digest("score_identification"),
        prompts=by_wildcards(ARGUMENTS.reading_prompts),
        scorer=lambda wildcards: judge_of(wildcards).model,
    shell:
        stage("score_identification") + "--model {input.model:q} --responses {input.responses:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --prompts {params.prompts:q} "
        "--policy {wildcards.policy} --scorer {params.scorer} --engine {resources.engine:q} "
        "--processes {resources.processes} --output {output:q}"


rule judge_by_identification:
    input:
        responses=in_experiment(layout.EVAL_RESPONSES),
        comparator=by_wildcards(INPUTS.comparator_responses),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
        recognised=in_experiment(layout.RECOGNISED),
        comparator_recognised=by_wildcards(INPUTS.recognised_responses),
    output:
        in_experiment(layout.VERDICTS),
    log:
        in_experiment(layout.log("judge_by_identification")),
    benchmark:
        in_experiment(layout.benchmark("judge_by_identification"))
    wildcard_constraints:
        judge=judges(lambda judge: isinstance(judge, IdentificationJudge)),
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("judge_by_identification"),
        judge=lambda wildcards: as_json(judge_of(wildcards), exclude={"task"}),
        judged=lambda wildcards: settings_of(wildcards).evaluation.judged,
    shell:
        stage("judge_by_identification") + "--responses {input.responses:q} "
        "--comparator-responses {input.comparator:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --recognised {input.recognised:q} "
        "--comparator-recognised {input.comparator_recognised:q} --judged {params.judged} --judge {params.judge:q} "
        "--judge-name {wildcards.judge} --output {output:q}"


rule tabulate_identification:
    input:
        by_wildcards(INPUTS.recognised),
    output:
        list(outputs(tables.tables("identification"), layout.IDENTIFICATION_TABLES)),
    log:
        in_experiment(layout.log("tabulate_identification")),
    benchmark:
        in_experiment(layout.benchmark("tabulate_identification"))
    wildcard_constraints:
        experiment=one_of(name for name in SETTINGS.usable if SETTINGS.identifying(name)),
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("tabulate_identification"),
        judges=lambda wildcards: list(SETTINGS.identifying(wildcards.experiment)),
        policies=lambda wildcards: policies(settings_of(wildcards)),
        samples=lambda wildcards: settings_of(wildcards).evaluation.bootstrap_samples,
        confidence=lambda wildcards: settings_of(wildcards).evaluation.confidence,
        seed=seed_of,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("tabulate_identification") + "--judges {params.judges:q} --policies {params.policies:q} "
        "--recognised {input:q} --samples {params.samples} --confidence {params.confidence} --seed {params.seed} "
        "--output {params.folder:q}"


rule combine_verdicts:
    input:
        by_wildcards(INPUTS.member_verdicts),
    output:
        in_experiment(layout.VERDICTS),
    log:
        in_experiment(layout.log("combine_verdicts")),
    benchmark:
        in_experiment(layout.benchmark("combine_verdicts"))
    wildcard_constraints:
        judge=judges(lambda judge: judge.is_panel),
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("combine_verdicts"),
    shell:
        stage("combine_verdicts") + "--members {input:q} --judge-name {wildcards.judge} --output {output:q}"
