"""Responses for training, sampled from the policy that the method names."""


rule sample_responses:
    input:
        model=by_wildcards(INPUTS.sampled_model),
        queries=by_wildcards(INPUTS.training_queries),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        labels=by_wildcards(INPUTS.asked_labels),
        shards=by_wildcards(INPUTS.training_chunks),
    output:
        responses=in_experiment(layout.RESPONSES),
        counts=in_experiment(layout.SAMPLING_COUNTS),
    log:
        in_experiment(layout.log("sample_responses")),
    benchmark:
        in_experiment(layout.benchmark("sample_responses"))
    wildcard_constraints:
        experiment=TRAINED,
        iteration=r"[1-9]\d*",
    conda:
        sampling_environment(lambda settings: settings.sampling)
    threads: cores(sampling_kind)
    resources:
        **job_resources(sampling_kind),
        engine=slice_of("engine"),
    params:
        code=sampling_code(lambda settings: settings.sampling),
        arguments=by_wildcards(ARGUMENTS.training_samples),
        share=chunk_argument,
        counts=lambda wildcards, output: flag("counts", output.get("counts")),
    shell:
        stage("sample_responses") + "--model {input.model:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} {params.arguments} --engine {resources.engine:q} {params.share} "
        "--output {output.responses:q} {params.counts}"


# One of several jobs, whose shards the rule above then joins.
use rule sample_responses as sample_responses_shard with:
    input:
        model=by_wildcards(INPUTS.sampled_model),
        queries=by_wildcards(INPUTS.training_queries),
        constitutions=in_experiment(layout.CONSTITUTIONS),
        labels=by_wildcards(INPUTS.asked_labels),
    output:
        responses=temp(in_experiment(layout.RESPONSE_CHUNK)),
    log:
        in_experiment(layout.log("sample_responses_shard")),
    benchmark:
        in_experiment(layout.benchmark("sample_responses_shard"))
    threads: uniform(lambda settings: settings.resources.of("sample").cores or HEAVY_THREADS, cores("sample"))
    resources:
        **job_resources("sample"),
        engine=uniform(lambda settings: as_json(settings.engine)),
    params:
        share="--shard {shard}",
        counts="",
