"""Queries and responses of experiments that import what others have sampled; nothing is trained there."""

from sami.imported import file_of


rule import_queries:
    input:
        lambda wildcards: file_of(settings_of(wildcards).imported, BASE),
    output:
        in_experiment("queries/eval.jsonl"),
    log:
        in_experiment("logs/import_queries.log"),
    benchmark:
        in_experiment("benchmarks/import_queries.tsv")
    wildcard_constraints:
        experiment=IMPORTED,
    conda:
        "../../envs/sami.yaml"
    resources:
        mem_mb=1000,
    params:
        code=code_digest("import_queries"),
        eval_count=lambda wildcards: settings_of(wildcards).queries.eval,
        task=lambda wildcards: settings_of(wildcards).task,
    shell:
        stage("import_queries") + "--released {input:q} --count {params.eval_count} --task {params.task:q} "
        "--output {output:q}"


rule import_responses:
    input:
        released=lambda wildcards: file_of(settings_of(wildcards).imported, wildcards.policy),
        queries=in_experiment("queries/eval.jsonl"),
        constitutions=in_experiment("constitutions.jsonl"),
    output:
        in_experiment("{policy}/eval/responses.jsonl"),
    log:
        in_experiment("logs/import_responses-{policy}.log"),
    benchmark:
        in_experiment("benchmarks/import_responses-{policy}.tsv")
    wildcard_constraints:
        experiment=IMPORTED,
    conda:
        "../../envs/sami.yaml"
    resources:
        mem_mb=1000,
    params:
        code=code_digest("import_responses"),
    shell:
        stage("import_responses") + "--released {input.released:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --policy {wildcards.policy:q} --output {output:q}"
