"""Tables, figures and the report of an experiment."""

TABLES = [
    "win_rates",
    "win_rates_by_principle",
    "win_rates_by_length",
    "comparisons",
    "agreement",
    "length_bias",
    "information",
    "adherence",
    "lengths",
    "degeneration",
    "training",
    "samples",
]


rule tabulate:
    input:
        constitutions=in_experiment("constitutions.jsonl"),
        queries=in_experiment("queries/eval.jsonl"),
        responses=of_policies("eval/responses.jsonl"),
        information=where_trained(of_every_policy("eval/information.jsonl")),
        verdicts=verdicts_of,
        training=where_trained(of_every_policy("training.jsonl", first=1)),
    output:
        summary=report(
            in_experiment("tables/summary.csv"),
            caption="../report/summary.rst",
            category="{experiment}",
            labels={"shows": "summary", "kind": "table"},
        ),
        others=[in_experiment(f"tables/{name}.csv") for name in TABLES],
    log:
        in_experiment("logs/tabulate.log"),
    benchmark:
        in_experiment("benchmarks/tabulate.tsv")
    conda:
        "../../envs/sami.yaml"
    resources:
        mem_mb=1000,
    params:
        code=code_digest("tabulate"),
        policies=lambda wildcards: settings_of(wildcards).policies(),
        evaluation=slice_of("evaluation"),
        seed=seed_of,
        folder=lambda wildcards, output: os.path.dirname(output.summary),
    shell:
        stage("tabulate") + "--constitutions {input.constitutions:q} --queries {input.queries:q} "
        "--responses {input.responses:q} --information {input.information:q} --verdicts {input.verdicts:q} "
        "--training {input.training:q} --policies {params.policies:q} --evaluation {params.evaluation:q} "
        "--seed {params.seed} --output {params.folder:q}"


rule plot_figures:
    input:
        summary=rules.tabulate.output.summary,
        others=rules.tabulate.output.others,
    output:
        list(drawn(FIGURES + TRAINING_FIGURES)),
    log:
        in_experiment("logs/plot_figures.log"),
    benchmark:
        in_experiment("benchmarks/plot_figures.tsv")
    wildcard_constraints:
        experiment=TRAINED,
    conda:
        "../../envs/sami.yaml"
    resources:
        mem_mb=1000,
    params:
        code=code_digest("plot_figures"),
        tables=lambda wildcards, input: os.path.dirname(input.summary),
        figures=lambda wildcards, output: list(dict.fromkeys(Path(path).stem for path in output)),
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("plot_figures") + "--tables {params.tables:q} --figures {params.figures:q} "
        "--title {wildcards.experiment} --output {params.folder:q}"


use rule plot_figures as plot_imported_figures with:
    output:
        list(drawn(FIGURES)),
    wildcard_constraints:
        experiment=IMPORTED,


rule build_report:
    input:
        summary=rules.tabulate.output.summary,
        figures=lambda wildcards: figures_of(wildcards.experiment),
        constitutions=in_experiment("constitutions.jsonl"),
        queries=in_experiment("queries/eval.jsonl"),
        responses=of_policies("eval/responses.jsonl"),
        verdicts=verdicts_of,
        page=[os.path.relpath(provenance.SOURCE / "report" / name) for name in ("page.html.j2", "page.css", "page.js")],
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
        "../../envs/sami.yaml"
    resources:
        mem_mb=1000,
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
