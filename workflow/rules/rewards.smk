"""What is told of the responses for training before examples are made of them: their relevance, and their rewards."""


# Where a method or its reward reads that. Rule score_relevance is the same stage on held-out responses.
rule score_training_relevance:
    input:
        model=by_wildcards(INPUTS.base_model),  # whichever policy drew the responses
        responses=in_experiment(layout.RESPONSES),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
    output:
        in_experiment(layout.TRAINING_RELEVANCE),
    log:
        in_experiment(layout.log("score_training_relevance")),
    benchmark:
        in_experiment(layout.benchmark("score_training_relevance"))
    wildcard_constraints:
        experiment=WITH_TRAINING_RELEVANCE,
        iteration=r"[1-9]\d*",
    conda:
        "../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        engine=slice_of("engine"),
        processes=lambda wildcards: JOBS.of(wildcards.experiment, "score").gpus or 1,
    params:
        code=code_digest("score_relevance"),
        prompts=lambda wildcards: bare_prompts(INPUTS.task(wildcards.experiment).prompts),
        policy=by_wildcards(ARGUMENTS.sampled_policy),
        scorer=lambda wildcards: settings_of(wildcards).model,
        others=lambda wildcards: SETTINGS.training_relevance(wildcards.experiment),
        contexts="alone",
        seed=seed_of,
    shell:
        stage("score_relevance")
        + "--model {input.model:q} --responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --prompts {params.prompts:q} --policy {params.policy} "
        "--scorer {params.scorer} --others {params.others} --contexts {params.contexts} --seed {params.seed} "
        "--engine {resources.engine:q} --processes {resources.processes} --output {output:q}"


rule score_rewards:
    input:
        responses=in_experiment(layout.RESPONSES),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        relevance=by_wildcards(INPUTS.training_relevance),
        models=by_wildcards(INPUTS.reward_models, policy=None),
    output:
        in_experiment(layout.REWARDS),
    log:
        in_experiment(layout.log("score_rewards")),
    benchmark:
        in_experiment(layout.benchmark("score_rewards"))
    wildcard_constraints:
        experiment=one_of(n for n in REWARDED if not rewards_run_model(n)),
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, or questions to an endpoint, beside the workflow
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources(rewards_kind),
        api_jobs=lambda wildcards, input: 1 if rewards_kind(wildcards, input) == "judge" else None,
        limits=by_wildcards(ARGUMENTS.reward_limits, policy=None),
    params:
        code=rewards_code,
        policy=by_wildcards(ARGUMENTS.sampled_policy),
        rewards=by_wildcards(ARGUMENTS.rewards, policy=None),
        relevance=lambda wildcards, input: flag("relevance", input.relevance),
        models=lambda wildcards, input: flags(models=list(input.models)) if input.models else "",
    shell:
        stage("score_rewards") + "--responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} {params.relevance} {params.models} {resources.limits} "
        "--policy {params.policy} {params.rewards} --output {output:q}"


# A judge that is a model of this cluster is not asked from a login node.
use rule score_rewards as score_rewards_by_model with:
    wildcard_constraints:
        experiment=one_of(filter(rewards_run_model, REWARDED)),
        iteration=r"[1-9]\d*",
    conda:
        "../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        api_jobs=lambda wildcards, input: 1 if rewards_kind(wildcards, input) == "judge" else None,
        limits=by_wildcards(ARGUMENTS.reward_limits, policy=None),
