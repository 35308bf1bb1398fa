"""Processes of a stage, on this machine or on all nodes of a Slurm job, and their end with what started them."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

FORWARDED = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
LONGEST_CHECKPOINT = 3600  # seconds until torchrun kills processes that have been asked to end; Slurm is less patient


def launch(module: str, arguments: Sequence[str], processes: int, nodes: int = 1, threads: int | None = None) -> None:
    """Sets the threads of each process, and replaces this one by several where they have not been started yet.

    Args:
        module: the module that runs, and its `arguments`.
        processes: how many run it together, on all nodes.
        nodes: how many nodes the Slurm job has.
        threads: processor threads on each node; None for the libraries' choice.
    """
    started = "WORLD_SIZE" in os.environ  # by torchrun or the like
    count = max(int(os.environ["WORLD_SIZE"]) if started else 1, processes)
    if threads:  # read when torch is imported
        os.environ["OMP_NUM_THREADS"] = str(max(1, threads * nodes // count))
    if not started and count > 1:
        launcher = command(module, arguments, count, nodes, threads)
        os.execvp(launcher[0], launcher)


def command(
    module: str,
    arguments: Sequence[str],
    processes: int,
    nodes: int = 1,
    threads: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> list[str]:
    """The command that runs a module in several processes.

    In a Slurm job on several nodes, `srun` starts one torchrun on each, and these meet at a port of the first node, on
    which this runs. Elsewhere all processes run on this machine.

    Args:
        module: the module to run, and its `arguments`.
        processes: their number, on all nodes together; a multiple of `nodes`.
        nodes: how many nodes the Slurm job has.
        threads: processor threads on each node.
        environment: tells whether this is a Slurm job.
    """
    job = environment.get("SLURM_JOB_ID", "")
    nodes = nodes if job else 1
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes // nodes)]
    # The processes save a checkpoint when they are asked to end, and that takes as long as it takes.
    torchrun += ["--signals-to-handle", FORWARDED, "--shutdown-timeout", str(LONGEST_CHECKPOINT)]
    if nodes > 1:
        torchrun += ["--nnodes", str(nodes), "--rdzv-backend", "c10d", "--rdzv-id", job]
        torchrun += ["--rdzv-endpoint", f"{socket.gethostname()}:{port(job)}"]
        step = ["srun", "--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
        torchrun = [*step, *(["--cpus-per-task", str(threads)] if threads else []), *torchrun]
    else:
        torchrun.append("--standalone")
    # Behind "--", torchrun does not take the arguments for abbreviations of its own.
    return [*torchrun, "-m", "--", module, *arguments]


def port(job: str) -> int:
    """A port of a Slurm job's own, below those that systems give away by themselves."""
    return 15000 + int(job) % 10000


def end_with_parent() -> None:
    """On Linux, ends this process when the one that started it is killed.

    Otherwise a workflow that dies by SIGKILL leaves its running stage behind, which competes with the rerun.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG in <sys/prctl.h>
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
