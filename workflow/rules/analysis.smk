"""Tables, figures and the report of an experiment, and comparisons of several."""


rule tabulate:
    input:
        constitutions=evaluated_constitutions,
        queries=in_experiment("queries/eval.jsonl"),
        responses=of_policies("eval/responses.jsonl"),
        information=where_trained(of_every_policy("eval/scores.jsonl")),
        verdicts=verdicts_of,
        training=where_trained(of_every_policy("training.jsonl", first=1)),
    output:
        list(outputs(tables.tables(), "tables")),
    log:
        in_experiment("logs/tabulate.log"),
    benchmark:
        in_experiment("benchmarks/tabulate.tsv")
    conda:
        "../../envs/analysis.yaml"
    resources:
        **needs("light"),
    params:
        code=code_digest("tabulate"),
        policies=lambda wildcards: settings_of(wildcards).policies(),
        evaluation=slice_of("evaluation"),
        seed=seed_of,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("tabulate") + "--constitutions {input.constitutions:q} --queries {input.queries:q} "
        "--responses {input.responses:q} --information {input.information:q} --verdicts {input.verdicts:q} "
        "--training {input.training:q} --policies {params.policies:q} --evaluation {params.evaluation:q} "
        "--seed {params.seed} --output {params.folder:q}"


rule compare_experiments:
    input:
        tables=compared("tables/win_rates.csv"),
        others=compared("tables/information.csv", "tables/degeneration.csv"),
        queries=compared("queries/eval.jsonl"),
        constitutions=compared("constitutions.jsonl"),
        verdicts=lambda wildcards: [file for _, file in compared_verdicts(wildcards)],
    output:
        list(outputs(tables.tables(comparison=True), "tables")),
    log:
        in_experiment("logs/compare_experiments.log"),
    benchmark:
        in_experiment("benchmarks/compare_experiments.tsv")
    wildcard_constraints:
        experiment=COMPARISONS,
    conda:
        "../../envs/analysis.yaml"
    resources:
        **needs("light"),
    params:
        code=code_digest("compare_experiments"),
        experiments=lambda wildcards: SETTINGS.root.compare[wildcards.experiment],
        tables=lambda wildcards, input: list(map(os.path.dirname, input.tables)),
        judged=lambda wildcards: [name for name, _ in compared_verdicts(wildcards)],
        samples=lambda wildcards: first_compared(wildcards).evaluation.bootstrap_samples,
        confidence=lambda wildcards: first_compared(wildcards).evaluation.confidence,
        seed=lambda wildcards: first_compared(wildcards).seed,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("compare_experiments") + "--experiments {params.experiments:q} --tables {params.tables:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --judged {params.judged:q} "
        "--verdicts {input.verdicts:q} --samples {params.samples} --confidence {params.confidence} "
        "--seed {params.seed} --output {params.folder:q}"


# A rule has the same outputs for all experiments, which differ in their figures: so one rule for each set of figures.
for rule_name, drawn, experiments in rules_of_figures():

    rule:
        name:
            rule_name
        input:
            list(dict.fromkeys(in_experiment(f"tables/{table}.csv") for figure in drawn for table in figure.tables)),
        output:
            list(outputs(drawn, "figures")),
        log:
            in_experiment("logs/plot_figures.log"),
        benchmark:
            in_experiment("benchmarks/plot_figures.tsv")
        wildcard_constraints:
            experiment=experiments,
        localrule: True
        conda:
            "../../envs/analysis.yaml"
        resources:
            **needs("light"),
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
        summary=in_experiment("tables/summary.csv"),
        figures=lambda wildcards: figures_of(wildcards.experiment),
        constitutions=evaluated_constitutions,
        queries=in_experiment("queries/eval.jsonl"),
        responses=of_policies("eval/responses.jsonl"),
        verdicts=verdicts_of,
        page=[
            os.path.relpath(provenance.SOURCE / "analysis/report" / name)
            for name in ("page.html.j2", "page.css", "page.js")
        ],
    output:
        report(
            in_experiment("report.html"),
            caption="../report/responses.rst",
            category="{experiment}",
            labels={"shows": "responses side by side", "kind": "page"},
        ),
    log:
        in_experiment("logs/build_report.log"),
    benchmark:
        in_experiment("benchmarks/build_report.tsv")
    conda:
        "../../envs/analysis.yaml"
    resources:
        **needs("light"),
    params:
        code=code_digest("build_report"),
        tables=lambda wildcards, input: os.path.dirname(input.summary),
        figures=lambda wildcards, input: os.path.dirname(input.figures[0]),
        policies=lambda wildcards: settings_of(wildcards).policies(),
        evaluation=slice_of("evaluation"),
        provenance=lambda wildcards: [
            f"{RESULTS}/{wildcards.experiment}/tables",
            *([] if settings_of(wildcards).imported else of_every_policy("model", first=1)(wildcards)),
        ],
    shell:
        stage("build_report") + "--tables {params.tables:q} --figures {params.figures:q} "
        "--constitutions {input.constitutions:q} --queries {input.queries:q} --policies {params.policies:q} "
        "--responses {input.responses:q} --verdicts {input.verdicts:q} --evaluation {params.evaluation:q} "
        "--provenance {params.provenance:q} --title {wildcards.experiment} --output {output:q}"
