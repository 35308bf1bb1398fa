"""Runs that differ in their seed alone, joined: tables of all seeds, and of experiments with several side by side.

The runs themselves are experiments like others.
"""


rule join_seeds:
    input:
        queries=lambda wildcards: INPUTS.queries_of_group(wildcards.experiment),
        measures=group_inputs("tables/measures.csv"),
    output:
        list(outputs(tables.tables("seeds"), "tables")),
    log:
        in_experiment(layout.log("join_seeds")),
    benchmark:
        in_experiment(layout.benchmark("join_seeds"))
    wildcard_constraints:
        experiment=WITH_SEEDS,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("join_seeds"),
        seeds=lambda wildcards: [SETTINGS.experiments[run].seed for run in SETTINGS.seeds[wildcards.experiment]],
        split=lambda wildcards: first_of_group(wildcards).queries.split,
        evaluation=lambda wildcards: as_json(first_of_group(wildcards).evaluation),
        tables=tables_of_group,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("join_seeds") + "--seeds {params.seeds} --queries {input.queries:q} --tables {params.tables:q} "
        "--split {params.split} --evaluation {params.evaluation:q} --output {params.folder:q}"


rule compare_methods:
    input:
        queries=lambda wildcards: INPUTS.queries_of_group(wildcards.experiment),
        measures=group_inputs("tables/measures.csv"),
        rates=group_inputs("tables/win_rates.csv"),
        models=lambda wildcards: INPUTS.last_models(wildcards.experiment),
    output:
        list(outputs(tables.tables("methods"), "tables")),
    log:
        in_experiment(layout.log("compare_methods")),
    benchmark:
        in_experiment(layout.benchmark("compare_methods"))
    wildcard_constraints:
        experiment=METHOD_COMPARISONS,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("compare_methods"),
        experiments=lambda wildcards: SETTINGS.method_comparisons[wildcards.experiment],
        methods=lambda wildcards: INPUTS.compared_methods(wildcards.experiment),
        questions=lambda wildcards: INPUTS.compared_questions(wildcards.experiment),
        seeds=lambda wildcards: INPUTS.compared_seeds(wildcards.experiment),
        split=lambda wildcards: first_of_group(wildcards).queries.split,
        samples=lambda wildcards: first_of_group(wildcards).evaluation.bootstrap_samples,
        confidence=lambda wildcards: first_of_group(wildcards).evaluation.confidence,
        seed=lambda wildcards: first_of_group(wildcards).seed,
        tables=tables_of_group,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("compare_methods") + "--experiments {params.experiments:q} --methods {params.methods:q} "
        "--questions {params.questions:q} --seeds {params.seeds} --queries {input.queries:q} "
        "--tables {params.tables:q} --models {input.models:q} --split {params.split} --samples {params.samples} "
        "--confidence {params.confidence} --seed {params.seed} --output {params.folder:q}"
