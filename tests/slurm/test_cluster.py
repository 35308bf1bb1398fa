"""An experiment on a real Slurm, and what befalls jobs there: limits, cancellation, draining nodes, a second start.

Slurm runs on this machine for as long as these tests do: `cluster.py`.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cluster
import pytest
from conftest import ROOT
from workflow_project import Project

from sami.errors import UserError
from sami.settings.resources import TrainingJob
from sami.workflow import slurm

pytestmark = pytest.mark.timeout(900)  # a job that Slurm never starts must not hold everything up
EXPERIMENT = "tldr-mistral-7b-released"
ITERATION = Path("results/ci", EXPERIMENT, "iteration-1")
OVERRIDES = {
    "extends": ["config/paper/tldr-mistral-7b.yaml", "config/paper/common/ci.yaml"],
    "run": [EXPERIMENT],
    "defaults": {
        "iterations": 1,
        # Steps enough to be interrupted in.
        "training": {"epochs": 20, "queries_per_step": 1, "learning_rate": 1e-4},
        "engine": {"processes": 2, "checkpoint_steps": 1},
        "resources": {
            "all": {"cores": 1, "runtime": 30},
            "prepare": {"mem_mb": 300},  # too little
            "sample": {"runtime": 1},
            "train": {"nodes": 2, "gpus": 1},
        },
    },
}


class ClusterProject(Project):
    """A copy of the project that runs on Slurm."""

    def command(self, *arguments: str) -> list[str]:
        # The states of jobs are asked for sooner than is good for a large cluster.
        profile = ["--cores", "all", "--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1"]
        return [sys.executable, "-m", "snakemake", *arguments, *profile, "--configfile", self.overrides]

    def start(self, *arguments: str) -> subprocess.Popen:
        with (self.folder / "printed").open("w") as file:
            command = self.command(*arguments)
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=file, stderr=file)

    def finish(self, running: subprocess.Popen) -> None:
        assert running.wait() == 0, (self.folder / "printed").read_text()[-6000:]

    def wait(self, condition, what: str) -> None:
        cluster.wait(condition, what, seconds=400)  # on a busy machine

    def printed_by(self, job: dict) -> str:
        """What Slurm and the stage have written into the log of a job that failed."""
        return next((self.folder / ".snakemake/slurm_logs").rglob(f"{job['number']}.log")).read_text()

    def weights(self) -> bytes:
        return (self.folder / ITERATION / "model/model.safetensors").read_bytes()


@pytest.fixture(scope="module", autouse=True)
def running_cluster():
    if not shutil.which("slurmctld"):
        subprocess.run(["make", "cluster"], cwd=ROOT)
    if reason := cluster.obstacle():
        pytest.skip(reason)
    cluster.start()
    yield
    cluster.stop()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project whose experiment has come to its end, whatever befell its jobs."""
    project = ClusterProject(tmp_path_factory.mktemp("cluster") / "project", Path("none"), OVERRIDES)
    running = project.start()

    # A job that samples for an evaluation comes to its limit of time: it is stopped, so that it takes no less.
    project.wait(lambda: cluster.running("sample_evaluation", "iteration-0"), "sampling")
    project.wait(lambda: cluster.halt(cluster.jobs("sample_evaluation", "iteration-0")[0]), "sampling to stand still")

    # Training is cancelled between two checkpoints, and one of its nodes drained before it can start again.
    project.wait(lambda: (project.folder / ITERATION / "checkpoints/step-000003").exists(), "checkpoints")
    [first] = cluster.jobs("train")
    cluster.run("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
    cluster.run("scancel", first["number"])
    project.wait(lambda: len(cluster.jobs("train")) == 2, "training to be tried again")
    second = cluster.jobs("train")[1]
    assert second["state"] == "PENDING"
    cluster.run("scontrol", "update", "NodeName=n2", "State=RESUME")

    project.finish(running)
    return project


def test_whole_experiment(finished):
    folder = finished.folder / ITERATION.parent
    assert (folder / "report.html").stat().st_size > 10_000
    assert len((folder / "tables/summary.csv").read_text().splitlines()) > 2
    # Light jobs ran beside the workflow.
    assert not cluster.jobs("tabulate") + cluster.jobs("judge_responses") + cluster.jobs("build_constitutions")


def test_cancelled_training_resumes_on_two_nodes(finished, tmp_path):
    first, second = cluster.jobs("train")
    assert (first["state"], second["state"]) == ("CANCELLED", "COMPLETED")
    assert first["nodes"] == second["nodes"] == "n[1-2]"
    assert re.search(r"NumNodes=2 .* NumTasks=2 ", cluster.run("scontrol", "show", "job", second["number"]))
    assert (first["memory"], first["limit"]) == (second["memory"], second["limit"])
    assert "SIGTERM received: saving a checkpoint" in finished.printed_by(first)
    log = (finished.folder / ITERATION.parent / "logs/train-1.log").read_text()
    assert "steps on 2 process(es)" in log
    assert int(re.search(r"resuming after step (\d+)", log)[1]) >= 3
    assert finished.weights() == undisturbed(finished, tmp_path)


def undisturbed(project, folder):
    """The weights that the same command gives in two processes on this machine, without Slurm."""
    arguments = json.loads((project.folder / ITERATION / "model/provenance.json").read_text())["command"][1:]
    for flag in ("--output", "--metrics", "--checkpoints", "--tensorboard", "--log"):
        arguments[arguments.index(flag) + 1] = str(folder / flag.strip("-"))
    environment = {key: value for key, value in project.environment.items() if not key.startswith("SLURM")}
    subprocess.run([sys.executable, *arguments], cwd=project.folder, env=environment, check=True)
    return (folder / "output/model.safetensors").read_bytes()


def test_more_time_after_a_time_limit(finished):
    first, second, *_ = jobs = cluster.jobs("sample_evaluation", "iteration-0")
    assert (first["state"], jobs[-1]["state"]) == ("TIMEOUT", "COMPLETED")
    assert (first["limit"], second["limit"]) == ("1:00", "2:00")
    assert first["memory"] == second["memory"]


def test_more_memory_after_too_little(finished):
    first, second, *_ = jobs = cluster.jobs("prepare_model", "mistral-7b")
    assert slurm.parse_end(finished.printed_by(first)) == "memory"
    assert (first["memory"], second["memory"]) == ("300M", "600M")
    assert jobs[-1]["state"] == "COMPLETED"
    assert first["limit"] == second["limit"]


def copy(finished, folder):
    shutil.copytree(finished.folder, folder / "copy", symlinks=True)
    project = object.__new__(ClusterProject)
    project.folder, project.overrides = folder / "copy", finished.overrides
    return project


def test_preempted_job_resumes(finished, tmp_path):
    """A job of higher priority takes both nodes; training, in two processes on one, is put back into the queue."""
    project = copy(finished, tmp_path)
    shutil.rmtree(project.folder / ITERATION / "model")
    resources = OVERRIDES["defaults"]["resources"] | {"train": {"nodes": 1, "gpus": 2}}
    overrides = OVERRIDES | {"defaults": OVERRIDES["defaults"] | {"resources": resources}}
    project.overrides = project.write("one-node.yaml", overrides)
    before = len(cluster.jobs("train"))
    running = project.start(f"{ITERATION}/model")
    project.wait(lambda: (project.folder / ITERATION / "checkpoints/step-000003").exists(), "checkpoints")
    [job] = cluster.jobs("train")[before:]
    urgent = ("--partition=urgent", "--nodes=2", "--exclusive", "--chdir=/tmp", "--output=/dev/null")
    cluster.run("sbatch", *urgent, "--wrap=srun sleep 5")
    project.finish(running)
    [job] = cluster.jobs("train")[before:]
    assert (job["state"], job["nodes"]) == ("COMPLETED", "n1")  # where two processes ran, and not twice two
    shown = cluster.run("scontrol", "show", "job", job["number"])
    assert "Restarts=1 " in shown
    assert re.search(r"TresPerNode=gres.gpu:2\b", shown)
    assert "resuming after step" in (project.folder / ITERATION.parent / "logs/train-1.log").read_text()
    assert project.weights() == finished.weights()


def test_jobs_of_a_run_that_was_killed_are_waited_for(finished):
    """SIGKILL of the workflow leaves its jobs in the queue, where a second run must not meet them."""
    sent = ("sbatch", "--parsable", f"--chdir={finished.folder}", "--comment=rule_train_x", "--begin=now+1hour")
    number = cluster.run(*sent, "--wrap=true").strip()
    with pytest.raises(UserError, match=f"found 1 jobs of an earlier run of this workflow in .*scancel {number}"):
        slurm.check_queue(slurm.ask(slurm.queue()), finished.folder)
    cluster.run("scancel", number)
    cluster.wait(lambda: number not in cluster.run("squeue", "-h", "-o", "%i").split(), "the job to go")
    slurm.check_queue(slurm.ask(slurm.queue()), finished.folder)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"partition": "plane"}, 'resources.all.partition: found "plane" (text), expected one of the partitions'),
        ({"partition": "plain", "gpus": 1}, "found 1 GPUs a node, expected at most 0"),
        ({"runtime": 121}, "found 121 minutes, expected at most 120"),
    ],
)
def test_what_slurm_would_never_start_is_refused(asked, told):
    nodes = slurm.parse_nodes(slurm.ask(slurm.NODES))
    with pytest.raises(UserError, match=re.escape(told)):
        slurm.check(TrainingJob(mem_mb=100, **asked), 1, nodes, lambda key: f"resources.all.{key}")


def test_unknown_partition_is_told_before_anything_runs(finished, tmp_path):
    project = copy(finished, tmp_path)
    wrong = {"extends": finished.overrides, "defaults": {"resources": {"train": {"partition": "gpu"}}}}
    project.overrides = project.write("wrong.yaml", wrong)
    printed = project.run("--forceall", expect=1)
    assert "wrong.yaml, line" in printed
    assert 'train.partition: found "gpu" (text), expected one of the partitions of the cluster: main, plain' in printed
