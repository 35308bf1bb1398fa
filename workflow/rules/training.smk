"""One iteration's training, on the examples that the method makes for it (rules/methods)."""

from sami.workflow.arguments import flags


# Where the method makes pairs: the log-probabilities that the policy's are compared with.
rule score_reference:
    input:
        model=by_wildcards(INPUTS.reference),
        pairs=in_experiment(layout.PAIRS),
    output:
        in_experiment(layout.EXAMPLES),
    log:
        in_experiment(layout.log("score_reference")),
    benchmark:
        in_experiment(layout.benchmark("score_reference"))
    wildcard_constraints:
        experiment=WITH_PAIRS,
        iteration=r"[1-9]\d*",
    conda:
        "../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        engine=slice_of("engine"),
        processes=lambda wildcards: JOBS.of(wildcards.experiment, "score").gpus or 1,
    params:
        code=code_digest("score_reference"),
        precision=lambda wildcards: settings_of(wildcards).training.precision,
        end_token=lambda wildcards: flags(**{"score-end-token": settings_of(wildcards).training.score_end_token}),
    shell:
        stage("score_reference") + "--model {input.model:q} --pairs {input.pairs:q} --precision {params.precision} "
        "{params.end_token} --engine {resources.engine:q} --processes {resources.processes} --output {output:q}"


rule train:
    input:
        start=by_wildcards(INPUTS.start),
        reference=by_wildcards(INPUTS.reference),
        examples=in_experiment(layout.EXAMPLES),
    output:
        model=directory(in_experiment(layout.MODEL)),
        metrics=in_experiment(layout.TRAINING_LOG),
    log:
        in_experiment(layout.log("train")),
    benchmark:
        in_experiment(layout.benchmark("train"))
    wildcard_constraints:
        experiment=TRAINED,
        iteration=r"[1-9]\d*",
    conda:
        "../../envs/training.yaml"
    threads: cores("train")
    resources:
        **job_resources("train", resumes=True),
        engine=slice_of("engine"),  # here and not under params, so that changing it makes no result out of date
    params:
        code=code_digest("train"),
        training=by_wildcards(ARGUMENTS.training),
        seed=seed_of,
        tensorboard=in_experiment(layout.TENSORBOARD),
        checkpoints=in_experiment(layout.CHECKPOINTS),
    shell:
        stage("train") + "--start {input.start:q} --reference {input.reference:q} --examples {input.examples:q} "
        "--training {params.training:q} --engine {resources.engine:q} --nodes {resources.nodes} --seed {params.seed} "
        "--run-name {wildcards.experiment}-{wildcards.iteration} --tensorboard {params.tensorboard:q} "
        "--checkpoints {params.checkpoints:q} "
        "--output {output.model:q} --metrics {output.metrics:q}"
