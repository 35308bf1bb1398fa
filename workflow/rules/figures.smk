"""Tables, figures and the report of an experiment."""

FIGURES = [
    f"figures/{name}.{suffix}"
    for name in ("win_rate", "bound", "adherence", "length", "degeneration", "training")
    for suffix in ("pdf", "png")
]
TABLES = [
    "information",
    "win_rates",
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
        responses=of_every_policy("eval/responses.jsonl"),
        information=of_every_policy("eval/information.jsonl"),
        verdicts=verdicts_of,
        training=of_every_policy("training.jsonl", first=1),
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
        judge=lambda wildcards: settings_of(wildcards).evaluation.judge,
        evaluation=slice_of("evaluation"),
        seed=seed_of,
        folder=lambda wildcards, output: os.path.dirname(output.summary),
    shell:
        stage("tabulate") + "--constitutions {input.constitutions:q} --queries {input.queries:q} "
        "--responses {input.responses:q} --information {input.information:q} --verdicts {input.verdicts:q} "
        "--training {input.training:q} --judge {params.judge} --evaluation {params.evaluation:q} "
        "--seed {params.seed} --output {params.folder:q}"


rule plot_figures:
    input:
        summary=rules.tabulate.output.summary,
        others=rules.tabulate.output.others,
    output:
        [
            (
                report(
                    in_experiment(path),
                    caption=f"../report/{Path(path).stem}.rst",
                    category="{experiment}",
                    labels={
                        "shows": Path(path).stem.replace("_", " "),
                        "kind": "figure",
                    },
                )
                if path.endswith(".png")
                else in_experiment(path)
            )
            for path in FIGURES
        ],
    log:
        in_experiment("logs/plot_figures.log"),
    benchmark:
        in_experiment("benchmarks/plot_figures.tsv")
    conda:
        "../../envs/sami.yaml"
    resources:
        mem_mb=1000,
    params:
        code=code_digest("plot_figures"),
        tables=lambda wildcards, input: os.path.dirname(input.summary),
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("plot_figures") + "--tables {params.tables:q} --title {wildcards.experiment} --output {params.folder:q}"


rule build_report:
    input:
        summary=rules.tabulate.output.summary,
        figures=rules.plot_figures.output,
        constitutions=in_experiment("constitutions.jsonl"),
        queries=in_experiment("queries/eval.jsonl"),
        responses=of_every_policy("eval/responses.jsonl"),
        verdicts=verdicts_of,
        template=os.path.relpath(provenance.SOURCE / "report.html.j2"),
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
        provenance=lambda wildcards: [
            f"{RESULTS}/{wildcards.experiment}/tables",
            *of_every_policy("model", first=1)(wildcards),
        ],
    shell:
        stage("build_report") + "--tables {params.tables:q} --figures {params.figures:q} "
        "--constitutions {input.constitutions:q} --queries {input.queries:q} --responses {input.responses:q} "
        "--verdicts {input.verdicts:q} --provenance {params.provenance:q} --title {wildcards.experiment} "
        "--output {output:q}"
