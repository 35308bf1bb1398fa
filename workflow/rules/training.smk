"""One iteration's training, on the examples that the method makes for it (rules/methods)."""


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
