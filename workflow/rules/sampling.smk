"""Responses for training, sampled from the policy of the iteration before."""


rule sample_responses:
    input:
        model=lambda wildcards: policy(wildcards.experiment, int(wildcards.iteration) - 1),
        queries=in_experiment("queries/train.jsonl"),
        constitutions=in_experiment("constitutions.jsonl"),
        shards=training_shards,
    output:
        responses=in_experiment("iteration-{iteration}/responses.jsonl"),
        counts=in_experiment("iteration-{iteration}/sampling.json"),
    log:
        in_experiment("logs/sample_responses-{iteration}.log"),
    benchmark:
        in_experiment("benchmarks/sample_responses-{iteration}.tsv")
    wildcard_constraints:
        experiment=TRAINED,
        iteration=r"[1-9]\d*",
    conda:
        sampling_environment(lambda settings: settings.sampling)
    threads: cores(sampling_kind)
    resources:
        **needs(sampling_kind),
        engine=slice_of("engine"),
    params:
        code=sampling_code(lambda settings: settings.sampling),
        arguments=lambda wildcards: training_samples(wildcards.experiment, int(wildcards.iteration)),
        share=joined,
        counts=lambda wildcards, output: flag("counts", output.get("counts")),
    shell:
        stage("sample_responses") + "--model {input.model:q} --queries {input.queries:q} "
        "--constitutions {input.constitutions:q} {params.arguments} --engine {resources.engine:q} {params.share} "
        "--output {output.responses:q} {params.counts}"


# One of several jobs, whose shards the rule above then joins.
use rule sample_responses as sample_responses_shard with:
    input:
        model=lambda wildcards: policy(wildcards.experiment, int(wildcards.iteration) - 1),
        queries=in_experiment("queries/train.jsonl"),
        constitutions=in_experiment("constitutions.jsonl"),
    output:
        responses=temp(in_experiment("iteration-{iteration}/responses/shard-{shard}.jsonl")),
    log:
        in_experiment("logs/sample_responses-{iteration}/shard-{shard}.log"),
    benchmark:
        in_experiment("benchmarks/sample_responses-{iteration}/shard-{shard}.tsv")
    threads: alike(lambda settings: settings.resources.of("sample").cores or HEAVY_THREADS, cores("sample"))
    resources:
        **needs("sample"),
        engine=alike(lambda settings: as_json(settings.engine)),
    params:
        share="--shard {shard}",
        counts="",
