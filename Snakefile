"""SAMI as a workflow: principles -> constitutions -> (responses -> training) x iterations -> evaluation -> figures.

snakemake --cores all                                    the experiments listed under `run` in config/config.yaml
snakemake --cores all model-written                      one experiment by name
snakemake --cores all results/quickstart/iteration-2/model
snakemake --cores all --configfile mine.yaml             with your own settings laid over the default ones
"""

from snakemake.utils import min_version

min_version("9.27")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/queries.smk"
include: "workflow/rules/imported.smk"
include: "workflow/rules/serving.smk"
include: "workflow/rules/constitutions.smk"
include: "workflow/rules/sampling.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/figures.smk"


report: "workflow/report/workflow.rst"


localrules:
    all,


rule all:
    default_target: True
    input:
        [finished(experiment) for experiment in SETTINGS.root.run],


# Every experiment is a target by its name.
for experiment in SETTINGS.experiments:

    rule:
        name:
            experiment
        input:
            finished(experiment),
        localrule: True


onstart:
    write_format_version()


onsuccess:
    atexit.register(print_summaries)  # after Snakemake's own last words
