"""Checked settings, paths, and what the rules share."""

import atexit
import contextlib
import functools
import gc
import io
import json
import os
import re
import shlex
import sys
import time
from pathlib import Path
from typing import get_args

import snakemake.common
import snakemake.rules
from snakemake.cli import parse_args
from snakemake.common import get_function_params
from snakemake_interface_executor_plugins.settings import ExecMode

from sami import provenance
from sami.analysis import summary
from sami.data import external_responses
from sami.sampling import shards
from sami.workflow import configuration, conversations, preflight, slurm, targets
from sami.workflow.configuration import local_model
from sami.errors import UserError, listed
from sami.progress import last_error
from sami.records import last_trained
from sami.provenance import code_digest
from sami.records import BASE, policy_name
from sami.settings.endpoints import Limits
from sami.settings.resources import JobKind
from sami.settings.yaml_files import read_yaml

BEGUN = time.time()
MAIN_PROCESS = workflow.exec_mode == ExecMode.DEFAULT
# Snakemake tells its executor, and whether it only plans, after this file is read; so the command line tells.
with contextlib.redirect_stderr(io.StringIO()):  # it would say again which profiles are used
    OPTIONS = parse_args(sys.argv[1:])[1]

# A plan of 20,000 jobs is many objects that stay, and for each job Snakemake looks at the signatures of the same few
# functions again; without these two lines it takes a quarter more time.
gc.set_threshold(100_000, 50)
snakemake.common.get_function_params = snakemake.rules.get_function_params = functools.cache(get_function_params)

PLANNED = "plan" in OPTIONS.targets  # what is requested is reckoned, and nothing else runs

# `python` in the rules is the one that runs this workflow, also where its environment is not activated; and in another
# environment (`--sdm conda`) it finds this package.
os.environ.update(
    PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]),
    PYTHONPATH=os.pathsep.join([str(provenance.SOURCE.parent), *filter(None, [os.getenv("PYTHONPATH")])]),
)


def requested(settings):
    """Names of the experiments that the targets on the command line belong to, or that they compare."""
    parts = {part for target in OPTIONS.targets for part in Path(target).parts}
    compared = {name for comparison, names in settings.root.compare.items() if comparison in parts for name in names}
    return [name for name in settings.experiments if name in parts | compared] or settings.root.run


def requested_comparisons(settings):
    """Names of the comparisons whose experiments are all requested."""
    return [name for name, compared in settings.root.compare.items() if set(compared) <= set(requested(settings))]


def judged(settings):
    """Whether the targets on the command line need verdicts, for which a key may be missing."""
    paths = [word for word in sys.argv[1:] if any(name in Path(word).parts[:-1] for name in settings.experiments)]
    late = ("verdicts-", "tables", "figures", "report")
    runs = not (OPTIONS.dryrun or PLANNED)
    return runs and (not paths or any(part in path for path in paths for part in late))


def refuse_targets_beside_plan(settings):
    """Whoever asks for a plan wants nothing to run yet."""
    others = set(OPTIONS.targets) - {"plan", *settings.experiments, *settings.root.compare}
    if PLANNED and others:
        raise UserError(
            f"found the target '{min(others)}' beside 'plan', with which nothing runs; expected at most names of "
            "experiments, which are then planned. Ask for other targets in a command of their own."
        )


@contextlib.contextmanager
def one_message():
    """Ends the run where something is wrong that people can mend: with the message, behind all that Snakemake says."""
    try:
        yield
    except UserError as error:
        refuse(error)


def refuse(message):
    sys.exit(f"\nsami: error: {message}")


def load_settings():
    """The checked configuration. Whatever can be wrong with it is said here, before anything runs."""
    with one_message():
        settings = configuration.load(configuration_files(), workflow.config_settings.config_args or [])
        if MAIN_PROCESS:
            refuse_targets_beside_plan(settings)
            runs = not (OPTIONS.dryrun or PLANNED)
            packages = runs and not workflow.deployment_settings.deployment_method  # which has packages of its own
            preflight.check(
                settings,
                requested(settings),
                judged=judged(settings),
                packages=packages,
                runs=runs,
                fits=not PLANNED,
            )
        return settings


def configuration_files():
    """All configuration files, in the order in which later ones override."""
    # Snakemake has merged them already, but it knows nothing of what they extend.
    shipped = [] if workflow.config_settings.replace_workflow_config else ["config/config.yaml"]
    return [os.path.relpath(file) for file in [*shipped, *workflow.overwrite_configfiles]]


SETTINGS = load_settings()
RESULTS, RESOURCES = map(os.path.normpath, (SETTINGS.root.results, SETTINGS.root.resources))
HEAVY_THREADS = min(8, workflow.resource_settings.cores or 2)  # for rules that run a model


def cluster_nodes():
    """The nodes of the Slurm cluster that is to run what is requested; none without `--profile slurm`."""
    if not MAIN_PROCESS or OPTIONS.executor != "slurm" or PLANNED:
        return []
    with one_message():
        try:
            return preflight.check_cluster(SETTINGS, requested(SETTINGS), HEAVY_THREADS)
        except slurm.NoAnswer:
            if not OPTIONS.dryrun:
                raise
    print("No Slurm answers here: what jobs ask for is not compared with a cluster.", file=sys.stderr)
    return []  # a plan can be made anywhere


CLUSTER = cluster_nodes()


def check_queue():
    """Ends the run where Slurm still has jobs of an earlier one."""
    with one_message():
        if CLUSTER:
            slurm.check_queue(slurm.ask(slurm.queue()), Path.cwd())


def one_of(names):
    """Pattern of a wildcard that is one of some names; matches nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


TRAINED, IMPORTED = (
    one_of(name for name, e in SETTINGS.experiments.items() if bool(e.imported) == imported)
    for imported in (False, True)
)
WITHOUT_HELD_OUT, WITH_HELD_OUT = (  # of those that train
    one_of(n for n, e in SETTINGS.experiments.items() if not e.imported and bool(e.constitutions.held_out) == held_out)
    for held_out in (False, True)
)
COMPARISONS = one_of(SETTINGS.root.compare)  # their results lie beside those of the experiments
POLICIES = sorted({name for e in SETTINGS.experiments.values() for name in e.policies()})


wildcard_constraints:
    experiment=one_of(SETTINGS.experiments),
    iteration=r"\d+",
    policy=rf"iteration-\d+|{one_of(POLICIES)}",
    comparator=rf"base|iteration-\d+|{one_of(POLICIES)}",
    shard=r"\d+-of-\d+",


def with_policies(names):
    """Pattern of an experiment before one of some of its policies, where a path goes {experiment}/{policy}/...

    Args:
        names: function of an experiment's settings, gives a pattern of policies.
    """
    return "|".join(f"{re.escape(name)}(?=/(?:{names(e)})/)" for name, e in SETTINGS.experiments.items())


# The same name can be a model in one experiment and a file of responses in another.
SAMPLED = with_policies(lambda e: one_of([]) if e.imported else "|".join([r"iteration-\d+", *e.evaluation.models]))
FROM_FILES = with_policies(lambda e: one_of(e.response_files()))


# Files of responses that are not there: where the web has them.
FETCHED = {
    path: address
    for settings in SETTINGS.experiments.values()
    for path, address in settings.response_files().values()
    if address and not os.path.exists(path)
}


def settings_of(wildcards):
    return SETTINGS.experiments[wildcards.experiment]


def as_json(value, exclude=None):
    """A slice of the settings as one argument of a stage.

    Without what is at its default, so that a new key makes nothing out of date; a new default is a change of the code.
    """
    return value.model_dump_json(exclude=exclude, exclude_defaults=True)


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


def alike(value, function=None):
    """A resource or the like, plain where all experiments agree: Snakemake calls a function anew for each of many jobs.

    Args:
        value: function of the settings of an experiment.
        function: of the wildcards and the like, used where they differ.
    """
    values = {value(settings) for settings in SETTINGS.experiments.values()}
    return values.pop() if len(values) == 1 else function or (lambda wildcards: value(settings_of(wildcards)))


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


def environment_of(runs_model):
    """Environment for `--sdm conda` of a job that may run a model itself, as a function of its wildcards tells."""
    return lambda wildcards: f"../../envs/{'training' if runs_model(wildcards) else 'analysis'}.yaml"


def sampling_environment(sampling_of):
    """Environment for `--sdm conda` of a job that samples; a function tells which settings of an experiment it uses."""

    return alike(lambda e: f"../../envs/{'sampling' if sampling_of(e).sampler == 'vllm' else 'training'}.yaml")


def sampling_code(sampling_of):
    """Digest of the code of a job that samples, without that of the other sampler."""
    others = {"vllm": ("sampling.transformers_sampler",), "transformers": ("sampling.vllm_sampler",)}
    return alike(lambda e: code_digest("sample_responses", without=others[sampling_of(e).sampler]))


def other_writers(writer):
    """The code of the writers that an experiment does not have: what a person has written does not depend on it."""
    others = tuple(f"stages.write_principles.{kind}" for kind in ("endpoint", "local") if kind != writer.kind)
    return (*others, "data.principles.write") if writer.kind == "human" else others


def local_files(task):
    """The query files of a task that lie on this machine."""
    return [path for path in dict.fromkeys(task.train.paths + task.eval.paths) if os.path.isfile(path)]


def principle_files(key):
    """Input function: the file of an experiment's principles, or held-out ones, and behind it those that it extends."""

    def files(wildcards):
        path = f"{SETTINGS.root.constitutions}/{getattr(settings_of(wildcards).constitutions, key)}.yaml"
        return [file.path for file in reversed(read_yaml(path).files)]

    return files


def evaluated_constitutions(wildcards):
    """The constitutions under which policies answer the held-out queries: those of training, and held-out ones."""
    return constitutions_of(wildcards.experiment)


def constitutions_of(experiment):
    folders = ["", "held-out/"] if SETTINGS.experiments[experiment].constitutions.held_out else [""]
    return [f"{RESULTS}/{experiment}/{folder}constitutions.jsonl" for folder in folders]


def response_file(settings, policy):
    """The file that a policy is, where its responses were made elsewhere."""
    return settings.response_files()[policy][0]


def texts_of_records(wildcards):
    """What the ids in a file of our records stand for: queries and constitutions of the experiment that made it."""
    path = response_file(settings_of(wildcards), wildcards.policy)
    if not path.endswith(".jsonl"):
        return []
    maker = external_responses.made_by(path, RESULTS)
    if maker in SETTINGS.experiments:  # it may still have to be made
        return [f"{RESULTS}/{maker}/queries/eval.jsonl", *constitutions_of(maker)]
    return external_responses.texts_beside(path)


def writer_of(wildcards):
    return SETTINGS.writers[settings_of(wildcards).constitutions.writer]


def writer_model(wildcards):
    """The model folder of a writer that runs on this machine."""
    writer = writer_of(wildcards)
    return prepared(writer.model) if writer.kind == "local" else []


def writer_server(name):
    """Input function: the server of a writer that the workflow serves itself."""
    return lambda w: in_experiment(f"servers/{name}.json").format(**w) if writer_of(w).serve else []


def judge_of(wildcards):
    return SETTINGS.judges[wildcards.judge]


# Principles that no model of this cluster writes are no work for it.
PRINCIPLES_ARE_LIGHT = MAIN_PROCESS and not any(
    local_model(SETTINGS.writers[SETTINGS.experiments[name].constitutions.writer]) for name in requested(SETTINGS)
)


def judges(wanted):
    """Pattern of the judges for which a function is true."""
    return one_of(name for name, judge in SETTINGS.judges.items() if wanted(judge))


def judging_kind(wildcards, input):
    return "score" if judge_of(wildcards).kind == "likelihood" else "judge"


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
        refuse(
            f"the model '{model}' is served while another job asks it, which takes two cores: found --cores 1, expected "
            "2 or more. Raise it, or take a writer and judges without 'serve'."
        )
    return prepared(model)


def flag(name, value):
    """An optional argument of a stage, left out where there is no value."""
    return f"--{name} {shlex.quote(str(value))}" if value else ""


def arguments(**values):
    """Arguments of a stage: a list gives several words, true the name alone, false nothing."""
    words = []
    for name, value in values.items():
        if value is not False:
            words += [f"--{name}", *(value if isinstance(value, list) else [] if value is True else [str(value)])]
    return shlex.join(words)


def samples(settings, sampling, **more):
    """Arguments of jobs that sample; one text for all of a file, since there can be thousands of them."""
    return arguments(
        prompts=as_json(SETTINGS.tasks[settings.task].prompts),
        stop=SETTINGS.tasks[settings.task].stop,
        sampling=as_json(sampling),
        shuffle=settings.constitutions.shuffle,
        seed=settings.seed,
        **more,
    )


@functools.cache
def training_samples(experiment, iteration):
    """Arguments of jobs that sample for an iteration. It never uses the queries of another one."""
    settings = SETTINGS.experiments[experiment]
    counts = settings.train_counts()
    return samples(
        settings,
        settings.sampling,
        policy=f"iteration-{iteration - 1}",
        first=sum(counts[: iteration - 1]),
        count=counts[iteration - 1],
        filters=as_json(SETTINGS.tasks[settings.task].filters),
    )


@functools.cache
def evaluation_samples(experiment, policy):
    """Arguments of jobs that sample a policy's responses to the held-out queries."""
    settings = SETTINGS.experiments[experiment]
    return samples(settings, settings.evaluation.sampling, policy=policy, count=settings.queries.eval)


def shards_of(wildcards, folder, queries, sampling, jobs):
    """The shards that a job joins; none where it samples everything itself.

    A finished file keeps its number of shards, so that another `engine.tokens_per_job` does not make it out of date.
    """
    path = in_experiment(f"{folder}/responses").format(**wildcards)
    size = (queries, sampling.responses, sampling.max_new_tokens)
    jobs = shards.finished_jobs(f"{path}.jsonl", size) or jobs
    return shards.files(shards.together(path, jobs)) if jobs > 1 else []


def training_shards(wildcards):
    settings, iteration = settings_of(wildcards), int(wildcards.iteration)
    queries, jobs = settings.train_counts()[iteration - 1], settings.sampling_jobs(iteration)
    return shards_of(wildcards, "iteration-{iteration}", queries, settings.sampling, jobs)


def evaluation_shards(wildcards):
    settings = settings_of(wildcards)
    queries, jobs = settings.queries.eval, settings.evaluation_jobs()
    return shards_of(wildcards, "{policy}/eval", queries, settings.evaluation.sampling, jobs)


def joined(wildcards, input):
    """Argument of a stage: the shards that it joins."""
    return flag("shards", input.shards and shards.together(os.path.dirname(input.shards[0]), len(input.shards)))


def sampling_kind(wildcards, input):
    return "light" if input.shards else "sample"


def writing_kind(wildcards, input):
    return "write" if writer_of(wildcards).kind == "local" else "light"


def users_of(model):
    """Names of the experiments that run a model."""
    return [name for name in SETTINGS.usable if model in SETTINGS.models_of(name)]


def conversations_with(wildcards):
    """What a model will be asked, as JSON."""
    asked = conversations.of_model(SETTINGS, wildcards.model)
    return json.dumps([conversation.model_dump() for conversation in asked])


@functools.cache
def job_of(experiment, kind):
    return SETTINGS.experiments[experiment].resources.of(kind)


def asked(kind, wildcards, input):
    """The settings of what a job asks for; of the experiment that asks for the most memory, where several share it."""
    if "experiment" in wildcards.keys():
        names = SETTINGS.root.compare.get(wildcards.experiment, [wildcards.experiment])
    else:
        names = users_of(wildcards.model)
    return max((job_of(name, kind_of(kind, wildcards, input)) for name in names), key=lambda job: job.mem_mb)


def kind_of(kind, wildcards, input):
    return kind(wildcards, input) if callable(kind) else kind


def cores(kind):
    """Threads of a job."""

    def threads(wildcards, input):
        runs_model = kind_of(kind, wildcards, input) in ("write", "sample", "score", "train")
        return asked(kind, wildcards, input).cores or (HEAVY_THREADS if runs_model else 1)

    return threads


def needs(kind, resumes=False):
    """Resources of a rule, as the settings give them.

    Args:
        kind: of its jobs, or a function of wildcards and input that tells it.
        resumes: whether a job goes on where it was, when it is tried again.
    """

    def memory(wildcards, input, attempt, rulename):
        job = asked(kind, wildcards, input)
        return raised(job.mem_mb, "mem_mb", job, "memory", rulename, wildcards, attempt)

    def minutes(wildcards, input, attempt, rulename):
        job = asked(kind, wildcards, input)
        if resumes or job.runtime is None:
            return job.runtime
        return raised(job.runtime, "minutes", job, "time", rulename, wildcards, attempt)

    others = {
        "mem_mb": lambda job: job.mem_mb,
        "runtime": lambda job: job.runtime,
        "cpus_per_task": lambda job: job.cores,
        "nodes": nodes_of,
        "gres": lambda job: f"gpu:{job.gpus}" if job.gpus else None,  # on each node, unlike the resource `gpu`
        "tasks_per_gpu": lambda job: 0 if job.gpus else None,  # else the command would run once for each GPU
        "mpi": lambda job: "srun" if nodes_of(job) > 1 else None,  # leaves it to the stage to call srun
        "tasks": lambda job: nodes_of(job) if nodes_of(job) > 1 else None,
        "slurm_partition": lambda job: job.partition,
        "slurm_account": lambda job: job.account,
        "constraint": lambda job: job.constraint,
        "slurm_extra": lambda job: notice(job.runtime) if resumes else None,
        "gpu_jobs": lambda job: 1 if job.gpus else None,  # how many run at once is limited by the profile
    }
    jobs = [job_of(name, kind) for name in SETTINGS.experiments for kind in get_args(JobKind)]

    def resource(value):
        function = lambda wildcards, input: value(asked(kind, wildcards, input))
        return function if callable(kind) else alike(lambda settings: value(settings.resources.of(kind)), function)

    used = {name: resource(value) for name, value in others.items() if any(value(job) is not None for job in jobs)}
    return used | ({"mem_mb": memory, "runtime": minutes} if CLUSTER else {})


def nodes_of(job):
    return getattr(job, "nodes", None) or 1


def notice(minutes):
    """Option of Slurm: tell a job in time before its end, so that it saves what it has done."""
    # The launcher and the processes take SIGTERM; of SIGUSR1, Snakemake itself would die inside the job.
    return f"--signal=TERM@{min(300, minutes * 60 // 10)}" if minutes else None


def raised(value, key, job, end, rulename, wildcards, attempt):
    """A resource, doubled for each earlier attempt that ended for want of it, as far as the partition goes."""
    ends = earlier_ends(rulename, tuple(wildcards), attempt) if CLUSTER and attempt > 1 else []
    most = max((getattr(node, key) for node in CLUSTER if node.partition in partitions(job)), default=value)
    return min(value * 2 ** ends.count(end), max(value, most))


def partitions(job):
    return job.partition.split(",") if job.partition else [node.partition for node in CLUSTER if node.default]


@functools.cache
def earlier_ends(rulename, values, attempt):
    """Which limits ended the attempts before this one."""
    return [slurm.parse_end(log.read_text(errors="replace")) for log in slurm_logs(rulename, values)[1 - attempt :]]


def slurm_logs(rulename, values):
    """What Slurm wrote in the attempts at a job, the latest last."""
    # The executor names the log of a job by its rule, its wildcards and Slurm's number, and keeps it when it fails.
    folder = Path(workflow.executor_settings.logdir or ".snakemake/slurm_logs")
    logs = (folder / f"rule_{rulename}" / "_".join(values).replace(os.sep, "_")).glob("*.log")
    return sorted((log for log in logs if log.stem.isdigit()), key=lambda log: int(log.stem))


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


TABLES = ["win_rates", "win_rates_by_principle", "win_rates_by_length", "generalisation", "comparisons", "agreement"]
TABLES += ["length_bias", "information", "adherence", "lengths", "degeneration", "training", "samples"]
NOT_PRINTED = ["length_bias", "training", "samples"]  # data of figures and long texts: CSV alone


def table_paths(*names):
    """The files of tables: CSV for programs, and Markdown and LaTeX for people."""
    return [
        f"tables/{name}.{kind}" for name in names for kind in ("csv", "md", "tex")[: 1 if name in NOT_PRINTED else 3]
    ]


FIGURES = ["win_rate", "win_rate_by_principle", "length_controlled", "length_bias", "length"]
FIGURES += ["degeneration", "adherence"]
TRAINING_FIGURES = ["bound", "training"]  # of experiments that train


def figure_paths(*names):
    """The files of figures: for print, and for the screen."""
    return [f"figures/{name}.{kind}" for name in names for kind in ("pdf", "png")]


def figures_of(experiment):
    """The files of all figures of an experiment."""
    settings = SETTINGS.experiments[experiment]
    names = FIGURES + TRAINING_FIGURES * (not settings.imported)
    names = [*names, "generalisation"] if settings.constitutions.held_out else names
    return [f"{RESULTS}/{experiment}/{path}" for path in figure_paths(*names)]


def drawn(names):
    """Patterns of the files of figures; what is for the screen is also for the report of the workflow."""
    for name in names:
        pdf, png = map(in_experiment, figure_paths(name))
        yield pdf
        yield report(
            png,
            caption=f"../report/{name}.rst",
            category="{experiment}",
            labels={"shows": name.replace("_", " "), "kind": "figure"},
        )


def where_trained(files):
    """Input function: nothing where all is imported, for there was no training and no model to sample from or to score."""
    return lambda wildcards: [] if settings_of(wildcards).imported else files(wildcards)


def compared(*paths):
    """Input function: files of each experiment of a comparison; its name stands in place of an experiment's."""
    return lambda wildcards: [
        f"{RESULTS}/{name}/{path}" for path in paths for name in SETTINGS.root.compare[wildcards.experiment]
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


def target_name(name):
    """The name, if a rule may have it."""
    if workflow.is_rule(name):
        where = SETTINGS.sources.where(("experiments" if name in SETTINGS.experiments else "compare", name))
        refuse(f"{where}: found the name '{name}', which a rule of the workflow has. Rename the entry.")
    return name


def target_files(name):
    """What an experiment or a comparison leaves for people to read; nothing where it is only planned."""
    if PLANNED:
        return []
    return comparison_of(name) if name in SETTINGS.root.compare else finished(name)


def comparison_of(name):
    """The table and the figure of a comparison."""
    return [f"{RESULTS}/{name}/{path}" for path in (*table_paths("comparison"), *figure_paths("comparison"))]


def print_worthy():
    """All tables and figures of the experiments that are requested, and of the comparisons among them."""
    for experiment in requested(SETTINGS):
        yield from [f"{RESULTS}/{experiment}/{path}" for path in table_paths("summary", *TABLES)]
        yield from figures_of(experiment)
    for comparison in requested_comparisons(SETTINGS):
        yield from comparison_of(comparison)


def stage(name):
    """Beginning of a rule's command. `exec` makes the stage a child of the workflow, so that it ends with it."""
    return f"exec python -m sami.stages.{name} --threads {{threads}} --log {{log:q}} "


def write_format_version():
    Path(RESULTS).mkdir(parents=True, exist_ok=True)
    Path(RESULTS, ".format-version").write_text(f"{SETTINGS.root.version}\n")


def print_summaries():
    for experiment in [] if PLANNED else requested(SETTINGS):
        path = Path(RESULTS, experiment, "tables", "summary.csv")
        if path.exists():
            print(f"\n{path}\n\n{summary.format(path)}\n")


def print_failures(jobs):
    """The last words of failed stages, each behind the name of its log; what several say alike, once."""
    jobs = [job for some in jobs for job in (some.jobs if some.is_group() else [some])]
    words = {}
    for job in sorted(jobs, key=lambda job: [os.path.getmtime(log) for log in job.log if os.path.exists(log)]):
        words.setdefault(failure(job), []).append(", ".join(job.log))
    for message, logs in words.items():
        print(f"\n{listed(logs)}\n{message}", file=sys.stderr)


def failure(job):
    """One message on why a job has failed: that of its stage, or else how it ended."""
    # A log from before this run tells nothing of a job whose stage has not even begun.
    written = [log for log in job.log if os.path.exists(log) and os.path.getmtime(log) >= BEGUN]
    told = list(filter(None, map(last_error, written)))
    if told:
        return told[-1]
    ends = earlier_ends(job.rule.name, tuple(job.wildcards), attempt=2) if CLUSTER else []
    for key in (key for end, key in (("memory", "mem_mb"), ("time", "runtime")) if end in ends):
        return (
            f"{job.rule.name}: error: Slurm ended it, since it took more than its '{key}'. Raise that in 'resources'."
        )
    if not written:
        at = ", ".join(map(str, slurm_logs(job.rule.name, tuple(job.wildcards))[-1:])) if CLUSTER else "above"
        return f"{job.rule.name}: error: its command has not begun its work; what it printed stands {at or 'above'}."
    lines = [line for log in written for line in Path(log).read_text(errors="replace").splitlines() if line.strip()]
    last = f" The last line of its log: {lines[-1]}" if lines else ""
    return (
        f"{job.rule.name}: error: it ended without an error of its own, as what is killed does, for want of memory for "
        f"example. Run the same command again, with fewer --cores or more memory where that is the reason.{last}"
    )


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


RUNNING = remove_stale_locks() if MAIN_PROCESS and not OPTIONS.dryrun else None
