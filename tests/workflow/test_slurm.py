"""What Slurm says of a cluster, what it would never start, and how the processes of a stage are started there.

The outputs are those of Slurm 22.05 with the nodes of a larger cluster; tests/slurm runs a real, small one.
"""

import math
import os
import re
import socket
import subprocess
import sys

import pytest
from conftest import ROOT
from pydantic import ValidationError

from sami import launch
from sami.errors import UserError
from sami.settings.resources import Job, Resources, TrainingJob
from sami.workflow import slurm

NODES = slurm.parse_nodes(
    """\
batch*|2-00:00:00|200|64|256000|(null)|amd,rome
batch*|2-00:00:00|4|128|2060000|(null)|amd,rome,fat
gpu|1-00:00:00|16|64|515000|gpu:a100:4|a100_80
gpu|1-00:00:00|4|64|515000|gpu:a100:8,nic:2|a100_40
h100|12:00:00|8|96|1030000|gpu:h100:8(S:0-1)|h100
debug|30:00|1|64|515000|gpu:a100:4|a100_80
long|infinite|100|64|256000|(null)|(null)
"""
)


def test_nodes():
    assert [(nodes.partition, nodes.default, nodes.count, nodes.gpus) for nodes in NODES] == [
        ("batch", True, 200, 0),
        ("batch", True, 4, 0),
        ("gpu", False, 16, 4),
        ("gpu", False, 4, 8),
        ("h100", False, 8, 8),
        ("debug", False, 1, 4),
        ("long", False, 100, 0),
    ]
    assert [nodes.minutes for nodes in NODES] == [2880, 2880, 1440, 1440, 720, 30, math.inf]
    assert (NODES[1].cores, NODES[1].mem_mb, NODES[1].features) == (128, 2060000, ("amd", "rome", "fat"))
    assert NODES[-1].features == ()


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"cores": 128, "mem_mb": 2_000_000, "runtime": 2880, "constraint": "fat"},
        {"partition": "gpu", "gpus": 8, "nodes": 4},
        {"partition": "batch,gpu", "gpus": 4, "runtime": 1440},
        {"partition": "long", "runtime": 100_000},
        {"partition": "gpu", "gpus": 4, "constraint": "a100_80|a100_40"},
    ],
)
def test_what_fits_passes(asked):
    job = TrainingJob(**{"mem_mb": 1000, **asked})
    slurm.check(job, job.cores or 8, NODES, "resources.all.{}".format)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"partition": "gpus"},
            'all.partition: found "gpus" (text), expected one of the partitions of the cluster: ba',
        ),
        (
            {"gpus": 1},
            "all.gpus: found 1 GPUs a node, expected at most 0, which is what the partition batch has. Lower it",
        ),
        ({"gpus": 8}, "Lower it or name another partition (gpu, h100)."),
        (
            {"partition": "h100", "gpus": 16},
            "found 16 GPUs a node, expected at most 8, which is what the partition h100",
        ),
        ({"mem_mb": 3_000_000}, "all.mem_mb: found 3000000 MB of memory a node, expected at most 2060000"),
        ({"cores": 129}, "all.cores: found 129 cores a node, expected at most 128"),
        ({"partition": "debug", "runtime": 60}, "all.runtime: found 60 minutes, expected at most 30"),
        (
            {"partition": "gpu", "gpus": 8, "nodes": 5},
            "all.nodes: found 5, expected at most 4: so many nodes of the part",
        ),
        (
            {"cores": 100, "nodes": 5},
            "have all that a job asks of each (1000 MB of memory, 100 cores)",
        ),
        (
            {"partition": "gpu", "constraint": "h100"},
            'all.constraint: found "h100" (text), expected one of the features',
        ),
        ({"partition": "gpu", "gpus": 8, "constraint": "a100_80"}, "all.nodes: found 1, expected at most 0"),
    ],
)
def test_what_slurm_would_never_start_is_one_clear_error(asked, told):
    job = TrainingJob(**{"mem_mb": 1000, **asked})
    with pytest.raises(UserError, match=re.escape(told)):
        slurm.check(job, job.cores or 8, NODES, "resources.all.{}".format)


def test_no_partition_and_no_default_one():
    with pytest.raises(
        UserError, match="no partition is set, and the cluster has no default; expected one of: gpu, h100"
    ):
        slurm.check(Job(mem_mb=1), 1, [nodes for nodes in NODES if nodes.gpus], "resources.all.{}".format)


def test_accounts():
    enforced = "AccountingStorageEnforce = associations,limits,qos\nAccountingStorageExternalHost = (null)\n"
    assert slurm.parse_enforced(enforced)
    assert not slurm.parse_enforced("AccountingStorageEnforce = none\n")
    assert slurm.parse_accounts("other|lab\nlab|lab\n") == (["other", "lab"], "lab")
    assert slurm.parse_accounts("") == ([], None)
    where = "resources.all.{}".format
    slurm.check_account(Job(account="other"), ["other", "lab"], "lab", where)
    slurm.check_account(Job(), ["other", "lab"], "lab", where)
    with pytest.raises(
        UserError, match=r"all\.account: no account is set, .*; expected one of: lab\. Add 'account: NAME'"
    ):
        slurm.check_account(Job(), ["lab"], None, where)
    with pytest.raises(
        UserError, match=r'all\.account: found "labb" \(text\), expected one of .*: other, lab. Did you mean'
    ):
        slurm.check_account(Job(account="labb"), ["other", "lab"], "lab", where)


@pytest.mark.parametrize(
    ("line", "end"),
    [
        ("slurmstepd: error: *** JOB 2 ON n1 CANCELLED AT 2026-11-24T03:54:37 DUE TO TIME LIMIT ***", "time"),
        ("slurmstepd: error: *** STEP 3.0 ON n1 CANCELLED AT 2026-11-24T03:56:07 DUE TO TIME LIMIT ***", "time"),
        ("slurmstepd: error: *** STEP 2.0 ON n1 CANCELLED AT 2026-11-24T02:46:27 ***", None),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-24T02:46:27 DUE TO PREEMPTION ***", None),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-11-24T02:46:27 DUE TO NODE FAILURE ***", None),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=9.0. Some of the step tasks have been", "memory"),
        ("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=9.batch. Some of your processes may", "memory"),
        ("slurmstepd-n1: error: StepId=1.0 exceeded memory limit (322195456 > 209715200), being killed", "memory"),
        ("12:00:01 train: error: out of memory at step 3; DUE TO TIME LIMIT", None),
    ],
)  # fmt: skip
def test_which_limit_ended_a_job(line, end):
    assert slurm.parse_end(f"srun: Job step aborted\n{line}\nsrun: error: n1: task 0: Killed\n") == end


def test_no_slurm_here(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(slurm.NoAnswer, match="there is no command 'sinfo'.*leave out '--profile slurm'"):
        slurm.ask(slurm.NODES)
    assert slurm.status_command() == "squeue"


def test_a_whole_plan_for_slurm_is_made_where_none_runs(tmp_path):
    """Also where its commands are installed; whoever wants to run it is told."""
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\necho 'sinfo: error: Unable to contact slurm controller' >&2\nexit 1\n")
    sinfo.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--profile", "slurm"]
    for options, status, told in (["--dry-run"], 0, "No Slurm answers here"), ([], 1, "'sinfo' failed .*contact slurm"):
        done = subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == status
        assert re.search(told, done.stderr)


def test_resources_of_a_kind_lie_over_those_of_all():
    resources = Resources(all={"mem_mb": 1, "gpus": 1, "partition": "a"}, train={"nodes": 2, "partition": "b"})
    assert resources.of("train") == TrainingJob(mem_mb=1, gpus=1, partition="b", nodes=2)
    assert resources.of("sample") == TrainingJob(mem_mb=1, gpus=1, partition="a", nodes=None)
    assert resources.set_at("train", "partition") == ("train", "partition")
    assert resources.set_at("train", "gpus") == ("all", "gpus")
    with pytest.raises(ValidationError, match="'all' lacks 'mem_mb'"):
        Resources(train={"mem_mb": 1})


def test_processes_on_one_machine():
    for nodes, environment in ((1, {}), (2, {}), (1, {"SLURM_JOB_ID": "4711"})):
        command = launch.command("m", ["--x", "1"], processes=4, nodes=nodes, threads=8, environment=environment)
        assert command[:5] == [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "4"]
        assert "--standalone" in command
        assert command[-5:] == ["-m", "--", "m", "--x", "1"]


def test_processes_on_the_nodes_of_a_job_meet_at_the_first():
    command = launch.command("m", [], processes=16, nodes=2, threads=8, environment={"SLURM_JOB_ID": "4711"})
    step = "srun --nodes 2 --ntasks 2 --ntasks-per-node 1 --cpus-per-task 8"
    assert command[: command.index(sys.executable)] == step.split()
    for flag, value in {
        "--nnodes": "2",
        "--nproc-per-node": "8",
        "--rdzv-backend": "c10d",
        "--rdzv-id": "4711",
        "--rdzv-endpoint": f"{socket.gethostname()}:19711",
    }.items():
        assert command[command.index(flag) + 1] == value
    assert launch.port("4712") != launch.port("4711")
