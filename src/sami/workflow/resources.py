"""Resources of jobs: what the settings say, and more after an attempt that ended for want of memory or time.

Ground floor: no torch, no Snakemake.
"""

import functools
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from sami.settings.resources import Job, JobKind
from sami.workflow import slurm
from sami.workflow.configuration import Configuration

RUN_A_MODEL = ("write", "sample", "score", "train")  # kinds of jobs

LEAST_NOTICE = 300  # seconds before the end of its time in which a job saves what it has done


def nodes_of(job: Job) -> int:
    return getattr(job, "nodes", None) or 1


def termination_signal(minutes: int | None) -> str | None:
    """Option of Slurm: tell a job in time before its end, so that it saves what it has done."""
    # The launcher and the processes take SIGTERM; of SIGUSR1, Snakemake itself would die inside the job.
    return f"--signal=TERM@{min(LEAST_NOTICE, minutes * 60 // 10)}" if minutes else None


# Resource of Snakemake or of its executor for Slurm -> its value for a job; None where the job does not ask for it.
RESOURCES: dict[str, Callable[[Job], Any]] = {
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
    "gpu_jobs": lambda job: 1 if job.gpus else None,  # how many run at once is limited by the profile
}
RESUMING_RESOURCES = RESOURCES | {"slurm_extra": lambda job: termination_signal(job.runtime)}


class Jobs:
    """Settings of the jobs of a configuration, by kind."""

    def __init__(self, configuration: Configuration):
        self.configuration = configuration
        self.of = functools.cache(self.of)  # thousands of jobs share a few

    def of(self, experiment: str, kind: JobKind) -> Job:
        return self.configuration.experiments[experiment].resources.of(kind)

    def users(self, experiment: str | None, model: str | None = None) -> list[str]:
        """Names of the experiments that a job is for: one, those it compares or joins, or those that run a model."""
        if experiment is not None:
            return self.configuration.groups.get(experiment, [experiment])
        return [name for name in self.configuration.usable if model in self.configuration.models_of(name)]

    def largest(self, experiments: Iterable[str], kind: JobKind) -> Job:
        """The settings that ask for the most memory, where several experiments share a job."""
        return max((self.of(name, kind) for name in experiments), key=lambda job: job.mem_mb)

    def resources(self, resumes: bool) -> dict[str, Callable[[Job], Any]]:
        """The resources that any job asks for.

        Args:
            resumes: whether a job goes on where it was when it is tried again, and so is told before its time ends.
        """
        jobs = [self.of(name, kind) for name in self.configuration.experiments for kind in get_args(JobKind)]
        values = RESUMING_RESOURCES if resumes else RESOURCES
        return {name: value for name, value in values.items() if any(value(job) is not None for job in jobs)}


class Escalation:
    """Memory and time of the next attempt at a job of a Slurm cluster.

    Args:
        nodes: those of the cluster; none where there is none, and nothing is raised.
        logs: folder in which the executor for Slurm keeps the logs of jobs that failed.
    """

    def __init__(self, nodes: Sequence[slurm.Nodes], logs: Path):
        self.nodes, self.logs = nodes, logs

    def memory(self, job: Job, rule: str, wildcards: Sequence[str], attempt: int) -> int:
        """Megabytes, doubled for each earlier attempt that ended for want of it, as far as the partition goes."""
        return self._raised(job.mem_mb, "mem_mb", "memory", job, rule, wildcards, attempt)

    def minutes(self, job: Job, rule: str, wildcards: Sequence[str], attempt: int) -> int | None:
        """The same for time; None where none is set."""
        if job.runtime is None:
            return None
        return self._raised(job.runtime, "minutes", "time", job, rule, wildcards, attempt)

    def _raised(self, value, key, end, job, rule, wildcards, attempt):
        ends = self.earlier_ends(rule, wildcards, attempt) if self.nodes and attempt > 1 else []
        partitions = self._partitions(job)
        most = max((getattr(node, key) for node in self.nodes if node.partition in partitions), default=value)
        return min(value * 2 ** ends.count(end), max(value, most))

    def _partitions(self, job: Job) -> list[str]:
        default = [node.partition for node in self.nodes if node.default]
        return job.partition.split(",") if job.partition else default

    def earlier_ends(self, rule: str, wildcards: Sequence[str], attempt: int) -> Sequence[str | None]:
        """The limits, "memory" or "time", that ended the attempts before this one."""
        return _ends(self.logs, rule, tuple(wildcards), attempt)

    def slurm_logs(self, rule: str, wildcards: Sequence[str]) -> list[Path]:
        """Logs of the attempts at a job, the latest last."""
        return slurm_logs(self.logs, rule, wildcards)


@functools.cache  # Snakemake asks for the resources of a job several times
def _ends(folder: Path, rule: str, wildcards: tuple[str, ...], attempt: int) -> list[str | None]:
    logs = slurm_logs(folder, rule, wildcards)[1 - attempt :]
    return [slurm.parse_end(log.read_text(errors="replace")) for log in logs]


def slurm_logs(folder: Path, rule: str, wildcards: Sequence[str]) -> list[Path]:
    """Logs that Slurm wrote in the attempts at a job, the latest last."""
    # The executor names the log of a job by its rule, its wildcards and Slurm's number, and keeps it when it fails.
    logs = (folder / f"rule_{rule}" / "_".join(wildcards).replace(os.sep, "_")).glob("*.log")
    return sorted((log for log in logs if log.stem.isdigit()), key=lambda log: int(log.stem))
