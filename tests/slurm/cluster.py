"""A Slurm cluster of two nodes on this machine, from Debian's packages, for the tests.

    python tests/slurm/cluster.py start | stop

Both nodes run here, with more cores than there are and GPUs that are empty files; a third has none, and is down. Slurm
reads its configuration from one place only, /etc/slurm, so there can be one such cluster at a time; a Slurm that
belongs here is left alone.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

FOLDER = Path("/tmp/sami-test-cluster")
CONFIGURATION, DEVICES = Path("/etc/slurm/slurm.conf"), Path("/etc/slurm/gres.conf")
NAME = "ClusterName=sami-test"
NODES = ("n1", "n2")
NEEDED = ("munged", "slurmctld", "slurmd", "sbatch")

SETTINGS = f"""{NAME}
SlurmctldHost={socket.gethostname()}
SlurmUser=root
AuthType=auth/munge
MinJobAge=3600
AuthInfo=cred_expire=5  # a job that is put back into the queue waits so many seconds
StateSaveLocation={FOLDER}/state
SlurmdSpoolDir={FOLDER}/%n
SlurmctldLogFile={FOLDER}/slurmctld.log
SlurmdLogFile={FOLDER}/%n.log
SlurmctldPidFile={FOLDER}/slurmctld.pid
SlurmdPidFile={FOLDER}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
# Jobs are ended within a second of taking more memory than they asked for.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n1 NodeHostname={socket.gethostname()} Port=17001 CPUs=4 RealMemory=20000 Gres=gpu:2
NodeName=n2 NodeHostname={socket.gethostname()} Port=17002 CPUs=4 RealMemory=20000 Gres=gpu:2
NodeName=n3 NodeHostname={socket.gethostname()} Port=17003 CPUs=4 RealMemory=20000 Feature=plain State=DOWN
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=120 PriorityTier=1
PartitionName=plain Nodes=n3 MaxTime=30
PartitionName=urgent Nodes=n1,n2 MaxTime=120 PriorityTier=2 PreemptMode=OFF
"""


def obstacle() -> str | None:
    """Why no cluster can be started here."""
    if os.geteuid() != 0:
        return "only root can start the daemons of Slurm"
    ours = CONFIGURATION.exists() and NAME in CONFIGURATION.read_text()
    if not ours and (
        CONFIGURATION.exists() or subprocess.run("sinfo", shell=True, capture_output=True).returncode == 0
    ):
        return "there is a Slurm here already, and the tests drain nodes"
    missing = [command for command in NEEDED if not shutil.which(command)]
    return f"there is no {', '.join(missing)}: `make cluster` installs them" if missing else None


def start() -> None:
    """Starts the cluster, and waits until its nodes are idle. One that a killed run left behind is stopped first."""
    stop()
    (FOLDER / "state").mkdir(parents=True)
    CONFIGURATION.parent.mkdir(exist_ok=True)
    CONFIGURATION.write_text(SETTINGS)
    for gpu in range(2):
        (FOLDER / f"gpu{gpu}").touch()
    DEVICES.write_text(f"NodeName=n[1-2] Name=gpu File={FOLDER}/gpu[0-1]\n")
    if subprocess.run("munge -n | unmunge", shell=True, capture_output=True).returncode:
        for folder in (Path("/run/munge"), FOLDER / "munge"):
            folder.mkdir(mode=0o755, exist_ok=True)
            shutil.chown(folder, "munge", "munge")
        files = [f"--{kind}-file={FOLDER}/munge/munged.{kind}" for kind in ("pid", "log", "seed")]
        run("runuser", "-u", "munge", "--", "munged", *files)
    run("slurmctld")
    for node in NODES:
        run("slurmd", "-N", node)
    wait(lambda: run("sinfo", "-h", "-N", "-o", "%t").split().count("idle") >= len(NODES), "idle nodes")


def stop() -> None:
    """Stops what `start` has started."""
    if CONFIGURATION.exists():
        subprocess.run(["scancel", "--full", "--signal=KILL", "--user=root"], capture_output=True)
    for pid in daemons():
        os.kill(pid, signal.SIGTERM)
    wait(lambda: not daemons(), "the daemons to end")
    for file in (CONFIGURATION, DEVICES):
        file.unlink(missing_ok=True)
    shutil.rmtree(FOLDER, ignore_errors=True)


def daemons() -> list[int]:
    """The process ids of the daemons that `start` has started and that run."""
    running = []
    for file in FOLDER.rglob("*.pid"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one may end meanwhile
            pid = file.read_text().strip()
            if Path(f"/proc/{pid}/comm").read_text().strip() in NEEDED:
                running.append(int(pid))
    return running


def run(*command: str) -> str:
    """What a command prints."""
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def jobs(rule: str, wildcard: str = "") -> list[dict[str, str]]:
    """The jobs of a rule, with a wildcard of this value, oldest first: number, state, memory, limit of time, nodes."""
    keys = {"number": "%i", "state": "%T", "memory": "%m", "limit": "%l", "nodes": "%N", "comment": "%k"}
    lines = run("squeue", "-h", "--states=all", "--sort=i", f"--format={'|'.join(keys.values())}").splitlines()
    found = [dict(zip(keys, line.split("|"), strict=True)) for line in lines]
    return [job for job in found if job["comment"].startswith(f"rule_{rule}_") and job["comment"].endswith(wildcard)]


def running(rule: str, wildcard: str = "") -> bool:
    """Whether a job of a rule runs a command."""
    return any(
        run("squeue", "-h", "--steps", f"--jobs={job['number']}", "-o", "%i").count(f"{job['number']}.0")
        for job in jobs(rule, wildcard)
        if job["state"] == "RUNNING"
    )


def halt(job: dict[str, str]) -> bool:
    """Stops the command of a job, and says whether it stands still: a step that has just begun loses the signal."""
    run("scancel", "--signal=STOP", job["number"])
    return any(
        process.info["status"] == psutil.STATUS_STOPPED
        for process in psutil.process_iter(["status", "environ"])
        if (process.info["environ"] or {}).get("SLURM_JOB_ID") == job["number"]
    )


def wait(condition, what: str, seconds: float = 120) -> None:
    """Returns when a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} seconds for {what}"
        time.sleep(0.1)


if __name__ == "__main__":
    {"start": start, "stop": stop}[sys.argv[1]]()
