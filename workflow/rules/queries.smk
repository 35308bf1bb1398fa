"""Queries: training queries in a seeded order, and held-out ones."""


rule build_queries:
    input:
        lambda wildcards: local_files(task_of(wildcards)),
    output:
        train=in_experiment("queries/train.jsonl"),
        eval=in_experiment("queries/eval.jsonl"),
    log:
        in_experiment("logs/build_queries.log"),
    benchmark:
        in_experiment("benchmarks/build_queries.tsv")
    wildcard_constraints:
        experiment=TRAINED,
    conda:
        "../../envs/analysis.yaml"
    resources:
        **needs("light"),
    params:
        code=code_digest("build_queries"),
        train=lambda wildcards: as_json(task_of(wildcards).train),
        eval=lambda wildcards: as_json(task_of(wildcards).eval),
        eval_count=lambda wildcards: settings_of(wildcards).queries.eval,
        task=lambda wildcards: settings_of(wildcards).task,
        seed=seed_of,
    shell:
        stage("build_queries") + "--train-dataset {params.train:q} --eval-dataset {params.eval:q} "
        "--eval-count {params.eval_count} --task {params.task:q} --seed {params.seed} "
        "--train {output.train:q} --eval {output.eval:q}"
