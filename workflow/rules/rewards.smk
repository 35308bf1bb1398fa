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
        reward_model=by_wildcards(INPUTS.reward_model, policy=None),
        base_model=by_wildcards(INPUTS.reward_base, policy=None),
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
        models=models_of_rewards,
    shell:
        stage("score_rewards") + "--responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} {params.relevance} {params.models} {resources.limits} "
        "--policy {params.policy} {params.rewards} --output {output:q}"


# A reward model, and a judge that is a model of this cluster, do not run on a login node.
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


# Where the reward is a learned one: a model of the responses of iteration 1, for those of all iterations.
rule build_comparisons:
    input:
        responses=by_wildcards(INPUTS.first_responses),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        principles=in_experiment(layout.PRINCIPLES),
    output:
        in_experiment(layout.COMPARISONS),
    log:
        in_experiment(layout.log("build_comparisons")),
    benchmark:
        in_experiment(layout.benchmark("build_comparisons"))
    wildcard_constraints:
        experiment=WITH_LEARNED_REWARD,
    localrule: True  # seconds, beside the workflow
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_comparisons"),
        reward=by_wildcards(ARGUMENTS.learned_reward),
        policy=lambda wildcards: ARGUMENTS.sampled_policy(wildcards.experiment, 1),
        seed=seed_of,
    shell:
        stage("build_comparisons") + "--responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --principles {input.principles:q} --reward {params.reward:q} "
        "--seed {params.seed} --policy {params.policy} --output {output:q}"


rule train_reward_model:
    input:
        model=by_wildcards(INPUTS.base_model),
        comparisons=in_experiment(layout.COMPARISONS),
    output:
        model=directory(in_experiment(layout.REWARD_MODEL)),
        scored=in_experiment(layout.REWARD_MODEL_SCORES),
    log:
        in_experiment(layout.log("train_reward_model")),
    benchmark:
        in_experiment(layout.benchmark("train_reward_model"))
    wildcard_constraints:
        experiment=WITH_LEARNED_REWARD,
    conda:
        "../../envs/training.yaml"
    threads: cores("train")
    resources:
        **job_resources("train", resumes=True),
        engine=slice_of("engine"),
    params:
        code=code_digest("train_reward_model"),
        reward=by_wildcards(ARGUMENTS.learned_reward),
        precision=lambda wildcards: settings_of(wildcards).training.precision,
        seed=seed_of,
        checkpoints=in_experiment(layout.REWARD_MODEL_CHECKPOINTS),
    shell:
        stage("train_reward_model") + "--model {input.model:q} --comparisons {input.comparisons:q} "
        "--reward {params.reward:q} --engine {resources.engine:q} --nodes {resources.nodes} "
        "--precision {params.precision} --seed {params.seed} --checkpoints {params.checkpoints:q} "
        "--output {output.model:q} --scored {output.scored:q}"


rule measure_reward_model:
    input:
        in_experiment(layout.REWARD_MODEL_SCORES),
    output:
        in_experiment(layout.REWARD_MODEL_MEASURES),
    log:
        in_experiment(layout.log("measure_reward_model")),
    benchmark:
        in_experiment(layout.benchmark("measure_reward_model"))
    wildcard_constraints:
        experiment=WITH_LEARNED_REWARD,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("measure_reward_model"),
        samples=lambda wildcards: settings_of(wildcards).evaluation.bootstrap_samples,
        confidence=lambda wildcards: settings_of(wildcards).evaluation.confidence,
        seed=seed_of,
    shell:
        stage("measure_reward_model") + "--scored {input:q} --samples {params.samples} "
        "--confidence {params.confidence} --seed {params.seed} --output {output:q}"
