"""Queries: training queries in a seeded order, and held-out ones."""


rule build_queries:
    input:
        by_wildcards(INPUTS.query_files),
    output:
        train=in_experiment(layout.TRAIN_QUERIES),
        eval=in_experiment(layout.EVAL_QUERIES),
    log:
        in_experiment(layout.log("build_queries")),
    benchmark:
        in_experiment(layout.benchmark("build_queries"))
    wildcard_constraints:
        experiment=TRAINED,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_queries"),
        train=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).train),
        eval=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).eval),
        eval_count=lambda wildcards: settings_of(wildcards).queries.eval,
        task=lambda wildcards: settings_of(wildcards).task,
        seed=seed_of,
    shell:
        stage("build_queries") + "--train-dataset {params.train:q} --eval-dataset {params.eval:q} "
        "--eval-count {params.eval_count} --task {params.task:q} --seed {params.seed} "
        "--train {output.train:q} --eval {output.eval:q}"
