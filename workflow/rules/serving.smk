"""Model servers, for as long as the one job that asks them runs: of a principle writer, and of a judge."""


rule serve_writer:
    input:
        lambda wildcards: served_model_folder(writer_of(wildcards).serve),
    output:
        service(in_experiment(layout.WRITER_SERVER)),
    log:
        in_experiment(layout.log("serve_writer")),
    conda:
        "../../envs/training.yaml"
    threads: lambda wildcards, input: max(1, cores("score")(wildcards, input) - 1)  # the job that asks the server runs beside it
    resources:
        **job_resources("score"),
    params:
        server_log=lambda wildcards, output: Path(output[0]).with_suffix(".log"),
    shell:
        # Snakemake waits for the file no longer than for a slow disk, and Python may take longer to start.
        "touch {output:q}; "
        + stage("serve_model")
        + "--model {input:q} --server {output:q} --server-log {params.server_log:q}"


use rule serve_writer as serve_held_out_writer with:
    output:
        service(in_experiment(layout.HELD_OUT_WRITER_SERVER)),
    log:
        in_experiment(layout.log("serve_held_out_writer")),


use rule serve_writer as serve_judge with:
    input:
        lambda wildcards: served_model_folder(judge_of(wildcards).serve),
    output:
        service(in_experiment(layout.JUDGE_SERVER)),
    log:
        in_experiment(layout.log("serve_judge")),
