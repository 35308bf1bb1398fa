"""What another experiment makes alike, copied from there: for all experiments that agree on what it depends on."""


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
        experiment=shared_with(lambda path: not is_model(path)),
        shared=r".+\.jsonl?",
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("share_results"),
    shell:
        stage("share_results") + "--original {input:q} --output {output:q}"


# Apart from the rule above, since Snakemake wants to know which outputs are folders.
rule share_model:
    input:
        lambda wildcards: LAYOUT.path(
            layout.MODEL,
            OWNERS[wildcards.experiment][layout.MODEL.format(iteration=wildcards.iteration)],
            iteration=wildcards.iteration,
        ),
    output:
        directory(in_experiment(layout.MODEL)),
    log:
        in_experiment(layout.log("share_model")),
    benchmark:
        in_experiment(layout.benchmark("share_model"))
    wildcard_constraints:
        experiment=shared_with(is_model),
    localrule: True
    conda:
        "../../envs/analysis.yaml"
    resources:
        **job_resources("light"),
    params:
        code=code_digest("share_results"),
    shell:
        stage("share_results") + "--original {input:q} --output {output:q}"


# A rule of its own, since there is one for all iterations.
use rule share_model as share_reward_model with:
    input:
        lambda wildcards: LAYOUT.path(layout.REWARD_MODEL, OWNERS[wildcards.experiment][layout.REWARD_MODEL]),
    output:
        directory(in_experiment(layout.REWARD_MODEL)),
    log:
        in_experiment(layout.log("share_reward_model")),
    benchmark:
        in_experiment(layout.benchmark("share_reward_model"))
    localrule: True


# All rules so far, those of methods among them: some would make the same files, were these not shared.
SHARING = ("share_results", "share_model", "share_reward_model")
for maker in [each.name for each in workflow.rules if each.name not in SHARING]:
    for sharer in SHARING:
        workflow.ruleorder(sharer, maker)
