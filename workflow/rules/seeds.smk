"""Runs that differ in their seed alone, joined: tables of all seeds. The runs themselves are experiments like others."""


rule join_seeds:
    input:
        queries=lambda wildcards: INPUTS.queries_of_group(wildcards.experiment),
        constitutions=of_each_seed(INPUTS.constitutions),
        responses=of_each_seed(INPUTS.of_policies, path=layout.EVAL_RESPONSES),
        information=of_each_seed(INPUTS.scores),
        verdicts=of_each_seed(INPUTS.verdicts),
        relevance=of_each_seed(INPUTS.relevance),
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
        policies=lambda wildcards: policies(first_of_group(wildcards)),
        split=lambda wildcards: first_of_group(wildcards).queries.split,
        evaluation=lambda wildcards: as_json(first_of_group(wildcards).evaluation),
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("join_seeds") + "--seeds {params.seeds} --policies {params.policies:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --responses {input.responses:q} --information {input.information:q} "
        "--verdicts {input.verdicts:q} --relevance {input.relevance:q} --split {params.split} --evaluation {params.evaluation:q} --output {params.folder:q}"
