"""Tables, figures and the report of an experiment, and comparisons of several."""


rule tabulate:
    input:
        constitutions=by_wildcards(INPUTS.constitutions),
        queries=by_wildcards(INPUTS.held_out_queries),
        responses=by_wildcards(INPUTS.of_policies, path=layout.EVAL_RESPONSES),
        information=by_wildcards(INPUTS.scores),
        relevance=by_wildcards(INPUTS.relevance),
        verdicts=by_wildcards(INPUTS.verdicts),
        training=by_wildcards(INPUTS.of_iterations, path=layout.TRAINING_LOG, first=1),
    output:
        list(outputs(tables.tables(), "tables")),
    log:
        in_experiment(layout.log("tabulate")),
    benchmark:
        in_experiment(layout.benchmark("tabulate"))
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("tabulate"),
        split=lambda wildcards: settings_of(wildcards).queries.split,
        policies=lambda wildcards: policies(settings_of(wildcards)),
        evaluation=slice_of("evaluation"),
        seed=seed_of,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("tabulate") + "--constitutions {input.constitutions:q} --queries {input.queries:q} "
        "--split {params.split} "
        "--responses {input.responses:q} --information {input.information:q} --verdicts {input.verdicts:q} "
        "--training {input.training:q} --relevance {input.relevance:q} --policies {params.policies:q} "
        "--evaluation {params.evaluation:q} --seed {params.seed} --output {params.folder:q}"


rule compare_experiments:
    input:
        tables=group_inputs("tables/win_rates.csv"),
        others=group_inputs(*(f"tables/{table}.csv" for table in tables.COMPARED)),
        queries=lambda wildcards: INPUTS.queries_of_group(wildcards.experiment),
        constitutions=group_inputs(layout.CONSTITUTIONS),
        verdicts=lambda wildcards: [file for _, file in INPUTS.compared_verdicts(wildcards.experiment)],
    output:
        list(outputs(tables.tables("comparison"), "tables")),
    log:
        in_experiment(layout.log("compare_experiments")),
    benchmark:
        in_experiment(layout.benchmark("compare_experiments"))
    wildcard_constraints:
        experiment=COMPARISONS,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("compare_experiments"),
        experiments=lambda wildcards: SETTINGS.root.compare[wildcards.experiment],
        tables=lambda wildcards, input: list(map(os.path.dirname, input.tables)),
        judged=lambda wildcards: [name for name, _ in INPUTS.compared_verdicts(wildcards.experiment)],
        samples=lambda wildcards: first_of_group(wildcards).evaluation.bootstrap_samples,
        confidence=lambda wildcards: first_of_group(wildcards).evaluation.confidence,
        seed=lambda wildcards: first_of_group(wildcards).seed,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("compare_experiments") + "--experiments {params.experiments:q} --tables {params.tables:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --judged {params.judged:q} "
        "--verdicts {input.verdicts:q} --samples {params.samples} --confidence {params.confidence} "
        "--seed {params.seed} --output {params.folder:q}"


# A rule has the same outputs for all experiments, which differ in their figures: so one rule for each set of figures.
for rule_name, drawn, having in rules_of_figures():

    rule:
        name:
            rule_name
        input:
            list(dict.fromkeys(in_experiment(f"tables/{table}.csv") for figure in drawn for table in figure.tables)),
        output:
            list(outputs(drawn, "figures")),
        log:
            in_experiment(layout.log("plot_figures")),
        benchmark:
            in_experiment(layout.benchmark("plot_figures"))
        wildcard_constraints:
            experiment=having,
        localrule: True
        conda:
            "../../envs/analysis.yaml"
        resources:
            **job_resources("light"),
        params:
            code=code_digest("plot_figures"),
            tables=lambda wildcards, input: os.path.dirname(input[0]),
            figures=[figure.name for figure in drawn],
            folder=lambda wildcards, output: os.path.dirname(output[0]),
        shell:
            stage("plot_figures") + "--tables {params.tables:q} --figures {params.figures:q} "
            "--title {wildcards.experiment} --output {params.folder:q}"


rule build_report:
    input:
        summary=in_experiment(layout.SUMMARY),
        figures=lambda wildcards: figures_of(wildcards.experiment),
        others=lambda wildcards: own_files(wildcards.experiment) + steering_files(wildcards.experiment),
        constitutions=by_wildcards(INPUTS.constitutions),
        queries=by_wildcards(INPUTS.held_out_queries),
        responses=by_wildcards(INPUTS.of_policies, path=layout.EVAL_RESPONSES),
        verdicts=by_wildcards(INPUTS.verdicts),
        relevance=by_wildcards(INPUTS.relevance),
        models=by_wildcards(INPUTS.of_iterations, path=layout.MODEL, first=1),
        page=[
            os.path.relpath(provenance.SOURCE / "analysis/report" / name)
            for name in ("page.html.j2", "page.css", "page.js")
        ],
    output:
        report(
            in_experiment(layout.REPORT),
            caption="../report/responses.rst",
            category="{experiment}",
            labels={"shows": "responses side by side", "kind": "page"},
        ),
    log:
        in_experiment(layout.log("build_report")),
    benchmark:
        in_experiment(layout.benchmark("build_report"))
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_report"),
        tables=lambda wildcards: report_folders(wildcards.experiment, "tables"),
        figures=lambda wildcards: report_folders(wildcards.experiment, "figures"),
        policies=lambda wildcards: policies(settings_of(wildcards)),
        evaluation=slice_of("evaluation"),
        provenance=lambda wildcards: [
            os.path.dirname(LAYOUT.path(layout.SUMMARY, wildcards.experiment)),
            *INPUTS.of_iterations(wildcards.experiment, layout.MODEL, first=1),
        ],
    shell:
        stage("build_report") + "--tables {params.tables:q} --figures {params.figures:q} "
        "--constitutions {input.constitutions:q} --queries {input.queries:q} --policies {params.policies:q} "
        "--responses {input.responses:q} --verdicts {input.verdicts:q} --relevance {input.relevance:q} "
        "--evaluation {params.evaluation:q} "
        "--provenance {params.provenance:q} --title {wildcards.experiment} --output {output:q}"
