"""SteerLM: labels of sampled responses, and training examples of the responses behind their labels."""

NOT_IN_LABELS = {"words", "asked", "steering"}  # keys of the method that no label depends on
BY_ATTRIBUTE_MODEL = experiments(lambda settings: not settings.external and bool(settings.method.labelled_share))


rule label_responses:
    input:
        responses=in_experiment(layout.RESPONSES),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        principles=in_experiment(layout.PRINCIPLES),
    output:
        in_experiment(layout.LABELS),
    log:
        in_experiment(layout.log("label_responses-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("label_responses-{iteration}"))
    wildcard_constraints:
        experiment=experiments(lambda e: not e.external and e.method.name == "steerlm" and not e.method.labelled_share),
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("label_responses"),
        method=lambda wildcards: as_json(
            settings_of(wildcards).method, exclude=NOT_IN_LABELS | {"labels", "attribute_model"}
        ),
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("label_responses") + "--responses {input.responses:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} --principles {input.principles:q} --method {params.method:q} "
        "--policy {params.policy} --output {output:q}"


rule train_attribute_model:
    input:
        model=by_wildcards(INPUTS.base_model),
        responses=in_experiment(layout.RESPONSES.format(iteration=1)),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        principles=in_experiment(layout.PRINCIPLES),
    output:
        directory(in_experiment(layout.ATTRIBUTE_MODEL)),
    log:
        in_experiment(layout.log("train_attribute_model")),
    benchmark:
        in_experiment(layout.benchmark("train_attribute_model"))
    wildcard_constraints:
        experiment=BY_ATTRIBUTE_MODEL,
    conda:
        "../../../envs/training.yaml"
    threads: cores("train")
    resources:
        **job_resources("train", resumes=True),
        engine=slice_of("engine"),
    params:
        code=code_digest("train_attribute_model"),
        method=lambda wildcards: as_json(settings_of(wildcards).method, exclude=NOT_IN_LABELS),
        precision=lambda wildcards: settings_of(wildcards).training.precision,
        seed=seed_of,
        policy=by_wildcards(ARGUMENTS.sampled_policy, iteration=1),
        checkpoints=in_experiment(layout.ATTRIBUTE_MODEL_CHECKPOINTS),
    shell:
        stage("train_attribute_model") + "--model {input.model:q} --responses {input.responses:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --principles {input.principles:q} "
        "--method {params.method:q} --engine {resources.engine:q} --nodes {resources.nodes} "
        "--precision {params.precision} --policy {params.policy} --seed {params.seed} "
        "--checkpoints {params.checkpoints:q} --output {output:q}"


rule predict_labels:
    input:
        attribute_model=in_experiment(layout.ATTRIBUTE_MODEL),
        base=by_wildcards(INPUTS.base_model),
        responses=in_experiment(layout.RESPONSES),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
    output:
        in_experiment(layout.LABELS),
    log:
        in_experiment(layout.log("predict_labels-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("predict_labels-{iteration}"))
    wildcard_constraints:
        experiment=BY_ATTRIBUTE_MODEL,
        iteration=r"[1-9]\d*",
    conda:
        "../../../envs/training.yaml"
    threads: cores("score")
    resources:
        **job_resources("score"),
        engine=slice_of("engine"),
        processes=lambda wildcards: JOBS.of(wildcards.experiment, "score").gpus or 1,
    params:
        code=code_digest("predict_labels"),
        method=lambda wildcards: as_json(settings_of(wildcards).method, exclude=NOT_IN_LABELS),
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("predict_labels") + "--attribute-model {input.attribute_model:q} --base {input.base:q} "
        "--responses {input.responses:q} --queries {input.queries:q} --constitutions {input.constitutions:q} "
        "--method {params.method:q} --engine {resources.engine:q} --processes {resources.processes} "
        "--policy {params.policy} --output {output:q}"


rule tabulate_labels:
    input:
        responses=in_experiment(layout.RESPONSES.format(iteration=1)),
        labels=in_experiment(layout.LABELS.format(iteration=1)),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        principles=in_experiment(layout.PRINCIPLES),
    output:
        list(outputs(tables.tables("labels"), layout.LABEL_TABLES)),
    log:
        in_experiment(layout.log("tabulate_labels")),
    benchmark:
        in_experiment(layout.benchmark("tabulate_labels"))
    wildcard_constraints:
        experiment=BY_ATTRIBUTE_MODEL,
    localrule: True
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("tabulate_labels"),
        method=lambda wildcards: as_json(settings_of(wildcards).method, exclude=NOT_IN_LABELS),
        policy=by_wildcards(ARGUMENTS.sampled_policy, iteration=1),
        samples=lambda wildcards: settings_of(wildcards).evaluation.bootstrap_samples,
        confidence=lambda wildcards: settings_of(wildcards).evaluation.confidence,
        seed=seed_of,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        stage("tabulate_labels") + "--responses {input.responses:q} --labels {input.labels:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --principles {input.principles:q} "
        "--method {params.method:q} --policy {params.policy} --samples {params.samples} "
        "--confidence {params.confidence} --seed {params.seed} --output {params.folder:q}"


rule build_steerlm_examples:
    input:
        responses=in_experiment(layout.RESPONSES),
        labels=in_experiment(layout.LABELS),
        queries=in_experiment(layout.TRAIN_QUERIES),
        constitutions=in_experiment(layout.CONSTITUTIONS),
    output:
        examples=in_experiment(layout.EXAMPLES),
        counts=in_experiment(layout.EXAMPLE_COUNTS),
    log:
        in_experiment(layout.log("build_steerlm_examples-{iteration}")),
    benchmark:
        in_experiment(layout.benchmark("build_steerlm_examples-{iteration}"))
    wildcard_constraints:
        experiment=BY_METHOD["steerlm"],
        iteration=r"[1-9]\d*",
    localrule: True  # seconds, beside the workflow
    conda:
        "../../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("build_steerlm_examples"),
        prompts=prompts_of,
        template=lambda wildcards: settings_of(wildcards).method.template(INPUTS.task(wildcards.experiment).prompts),
        filters=lambda wildcards: as_json(INPUTS.task(wildcards.experiment).filters),
        method=lambda wildcards: as_json(settings_of(wildcards).method, exclude={"attributes", "asked", "steering"}),
        seed=seed_of,
        policy=by_wildcards(ARGUMENTS.sampled_policy),
    shell:
        stage("build_steerlm_examples") + "--responses {input.responses:q} --labels {input.labels:q} "
        "--queries {input.queries:q} --constitutions {input.constitutions:q} --prompts {params.prompts:q} "
        "--template {params.template:q} --filters {params.filters:q} --method {params.method:q} "
        "--seed {params.seed} --policy {params.policy} --output {output.examples:q} --counts {output.counts:q}"
