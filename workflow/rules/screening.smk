"""Screening of principles: which pairs the base model hears; where some are to be kept, these become the principles."""


use rule build_constitutions as build_screening_constitutions with:
    input:
        principles=by_wildcards(INPUTS.screened_principles),
    output:
        in_experiment(layout.SCREENING_CONSTITUTIONS),
    log:
        in_experiment(layout.log("build_screening_constitutions")),
    benchmark:
        in_experiment(layout.benchmark("build_screening_constitutions"))
    wildcard_constraints:
        experiment=TRAINED,
    localrule: True
    params:
        settings=by_wildcards(ARGUMENTS.screening_constitutions),


use rule sample_responses as sample_screening with:
    input:
        model=by_wildcards(INPUTS.base_model),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.SCREENING_CONSTITUTIONS),
        shards=[],
    output:
        responses=in_experiment(layout.SCREENING_RESPONSES),
        counts=in_experiment(layout.SCREENING_COUNTS),
    log:
        in_experiment(layout.log("sample_screening")),
    benchmark:
        in_experiment(layout.benchmark("sample_screening"))
    wildcard_constraints:
        experiment=TRAINED,
    params:
        arguments=by_wildcards(ARGUMENTS.screening_samples),


rule screen_principles:
    input:
        model=by_wildcards(INPUTS.base_model),
        principles=by_wildcards(INPUTS.screened_principles),
        constitutions=in_experiment(layout.SCREENING_CONSTITUTIONS),
        queries=in_experiment(layout.TRAIN_QUERIES),
        responses=in_experiment(layout.SCREENING_RESPONSES),
    output:
        in_experiment(layout.SCREENED),
    log:
        in_experiment(layout.log("screen_principles")),
    benchmark:
        in_experiment(layout.benchmark("screen_principles"))
    wildcard_constraints:
        experiment=TRAINED,
    conda:
        "../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        engine=slice_of("engine"),
        processes=lambda wildcards: JOBS.of(wildcards.experiment, "score").gpus or 1,
    params:
        code=code_digest("screen_principles"),
        prompts=by_wildcards(ARGUMENTS.screening_prompts),
        arguments=by_wildcards(ARGUMENTS.screening),
    shell:
        stage("screen_principles") + "--model {input.model:q} --principles {input.principles:q} "
        "--constitutions {input.constitutions:q} --queries {input.queries:q} --responses {input.responses:q} "
        "--prompts {params.prompts:q} --policy iteration-0 {params.arguments} --engine {resources.engine:q} "
        "--processes {resources.processes} --output {output:q}"


rule select_principles:
    input:
        principles=in_experiment(layout.PROPOSED),
        screened=in_experiment(layout.SCREENED),
    output:
        in_experiment(layout.PRINCIPLES),
    log:
        in_experiment(layout.log("select_principles")),
    benchmark:
        in_experiment(layout.benchmark("select_principles"))
    wildcard_constraints:
        experiment=experiments(lambda settings: settings.constitutions.keep),
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("select_principles"),
        keep=lambda wildcards: settings_of(wildcards).constitutions.keep,
    shell:
        stage("select_principles") + "--principles {input.principles:q} --screened {input.screened:q} "
        "--keep {params.keep} --output {output:q}"


rule tabulate_screening:
    input:
        in_experiment(layout.SCREENED),
    output:
        list(outputs(tables.tables("screening"), layout.SCREENING_TABLES)),
    log:
        in_experiment(layout.log("tabulate_screening")),
    benchmark:
        in_experiment(layout.benchmark("tabulate_screening"))
    wildcard_constraints:
        experiment=TRAINED,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("tabulate_screening"),
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("tabulate_screening") + "--screened {input:q} --output {params.folder:q}"


rule plot_screening:
    input:
        [in_experiment(f"{layout.SCREENING_TABLES}/{table.name}.csv") for table in tables.tables("screening")],
    output:
        list(outputs(figures.figures("screening"), layout.SCREENING_FIGURES)),
    log:
        in_experiment(layout.log("plot_screening")),
    benchmark:
        in_experiment(layout.benchmark("plot_screening"))
    wildcard_constraints:
        experiment=TRAINED,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("plot_figures"),
        tables=lambda wildcards, input: os.path.dirname(input[0]),
        figures=[figure.name for figure in figures.figures("screening")],
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("plot_figures") + "--tables {params.tables:q} --figures {params.figures:q} "
        "--title {wildcards.experiment} --output {params.folder:q}"


# Screens the principles of the experiments that are named beside it, or of those in `run`, and does no more.
rule screen:
    input:
        [file for experiment in REQUESTED if SCREENED_ONLY for file in screening_files(experiment)],
    localrule: True
