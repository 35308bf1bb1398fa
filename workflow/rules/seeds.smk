"""Runs that differ in their seed alone, joined: tables of all seeds. The runs themselves are experiments like others."""


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
        tables=lambda wildcards: [
            os.path.dirname(file) for file in INPUTS.of_group(wildcards.experiment, layout.SUMMARY)
        ],
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("join_seeds") + "--seeds {params.seeds} --queries {input.queries:q} --tables {params.tables:q} "
        "--split {params.split} --evaluation {params.evaluation:q} --output {params.folder:q}"
