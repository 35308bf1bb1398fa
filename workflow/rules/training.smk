"""One iteration's training, on the examples that the method makes for it (rules/methods)."""


rule train:
    input:
        start=start_of,
        reference=reference_of,
        examples=in_experiment("iteration-{iteration}/examples.jsonl"),
    output:
        model=directory(in_experiment("iteration-{iteration}/model")),
        metrics=in_experiment("iteration-{iteration}/training.jsonl"),
    log:
        in_experiment("logs/train-{iteration}.log"),
    benchmark:
        in_experiment("benchmarks/train-{iteration}.tsv")
    wildcard_constraints:
        experiment=TRAINED,
        iteration=r"[1-9]\d*",
    conda:
        "../../envs/training.yaml"
    threads: cores("train")
    resources:
        **needs("train", resumes=True),
        engine=slice_of("engine"),  # here and not under params, so that changing it makes no result out of date
    params:
        code=code_digest("train"),
        training=slice_of("training"),
        seed=seed_of,
        tensorboard=in_experiment("tensorboard/iteration-{iteration}"),
        checkpoints=in_experiment("iteration-{iteration}/checkpoints"),
    shell:
        stage("train") + "--start {input.start:q} --reference {input.reference:q} --examples {input.examples:q} "
        "--training {params.training:q} --engine {resources.engine:q} --nodes {resources.nodes} --seed {params.seed} "
        "--run-name {wildcards.experiment}-{wildcards.iteration} --tensorboard {params.tensorboard:q} "
        "--checkpoints {params.checkpoints:q} "
        "--output {output.model:q} --metrics {output.metrics:q}"
