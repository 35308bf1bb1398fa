"""Checked settings, paths, and what the rules share."""

import atexit
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import ExecMode

from sami import configuration, preflight, provenance, summary
from sami.errors import UserError
from sami.policies import last_trained
from sami.provenance import code_digest
from sami.settings import BASE, Limits, policy_name
from sami.shards import all_shards, files, finished_jobs
from sami.yaml_files import read_yaml

MAIN_PROCESS = workflow.exec_mode == ExecMode.DEFAULT

# `python` in the rules is the one that runs this workflow, also where its environment is not activated; and in another
# environment (`--sdm conda`) it finds this package.
os.environ.update(
    PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]),
    PYTHONPATH=os.pathsep.join([str(provenance.SOURCE.parent), *filter(None, [os.getenv("PYTHONPATH")])]),
)


def requested(settings):
    """Names of the experiments that the targets on the command line belong to, or that they compare."""
    # Snakemake knows its targets only after this file is read, so the command line tells.
    parts = {part for word in sys.argv[1:] for part in Path(word).parts}
    compared = {name for comparison, names in settings.root.compare.items() if comparison in parts for name in names}
    return [name for name in settings.experiments if name in parts | compared] or settings.root.run


def requested_comparisons(settings):
    """Names of the comparisons whose experiments are all requested."""
    return [name for name, compared in settings.root.compare.items() if set(compared) <= set(requested(settings))]


def judged(settings):
    """Whether the targets on the command line need verdicts, for which a key may be missing."""
    paths = [word for word in sys.argv[1:] if any(name in Path(word).parts[:-1] for name in settings.experiments)]
    late = ("verdicts-", "tables", "figures", "report")
    return not workflow.dryrun and (not paths or any(part in path for path in paths for part in late))


def load_settings():
    """The checked configuration. Whatever can be wrong with it is said here, before anything runs."""
    try:
        settings = configuration.load(configuration_files(), workflow.config_settings.config)
        if MAIN_PROCESS:
            preflight.check(settings, requested(settings), judged=judged(settings))
        return settings
    except UserError as error:
        raise WorkflowError(str(error))


def configuration_files():
    """All configuration files, in the order in which later ones override."""
    # Snakemake has merged them already, but it knows nothing of what they extend.
    shipped = [] if workflow.config_settings.replace_workflow_config else ["config/config.yaml"]
    return [os.path.relpath(file) for file in [*shipped, *workflow.overwrite_configfiles]]


SETTINGS = load_settings()
RESULTS, RESOURCES = SETTINGS.root.results, SETTINGS.root.resources
HEAVY_THREADS = min(8, workflow.resource_settings.cores or 2)  # for rules that run a model


def one_of(names):
    """Pattern of a wildcard that is one of some names; matches nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


TRAINED, IMPORTED = (
    one_of(name for name, e in SETTINGS.experiments.items() if bool(e.imported) == imported)
    for imported in (False, True)
)
COMPARISONS = one_of(SETTINGS.root.compare)  # their results lie beside those of the experiments
POLICIES = sorted({name for e in SETTINGS.experiments.values() for name in e.policies()})


wildcard_constraints:
    experiment=one_of(SETTINGS.experiments),
    iteration=r"\d+",
    policy=rf"iteration-\d+|{one_of(POLICIES)}",
    comparator=rf"base|iteration-\d+|{one_of(POLICIES)}",


def settings_of(wildcards):
    return SETTINGS.experiments[wildcards.experiment]


def as_json(value):
    """A slice of the settings as one argument of a stage."""
    return value.model_dump_json()


def slice_of(*keys):
    """Parameter function: the settings of the experiment under the given keys, as JSON."""

    def parameter(wildcards):
        value = settings_of(wildcards)
        for key in keys:
            value = getattr(value, key)
        return as_json(value)

    return parameter


def task_of(wildcards):
    return SETTINGS.tasks[settings_of(wildcards).task]


def prompts_of(wildcards):
    return as_json(task_of(wildcards).prompts)


def seed_of(wildcards):
    return settings_of(wildcards).seed


def in_experiment(path):
    """Path pattern inside the folder of an experiment."""
    return f"{RESULTS}/{{experiment}}/{path}"


def prepared(model):
    """Folder of a model of the models file."""
    return f"{RESOURCES}/models/{model}"


def policy(experiment, iteration):
    """Model folder of policy 0 (the base model), 1, ..., T."""
    return policy_model(experiment, f"iteration-{iteration}")


def policy_model(experiment, name):
    """Model folder of a policy: the base model, a trained one, or another that is judged beside them."""
    settings = SETTINGS.experiments[experiment]
    if name == BASE:
        return prepared(settings.model)
    if name in settings.evaluation.models:
        return prepared(settings.evaluation.models[name])
    return f"{RESULTS}/{experiment}/{name}/model"


def of_every_policy(path, first=0):
    """Input function: one file of each policy first, ..., T."""

    def files(wildcards):
        last = settings_of(wildcards).iterations
        return [f"{RESULTS}/{wildcards.experiment}/iteration-{t}/{path}" for t in range(first, last + 1)]

    return files


def of_policies(path):
    """Input function: one file of each policy that answers the held-out queries."""
    return lambda wildcards: [
        f"{RESULTS}/{wildcards.experiment}/{name}/{path}" for name in settings_of(wildcards).policies()
    ]


def local_files(task):
    """The query files of a task that lie on this machine."""
    paths = (task.train.path, task.eval.path)
    return [path for path in dict.fromkeys(paths) if os.path.isfile(path)]


def principle_files(wildcards):
    """The file of an experiment's principles, and behind it those that it extends."""
    path = f"{SETTINGS.root.constitutions}/{settings_of(wildcards).constitutions.principles}.yaml"
    return [file.path for file in reversed(read_yaml(path).files)]


def writer_of(wildcards):
    return SETTINGS.writers[settings_of(wildcards).constitutions.writer]


def writer_model(wildcards):
    """The model folder of a writer that runs on this machine."""
    writer = writer_of(wildcards)
    return prepared(writer.model) if writer.kind == "local" else []


def writer_server(wildcards):
    """The server of a writer that the workflow serves itself."""
    return in_experiment("servers/writer.json").format(**wildcards) if writer_of(wildcards).serve else []


def judge_of(wildcards):
    return SETTINGS.judges[wildcards.judge]


def judge_model(wildcards):
    """The model folder of a judge that reads probabilities on this machine."""
    judge = judge_of(wildcards)
    return prepared(judge.model) if judge.kind == "likelihood" else []


def judge_server(wildcards):
    """The server of a judge that the workflow serves itself; each job has its own."""
    name = f"judge-{wildcards.judge}-{wildcards.policy}-vs-{wildcards.comparator}"
    return (
        in_experiment(f"servers/{name}.json").format(**wildcards) if getattr(judge_of(wildcards), "serve", None) else []
    )


def served(model):
    """The folder of a model that is served."""
    if MAIN_PROCESS and workflow.resource_settings.cores == 1:
        raise WorkflowError(
            f"the model '{model}' is served while another job asks it, which takes two cores: found --cores 1, expected "
            "2 or more. Raise it, or take a writer and judges without 'serve'."
        )
    return prepared(model)


def flag(name, value):
    """An optional argument of a stage, left out where there is no value."""
    return f"--{name} {shlex.quote(str(value))}" if value else ""


def train_slice(wildcards):
    """Which of the ordered training queries an iteration uses: never the same twice."""
    counts, iteration = settings_of(wildcards).train_counts(), int(wildcards.iteration)
    return f"--first {sum(counts[: iteration - 1])} --count {counts[iteration - 1]}"


def shards_of(folder, planned, *keys):
    """Input function: the shards that a job joins; nothing where it samples itself, all or one shard.

    A finished file keeps its number of shards, so that another `engine.tokens_per_job` makes none out of date.

    Args:
        folder: pattern of the folder of the shards, which beside it are joined to a file of the same name.
        planned: (number of queries, number of jobs) of wildcards.
        keys: where the settings of the sampling are.
    """

    def shards(wildcards):
        if "shard" in wildcards.keys():
            return []
        queries, jobs = planned(wildcards)
        sampling = slice_of(*keys)
        path = in_experiment(folder).format(**wildcards)
        jobs = finished_jobs(f"{path}.jsonl", (queries, sampling.responses, sampling.max_new_tokens)) or jobs
        return files(all_shards(path, jobs)) if jobs > 1 else []

    return shards


def shuffle_flag(wildcards):
    return "--shuffle" if settings_of(wildcards).constitutions.shuffle else ""


def start_of(wildcards):
    """The policy that training starts from: the base model (expert iteration) or the iteration before."""
    previous = settings_of(wildcards).training.start_from == "previous"
    return policy(wildcards.experiment, int(wildcards.iteration) - 1 if previous else 0)


def verdicts_file(experiment, policy, judge, comparator):
    return f"{RESULTS}/{experiment}/{policy}/eval/verdicts-{judge}-vs-{comparator}.jsonl"


def verdicts_of(wildcards):
    """The verdicts on every policy, by every judge, against every comparator."""
    return [verdicts_file(wildcards.experiment, *names) for names in settings_of(wildcards).comparisons()]


def member_verdicts(wildcards):
    """The verdicts of the members of a panel."""
    return [
        verdicts_file(wildcards.experiment, wildcards.policy, member, wildcards.comparator)
        for member in judge_of(wildcards).members
    ]


TABLES = ["win_rates", "win_rates_by_principle", "win_rates_by_length", "comparisons", "agreement", "length_bias"]
TABLES += ["information", "adherence", "lengths", "degeneration", "training", "samples"]
NOT_PRINTED = ["length_bias", "training", "samples"]  # data of figures and long texts: CSV alone


def table_paths(*names):
    """The files of tables: CSV for programs, and Markdown and LaTeX for people."""
    return [
        f"tables/{name}.{kind}" for name in names for kind in ("csv", "md", "tex")[: 1 if name in NOT_PRINTED else 3]
    ]


FIGURES = ["win_rate", "win_rate_by_principle", "length_bias", "length", "degeneration", "adherence"]
TRAINING_FIGURES = ["bound", "training"]  # of experiments that train


def figures_of(experiment):
    """The files of all figures of an experiment."""
    imported = SETTINGS.experiments[experiment].imported
    names = FIGURES if imported else FIGURES + TRAINING_FIGURES
    return [f"{RESULTS}/{experiment}/figures/{name}.{suffix}" for name in names for suffix in ("pdf", "png")]


def drawn(names):
    """Files of figures, each for print, and for the screen and the report of the workflow."""
    for name in names:
        yield in_experiment(f"figures/{name}.pdf")
        yield report(
            in_experiment(f"figures/{name}.png"),
            caption=f"../report/{name}.rst",
            category="{experiment}",
            labels={"shows": name.replace("_", " "), "kind": "figure"},
        )


def where_trained(files):
    """Input function: nothing where responses are imported, for there was no training and no model to score them."""
    return lambda wildcards: [] if settings_of(wildcards).imported else files(wildcards)


def compared(path):
    """Input function: one file of each experiment of a comparison, which stands in place of an experiment there."""
    return lambda wildcards: [
        in_experiment(path).format(experiment=name) for name in SETTINGS.root.compare[wildcards.experiment]
    ]


def compared_verdicts(wildcards):
    """(experiment, file) of the verdicts of each experiment's first judge on its last trained policy."""
    for name in SETTINGS.root.compare[wildcards.experiment]:
        settings = SETTINGS.experiments[name]
        for names in settings.comparisons():
            if names[:2] == (last_trained(settings.policies()), settings.evaluation.judges[0]):
                yield name, verdicts_file(name, *names)


def first_compared(wildcards):
    """The settings of the experiment that the others of a comparison are compared with."""
    return SETTINGS.experiments[SETTINGS.root.compare[wildcards.experiment][0]]


def finished(experiment):
    """What a whole experiment leaves for people to read."""
    pages = [f"{RESULTS}/{experiment}/{path}" for path in ("report.html", "tables/summary.csv")]
    return pages + figures_of(experiment)


def stage(name):
    """Beginning of a rule's command. `exec` makes the stage a child of the workflow, so that it ends with it."""
    return f"exec python -m sami.stages.{name} --threads {{threads}} --log {{log}} "


def write_format_version():
    Path(RESULTS).mkdir(parents=True, exist_ok=True)
    Path(RESULTS, ".format-version").write_text(f"{SETTINGS.root.version}\n")


def print_summaries():
    for experiment in requested(SETTINGS):
        path = Path(RESULTS, experiment, "tables", "summary.csv")
        if path.exists():
            print(f"\n{path}\n\n{summary.format(path)}\n")


def remove_stale_locks():
    """Snakemake leaves its lock behind when it is killed. Ours is given up by the system, so it tells a dead run."""
    import fcntl

    state = Path(".snakemake")
    state.mkdir(exist_ok=True)
    file = (state / "running").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return None  # another run is alive, or the file system has no locks: leave it to Snakemake
    for lock in (state / "locks").glob("*"):
        lock.unlink()
    return file  # kept open, and so locked, as long as this process lives


RUNNING = remove_stale_locks() if MAIN_PROCESS and not workflow.dryrun else None
