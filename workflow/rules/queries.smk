"""Queries: training queries in a seeded order, and held-out ones for development and for a test."""


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


# Apart from the rule above, so that training does not depend on the test.
rule build_test_queries:
    input:
        files=by_wildcards(INPUTS.test_query_files),
        train=by_wildcards(INPUTS.training_queries),
    output:
        in_experiment(layout.TEST_QUERIES),
    log:
        in_experiment(layout.log("build_test_queries")),
    benchmark:
        in_experiment(layout.benchmark("build_test_queries"))
    wildcard_constraints:
        experiment=experiments(lambda settings: settings.queries.test),
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_test_queries"),
        test=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).test),
        test_count=lambda wildcards: settings_of(wildcards).queries.test,
        eval=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).eval),
        task=lambda wildcards: settings_of(wildcards).task,
    shell:
        stage("build_test_queries") + "--test-dataset {params.test:q} --test-count {params.test_count} "
        "--eval-dataset {params.eval:q} --train {input.train:q} --task {params.task:q} --test {output:q}"
