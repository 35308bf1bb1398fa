"""Steering: what policies make of attributes that they are asked for, where the method teaches them any."""

STEERING = experiments(lambda settings: not settings.external and settings.method.steers)


rule sample_steering:
    input:
        model=by_wildcards(INPUTS.policy_model),
        queries=by_wildcards(INPUTS.held_out_queries),
        principles=in_experiment(layout.PRINCIPLES),
        labels=in_experiment(layout.LABELS.format(iteration=1)),
    output:
        in_experiment(layout.STEERED),
    log:
        in_experiment(layout.log("sample_steering")),
    benchmark:
        in_experiment(layout.benchmark("sample_steering"))
    wildcard_constraints:
        experiment=STEERING,
    conda:
        sampling_environment(lambda settings: settings.evaluation.sampling)
    threads: cores("sample")
    resources:
        **job_resources("sample"),
        engine=slice_of("engine"),
    params:
        code=sampling_code(lambda settings: settings.evaluation.sampling, "sample_steering"),
        arguments=by_wildcards(ARGUMENTS.steering_samples),
    shell:
        stage("sample_steering") + "--model {input.model:q} --queries {input.queries:q} "
        "--principles {input.principles:q} --labels {input.labels:q} {params.arguments} "
        "--engine {resources.engine:q} --output {output:q}"


rule tabulate_steering:
    input:
        by_wildcards(INPUTS.steered),
    output:
        list(outputs(tables.tables("steering"), layout.STEERING_TABLES)),
    log:
        in_experiment(layout.log("tabulate_steering")),
    benchmark:
        in_experiment(layout.benchmark("tabulate_steering"))
    wildcard_constraints:
        experiment=STEERING,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("tabulate_steering"),
        policies=lambda wildcards: list(models_by_policy(settings_of(wildcards))),
        samples=lambda wildcards: settings_of(wildcards).evaluation.bootstrap_samples,
        confidence=lambda wildcards: settings_of(wildcards).evaluation.confidence,
        seed=seed_of,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("tabulate_steering") + "--policies {params.policies:q} --steered {input:q} --samples {params.samples} "
        "--confidence {params.confidence} --seed {params.seed} --output {params.folder:q}"


rule plot_steering:
    input:
        [in_experiment(f"{layout.STEERING_TABLES}/{table.name}.csv") for table in tables.tables("steering")],
    output:
        list(outputs(figures.figures("steering"), layout.STEERING_FIGURES)),
    log:
        in_experiment(layout.log("plot_steering")),
    benchmark:
        in_experiment(layout.benchmark("plot_steering"))
    wildcard_constraints:
        experiment=STEERING,
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("plot_figures"),
        tables=lambda wildcards, input: os.path.dirname(input[0]),
        figures=[figure.name for figure in figures.figures("steering")],
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("plot_figures") + "--tables {params.tables:q} --figures {params.figures:q} "
        "--title {wildcards.experiment} --output {params.folder:q}"
