"""Start and end of a run, and all that touches Snakemake itself: command line, speed, environment, locks, last words."""

import atexit
import contextlib
import fcntl
import functools
import gc
import io
import os
import sys
import time
from pathlib import Path

import snakemake.common
import snakemake.rules
from snakemake.cli import parse_args
from snakemake.common import get_function_params
from snakemake_interface_executor_plugins.settings import ExecMode

from sami import provenance
from sami.analysis import summary
from sami.errors import UserError
from sami.workflow import configuration, failures, preflight, slurm, targets
from sami.workflow.preflight import cluster, places
from sami.workflow.layout import JOINED_SUMMARY, SCREENING_TABLES, SUMMARY
from sami.workflow.resources import Escalation

BEGUN = time.time()
MAIN_PROCESS = workflow.exec_mode == ExecMode.DEFAULT
# Snakemake tells its executor, and whether it only plans, after this file is read; so the command line tells.
with contextlib.redirect_stderr(io.StringIO()):  # it would say again which profiles are used
    OPTIONS = parse_args(sys.argv[1:])[1]
PLANNED = "plan" in OPTIONS.targets  # the jobs are counted and priced, and nothing else runs
SCREENED_ONLY = "screen" in OPTIONS.targets  # principles are screened, and nothing else runs

# A plan of 20,000 jobs is many objects that stay, and for each job Snakemake looks at the signatures of the same few
# functions again; without these two lines it takes a quarter more time.
gc.set_threshold(100_000, 50)
snakemake.common.get_function_params = snakemake.rules.get_function_params = functools.cache(get_function_params)

# `python` in the rules is the one that runs this workflow, also where its environment is not activated; and in another
# environment (`--sdm conda`) it finds this package.
os.environ.update(
    PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]),
    PYTHONPATH=os.pathsep.join([str(provenance.SOURCE.parent), *filter(None, [os.getenv("PYTHONPATH")])]),
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


def configuration_files():
    """All configuration files, in the order in which later ones override."""
    # Snakemake has merged them already, but it knows nothing of what they extend.
    shipped = [] if workflow.config_settings.replace_workflow_config else ["config/config.yaml"]
    return [os.path.relpath(file) for file in [*shipped, *workflow.overwrite_configfiles]]


def load_settings():
    """The checked configuration. Whatever can be wrong with it is said here, before anything runs."""
    with one_message():
        settings = configuration.load(configuration_files(), workflow.config_settings.config_args or [])
        if MAIN_PROCESS:
            targets.check_alone(settings, OPTIONS.targets)
            preflight.check(
                settings,
                targets.requested(settings, OPTIONS.targets),
                purpose(),
                keys=not SCREENED_ONLY and targets.need_verdicts(settings, sys.argv[1:]),
                screened=SCREENED_ONLY,
                packages=not workflow.deployment_settings.deployment_method,  # which has packages of its own
            )
        return settings


def purpose():
    if PLANNED:
        return preflight.Purpose.PLAN
    return preflight.Purpose.DRY_RUN if OPTIONS.dryrun else preflight.Purpose.RUN


SETTINGS = load_settings()
LAYOUT = SETTINGS.layout
REQUESTED = targets.requested(SETTINGS, OPTIONS.targets)
HEAVY_THREADS = min(8, workflow.resource_settings.cores or 2)  # for rules that run a model


def cluster_nodes():
    """The nodes of the Slurm cluster that is to run what is requested; none without `--profile slurm`."""
    if not MAIN_PROCESS or OPTIONS.executor != "slurm" or PLANNED:
        return []
    with one_message():
        try:
            return cluster.check(SETTINGS, REQUESTED, HEAVY_THREADS)
        except slurm.NoAnswer:
            if not OPTIONS.dryrun:
                raise
    print("No Slurm answers here: what jobs ask for is not compared with a cluster.", file=sys.stderr)
    return []  # a plan can be made anywhere


LOGS = getattr(workflow.executor_settings, "logdir", None) or ".snakemake/slurm_logs"  # of the executor for Slurm
ESCALATION = Escalation(cluster_nodes(), Path(LOGS))


def check_queue():
    """Ends the run where Slurm still has jobs of an earlier one."""
    with one_message():
        if ESCALATION.nodes:
            slurm.check_queue(slurm.ask(slurm.queue()), Path.cwd())


def print_summaries():
    """The short tables of what was requested; of runs that are joined, that which joins them."""
    if SCREENED_ONLY:
        for name in REQUESTED:
            path = Path(LAYOUT.path(f"{SCREENING_TABLES}/candidates.csv", name))
            if path.exists():
                print(f"\n{path}\n\n{summary.format(path, summary.SCREENED)}\n")
        return
    joined = [name for name in targets.requested_groups(SETTINGS, OPTIONS.targets) if name in SETTINGS.seeds]
    runs = {run for name in joined for run in SETTINGS.seeds[name]}
    paths = [LAYOUT.path(SUMMARY, experiment) for experiment in REQUESTED if experiment not in runs]
    paths += [LAYOUT.path(JOINED_SUMMARY, name) for name in joined]
    for path in map(Path, [] if PLANNED else paths):
        if path.exists():
            print(f"\n{path}\n\n{summary.format(path)}\n")


def print_failures(jobs):
    """The last words of failed stages, each behind the name of its log; what several say alike, once."""
    jobs = [job for some in jobs for job in (some.jobs if some.is_group() else [some])]
    failed = [failures.FailedJob(job.rule.name, tuple(job.wildcards), tuple(job.log)) for job in jobs]
    for message in failures.summary(failed, BEGUN, ESCALATION):
        print(f"\n{message}", file=sys.stderr)


def remove_stale_locks():
    """Snakemake leaves its lock behind when it is killed. Ours is given up by the system, so it tells a dead run."""
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
