"""SAMI as a workflow: principles -> constitutions -> (responses -> training) x iterations -> evaluation -> figures.

snakemake --cores all                                    the experiments listed under `run` in config/config.yaml
snakemake --cores all model-written                      one experiment (or one entry of `compare`) by name
snakemake --cores all figures                            all their tables and figures, for print
snakemake --cores all results/quickstart/iteration-2/model
snakemake plan                                           what all that would take; runs nothing
snakemake --cores all screen                             which principles the base model hears, before anything is trained
snakemake --cores all --configfile mine.yaml             with your own settings laid over the default ones
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


include: "workflow/rules/startup.smk"
include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/queries.smk"
include: "workflow/rules/external.smk"
include: "workflow/rules/serving.smk"
include: "workflow/rules/constitutions.smk"
include: "workflow/rules/sampling.smk"
include: "workflow/rules/screening.smk"
include: "workflow/rules/rewards.smk"
include: "workflow/rules/training.smk"


for method in METHODS:

    include: f"workflow/rules/methods/{method}.smk"


include: "workflow/rules/evaluation.smk"
include: "workflow/rules/best_of.smk"
include: "workflow/rules/steering.smk"
include: "workflow/rules/sharing.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/seeds.smk"
include: "workflow/rules/plan.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        [experiment_targets(experiment) for experiment in SETTINGS.run],
        [group_targets(name) for name in targets.requested_groups(SETTINGS, OPTIONS.targets)],
    localrule: True


rule figures:
    input:
        printed_targets(),
    localrule: True


# Every experiment, every comparison of experiments, and all runs with several seeds are targets by their names.
for target in [*SETTINGS.experiments, *SETTINGS.groups]:

    rule:
        name:
            target_name(target)
        input:
            target_files(target),
        localrule: True


onstart:
    check_queue()
    places.write_format_version(LAYOUT.results)


# After Snakemake's own last words.
onsuccess:
    atexit.register(print_summaries)


onerror:
    atexit.register(print_failures, list(workflow.scheduler.failed))


include: "workflow/rules/targets.smk"  # when all rules are known
