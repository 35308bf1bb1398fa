"""The plan: jobs, hours and dollars of experiments, before anything is paid for, and what they took."""


# Without outputs, so that it runs whenever it is asked for.
rule plan:
    log:
        f"{RESULTS}/logs/plan.log",
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
    params:
        files=configuration_files(),
        command_line=workflow.config_settings.config_args or [],
        experiments=REQUESTED,
        results=RESULTS,
    shell:
        stage("plan") + "--files {params.files:q} --command-line {params.command_line:q} "
        "--experiments {params.experiments:q} --page {params.results:q}/plan.md --table {params.results:q}/plan.csv"
