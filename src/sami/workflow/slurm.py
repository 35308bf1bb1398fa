"""Slurm: what a cluster says of itself, and whether it can run what a configuration asks for.

The functions `parse_...` take the text that Slurm's commands print; `ask` runs such a command.
"""

import getpass
import math
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sami.errors import UserError
from sami.settings.resources import Job
from sami.workflow.configuration import known

NODES = ("sinfo", "--noheader", "--exact", "--format=%P|%l|%D|%c|%m|%G|%f")
CONFIGURATION = ("scontrol", "show", "config")

Where = Callable[[str], str]  # names the place of a key of `sami.settings.Job`: file, line and full key


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that are alike; memory (MB), cores and GPUs are those of each."""

    partition: str
    default: bool  # whether the partition is the cluster's default
    minutes: float  # that a job in the partition may take; infinite where there is no limit
    count: int
    cores: int
    mem_mb: int
    gpus: int
    features: tuple[str, ...] = ()


def accounts() -> tuple[str, ...]:
    """The command that tells which accounts this user may charge."""
    user = ("user", getpass.getuser(), "withassoc")
    return ("sacctmgr", "--noheader", "--parsable2", "show", *user, "format=Account,DefaultAccount")


def queue() -> tuple[str, ...]:
    """The command that lists this user's jobs that wait or run."""
    return ("squeue", "--noheader", f"--user={getpass.getuser()}", "--format=%i|%Z|%k")


class NoAnswer(UserError):
    """There is no cluster that can be asked from here."""


def ask(command: Sequence[str]) -> str:
    """Output of a command of Slurm.

    Raises:
        NoAnswer: there is no such command, or the cluster does not answer.
    """
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except FileNotFoundError:
        found = f"there is no command '{command[0]}'"
    except subprocess.TimeoutExpired:
        found = f"'{command[0]}' has not answered within a minute"
    except subprocess.CalledProcessError as error:
        found = f"'{command[0]}' failed ({' '.join(error.stderr.split())})"
    raise NoAnswer(
        f"Slurm: {found}, expected a machine from which jobs can be submitted. Run this on a cluster's login node, or "
        "leave out '--profile slurm' to run everything on this machine."
    )


def parse_nodes(printed: str) -> list[Nodes]:
    """The nodes that the command `NODES` prints."""
    rows = [line.strip().split("|") for line in printed.splitlines()]
    return [
        Nodes(
            partition=partition.removesuffix("*"),
            default=partition.endswith("*"),
            minutes=parse_minutes(limit),
            count=int(count),
            cores=int(cores),
            mem_mb=int(memory),
            gpus=sum(map(int, re.findall(r"\bgpu(?::[^:,()]+)?:(\d+)", gres))),
            features=() if features == "(null)" else tuple(features.split(",")),
        )
        for partition, limit, count, cores, memory, gres, features in rows
    ]


def parse_minutes(limit: str) -> float:
    """A time limit as sinfo prints it: [days-][[hours:]minutes:]seconds, or infinite."""
    if limit == "infinite":
        return math.inf
    days, _, clock = limit.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = seconds * 60 + int(part)
    return int(days or 0) * 24 * 60 + seconds / 60


def parse_enforced(printed: str) -> bool:
    """Whether jobs need an account, by what the command `CONFIGURATION` prints."""
    found = re.search(r"^AccountingStorageEnforce\s*=\s*(.*)$", printed, re.MULTILINE)
    return bool(found) and "associations" in found[1].split(",")


def parse_accounts(printed: str) -> tuple[list[str], str | None]:
    """The accounts of a user, and the default one if there is one, by what the command `accounts` prints."""
    rows = [line.split("|") for line in printed.splitlines()]
    return [account for account, _ in rows if account], next((default for _, default in rows if default), None)


def parse_end(log: str) -> str | None:
    """Which limit ended a job, "memory" or "time", by what Slurm wrote into the job's log; None for another end."""
    # The log tells also where the cluster keeps no accounts. "exceeded ...": memory is polled there, without cgroups.
    ends = {"memory": r"oom.kill event|exceeded \w* ?memory limit", "time": r"DUE TO TIME LIMIT"}
    return next((end for end, text in ends.items() if re.search(rf"^slurmstepd.*error:.*({text})", log, re.M)), None)


def status_command() -> str:
    """Which command tells the states of jobs: sacct where the cluster keeps accounts, else squeue."""
    try:
        return "squeue" if re.search(r"^AccountingStorageType\s*=.*none", ask(CONFIGURATION), re.MULTILINE) else "sacct"
    except NoAnswer:  # a dry run, perhaps
        return "squeue"


def check_queue(printed: str, folder: Path) -> None:
    """Finds that jobs of an earlier run in a folder wait or run, by what the command `queue` prints.

    Their outputs would be written twice at once.

    Raises:
        UserError: it names them.
    """
    rows = [line.split("|", 2) for line in printed.splitlines()]
    jobs = [number for number, where, comment in rows if Path(where) == folder and comment.startswith("rule_")]
    if jobs:
        raise UserError(
            f"Slurm: found {len(jobs)} jobs of an earlier run of this workflow in {folder}, expected none, since they "
            f"would write the same files as those of this run. Wait until they are done, or: scancel {' '.join(jobs)}"
        )


def of_partitions(job: Job, nodes: list[Nodes], where: Where) -> list[Nodes]:
    """The nodes of the partitions that a job may run in.

    Raises:
        UserError: there is no such partition; or none is named, and the cluster has no default.
    """
    names = list(dict.fromkeys(node.partition for node in nodes))
    asked = job.partition.split(",") if job.partition else [node.partition for node in nodes if node.default]
    if not asked:
        raise UserError(
            f"{where('partition')}: no partition is set, and the cluster has no default; expected one of: "
            f"{', '.join(names)}. Add it to 'resources.all'."
        )
    for name in asked:
        known(name, names, "partitions of the cluster", where("partition"))
    return [node for node in nodes if node.partition in asked]


def check(job: Job, cores: int, nodes: list[Nodes], where: Where) -> None:
    """Finds what keeps Slurm from ever starting a job.

    Args:
        job: what it asks for.
        cores: the processor cores it asks for on each node.
        nodes: those of the cluster.
        where: for messages.

    Raises:
        UserError: the first obstacle found.
    """
    there = of_partitions(job, nodes, where)
    partition = " or ".join(dict.fromkeys(node.partition for node in there))
    asked = {"gpus": job.gpus or 0, "mem_mb": job.mem_mb, "cores": cores, "minutes": job.runtime or 0}
    words = {"gpus": "GPUs a node", "mem_mb": "MB of memory a node", "cores": "cores a node", "minutes": "minutes"}
    for key, value in asked.items():
        most = max(getattr(node, key) for node in there)
        if value > most:
            better = sorted({node.partition for node in nodes if getattr(node, key) >= value})
            other = f" or name another partition ({', '.join(better)})" if better else ""
            raise UserError(
                f"{where('runtime' if key == 'minutes' else key)}: found {value} {words[key]}, expected at most "
                f"{most:.0f}, which is what the partition {partition} has. Lower it{other}."
            )
    fitting = [node for node in there if all(getattr(node, key) >= value for key, value in asked.items())]
    if job.constraint and re.fullmatch(r"[\w.-]+", job.constraint):  # else an expression, which only Slurm understands
        features = sorted({feature for node in there for feature in node.features})
        known(job.constraint, features, f"features of nodes in the partition {partition}", where("constraint"))
        fitting = [node for node in fitting if job.constraint in node.features]
    wanted, count = getattr(job, "nodes", None) or 1, sum(node.count for node in fitting)
    if wanted > count:
        each = ", ".join(f"{value} {words[key].removesuffix(' a node')}" for key, value in asked.items() if value)
        each += f", {job.constraint}" if job.constraint else ""
        raise UserError(
            f"{where('nodes')}: found {wanted}, expected at most {count}: so many nodes of the partition {partition} "
            f"have all that a job asks of each ({each}). Ask for less, or name another partition."
        )


def check_account(job: Job, accounts: list[str], default: str | None, where: Where) -> None:
    """Finds that a job has no account, where the cluster runs none without.

    Raises:
        UserError: none is named and there is no default, or the user may not use the one that is named.
    """
    if job.account:
        known(job.account, accounts, f"accounts of the user {getpass.getuser()}", where("account"))
    elif default is None:
        raise UserError(
            f"{where('account')}: no account is set, the cluster runs no job without one, and the user "
            f"{getpass.getuser()} has no default; expected one of: {', '.join(accounts) or 'none'}. Add "
            "'account: NAME' to 'resources.all'."
        )
