"""Failed jobs, each in one message: the error of its stage, or else how it ended."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sami.errors import listed
from sami.progress import last_error
from sami.workflow.resources import Escalation


@dataclass(frozen=True)
class FailedJob:
    """A job that failed: its rule, the values of its wildcards, and the logs of its stage."""

    rule: str
    wildcards: tuple[str, ...]
    logs: tuple[str, ...]


def summary(jobs: Iterable[FailedJob], begun: float, escalation: Escalation) -> list[str]:
    """Messages of failed jobs in the order in which they ended; one that several have alike, once, behind their logs.

    Args:
        begun: when the run began; logs from before tell nothing of it.
        escalation: the cluster, for jobs that Slurm ended.
    """
    messages: dict[str, list[str]] = {}
    for job in sorted(jobs, key=lambda job: [os.path.getmtime(log) for log in job.logs if os.path.exists(log)]):
        messages.setdefault(message(job, begun, escalation), []).append(", ".join(job.logs))
    return [f"{listed(logs)}\n{text}" for text, logs in messages.items()]


def message(job: FailedJob, begun: float, escalation: Escalation) -> str:
    """One message on why a job has failed."""
    # A log from before this run tells nothing of a job whose stage has not even begun.
    written = [log for log in job.logs if os.path.exists(log) and os.path.getmtime(log) >= begun]
    errors = list(filter(None, map(last_error, written)))
    if errors:
        return errors[-1]
    ends = escalation.earlier_ends(job.rule, job.wildcards, attempt=2) if escalation.nodes else []
    for end, key in (("memory", "mem_mb"), ("time", "runtime")):
        if end in ends:
            return f"{job.rule}: error: Slurm ended it, since it took more than its '{key}'. Raise that in 'resources'."
    if not written:
        logs = escalation.slurm_logs(job.rule, job.wildcards) if escalation.nodes else []
        where = str(logs[-1]) if logs else "above"
        return f"{job.rule}: error: its command has not begun its work; what it printed stands {where}."
    return (
        f"{job.rule}: error: it ended without an error of its own, as what is killed does, for want of memory or of "
        "space on the disk for example. Run the same command again, with fewer --cores or more room where that is the "
        f"reason.{_last_line(written)}"
    )


def _last_line(logs: Sequence[str]) -> str:
    lines = [line for log in logs for line in Path(log).read_text(errors="replace").splitlines() if line.strip()]
    return f" The last line of its log: {lines[-1]}" if lines else ""
