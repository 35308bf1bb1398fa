"""Best of N: policies of which several responses are drawn where one is asked for, and the one with the highest reward kept."""


rule choose_best:
    input:
        candidates=in_experiment(layout.CANDIDATES),
        rewards=in_experiment(layout.CANDIDATE_REWARDS),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
    output:
        in_experiment(layout.EVAL_RESPONSES),
    log:
        in_experiment(layout.log("choose_best")),
    benchmark:
        in_experiment(layout.benchmark("choose_best"))
    wildcard_constraints:
        experiment=BEST,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("choose_best"),
        candidates=lambda wildcards: settings_of(wildcards).evaluation.best[wildcards.policy].best_of.responses,
    shell:
        stage("choose_best") + "--candidates {input.candidates:q} --rewards {input.rewards:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --count {params.candidates} "
        "--policy {wildcards.policy:q} --output {output:q}"


use rule sample_evaluation as sample_candidates with:
    input:
        model=by_wildcards(INPUTS.policy_model),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
        shards=by_wildcards(INPUTS.candidate_chunks),
    output:
        responses=in_experiment(layout.CANDIDATES),
        counts=in_experiment(layout.EVAL_SAMPLING_COUNTS),
    log:
        in_experiment(layout.log("sample_candidates")),
    benchmark:
        in_experiment(layout.benchmark("sample_candidates"))
    wildcard_constraints:
        experiment=BEST,
    params:
        arguments=by_wildcards(ARGUMENTS.candidate_samples),


use rule sample_evaluation_shard as sample_candidates_shard with:
    output:
        responses=temp(in_experiment(layout.CANDIDATE_CHUNK)),
    log:
        in_experiment(layout.log("sample_candidates_shard")),
    benchmark:
        in_experiment(layout.benchmark("sample_candidates_shard"))
    wildcard_constraints:
        experiment=BEST,
    params:
        arguments=by_wildcards(ARGUMENTS.candidate_samples),


use rule score_training_relevance as score_candidate_relevance with:
    input:
        model=by_wildcards(INPUTS.base_model),  # whichever policy drew the candidates
        responses=in_experiment(layout.CANDIDATES),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
    output:
        in_experiment(layout.CANDIDATE_RELEVANCE),
    log:
        in_experiment(layout.log("score_candidate_relevance")),
    benchmark:
        in_experiment(layout.benchmark("score_candidate_relevance"))
    wildcard_constraints:
        experiment=BEST,
    params:
        policy=lambda wildcards: wildcards.policy,
        others=by_wildcards(SETTINGS.candidate_relevance),


use rule score_rewards as score_candidate_rewards with:
    input:
        responses=in_experiment(layout.CANDIDATES),
        queries=by_wildcards(INPUTS.held_out_queries),
        constitutions=by_wildcards(INPUTS.constitutions),
        relevance=by_wildcards(INPUTS.candidate_relevance),
        models=by_wildcards(INPUTS.reward_models),
        reward_model=by_wildcards(INPUTS.reward_model),
        base_model=by_wildcards(INPUTS.reward_base),
    output:
        in_experiment(layout.CANDIDATE_REWARDS),
    log:
        in_experiment(layout.log("score_candidate_rewards")),
    benchmark:
        in_experiment(layout.benchmark("score_candidate_rewards"))
    wildcard_constraints:
        experiment=best_policies(run_model=False),
    localrule: True
    resources:
        **job_resources(rewards_kind),
        api_jobs=lambda wildcards, input: 1 if rewards_kind(wildcards, input) == "judge" else None,
        limits=by_wildcards(ARGUMENTS.reward_limits),
    params:
        policy=lambda wildcards: wildcards.policy,
        rewards=by_wildcards(ARGUMENTS.rewards),


use rule score_candidate_rewards as score_candidate_rewards_by_model with:
    wildcard_constraints:
        experiment=best_policies(run_model=True),
    conda:
        "../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        api_jobs=lambda wildcards, input: 1 if rewards_kind(wildcards, input) == "judge" else None,
        limits=by_wildcards(ARGUMENTS.reward_limits),
