"""Evaluation of policies that nobody trains, copied from the experiment that makes it for all that agree with it."""


rule share_results:
    input:
        lambda wildcards: LAYOUT.path(wildcards.shared, OWNERS[wildcards.experiment][wildcards.shared]),
    output:
        in_experiment("{shared}"),
    log:
        in_experiment(layout.log("share_results")),
    benchmark:
        in_experiment(layout.benchmark("share_results"))
    wildcard_constraints:
        experiment=before({name: f"(?:{one_of(owners)})$" for name, owners in OWNERS.items()}),
        shared=r".+/eval/[^/]+\.jsonl",
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("share_results"),
    shell:
        stage("share_results") + "--original {input:q} --output {output:q}"


# They would make the same files, were these not shared.
ruleorder: share_results > sample_evaluation > import_responses
ruleorder: share_results > score_responses
ruleorder: share_results > score_relevance
ruleorder: share_results > judge_responses
ruleorder: share_results > judge_by_model
ruleorder: share_results > combine_verdicts
