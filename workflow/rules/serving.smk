"""Model servers, for as long as the one job that asks them runs: of a principle writer, and of a judge."""


rule serve_writer:
    input:
        lambda wildcards: served(writer_of(wildcards).serve),
    output:
        service(in_experiment("servers/writer.json")),
    log:
        in_experiment("logs/serve_writer.log"),
    conda:
        "../../envs/training.yaml"
    threads: lambda wildcards, input: max(1, cores("score")(wildcards, input) - 1)  # the job that asks the server runs beside it
    resources:
        **needs("score"),
    params:
        server_log=lambda wildcards, output: Path(output[0]).with_suffix(".log"),
    shell:
        # Snakemake waits for the file no longer than for a slow disk, and Python may take longer to start.
        "touch {output:q}; "
        + stage("serve_model")
        + "--model {input:q} --server {output:q} --server-log {params.server_log:q}"


use rule serve_writer as serve_held_out_writer with:
    output:
        service(in_experiment("servers/held-out-writer.json")),
    log:
        in_experiment("logs/serve_held_out_writer.log"),


use rule serve_writer as serve_judge with:
    input:
        lambda wildcards: served(judge_of(wildcards).serve),
    output:
        service(in_experiment("servers/judge-{judge}-{policy}-vs-{comparator}.json")),
    log:
        in_experiment("logs/serve_judge-{judge}-{policy}-vs-{comparator}.log"),
