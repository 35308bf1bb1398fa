"""Resources of jobs: what the executor is asked for, and more after an attempt that ended for want of them."""

import math

import pytest

from sami.settings.resources import Job, TrainingJob
from sami.workflow import resources, slurm
from sami.workflow.resources import Escalation, Jobs

NODES = [slurm.Nodes("batch", True, 120, 4, 8, 64000, 0), slurm.Nodes("long", False, math.inf, 4, 8, 16000, 0)]
OOM = "slurmstepd-node: error: Detected 1 oom_kill event in StepId=1.batch. Some of the step tasks\n"
LATE = "slurmstepd-node: error: *** JOB 7 ON node CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n"


@pytest.fixture
def cluster(tmp_path):
    """Function: writes what Slurm logged of the attempts at a job; returns the escalation that reads it."""

    def ended(*logs: str) -> Escalation:
        for number, text in enumerate(logs, 9):  # 9 before 10: by number, not by name
            file = tmp_path / "rule_train" / "a_2" / f"{number}.log"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return Escalation(NODES, tmp_path)

    return ended


def test_memory_doubles_for_each_attempt_that_wanted_it(cluster):
    job, of = Job(mem_mb=10000, runtime=50), ("train", ("a", "2"))
    escalation = cluster(OOM, "killed\n", OOM)
    assert [escalation.memory(job, *of, attempt) for attempt in (1, 2, 3, 4)] == [10000, 20000, 20000, 40000]
    assert escalation.minutes(job, *of, 4) == 50


def test_time_doubles_as_far_as_the_partition_goes(cluster):
    job, of = Job(mem_mb=10000, runtime=50), ("train", ("a", "2"))
    escalation = cluster(LATE, LATE)
    assert [escalation.minutes(job, *of, attempt) for attempt in (1, 2, 3)] == [50, 100, 120]
    assert escalation.minutes(Job(mem_mb=1, runtime=50, partition="long"), *of, 3) == 200
    assert escalation.minutes(Job(mem_mb=1), *of, 3) is None
    assert escalation.memory(job, *of, 3) == 10000


def test_nothing_is_raised_where_there_is_no_cluster(tmp_path):
    assert Escalation([], tmp_path).memory(Job(mem_mb=7), "train", ("a", "2"), 3) == 7


def test_what_a_job_on_several_nodes_asks_for():
    job = TrainingJob(mem_mb=1, runtime=100, cores=4, gpus=8, nodes=2, partition="gpu")
    assert {name: value(job) for name, value in resources.RESUMING_RESOURCES.items()} == {
        "mem_mb": 1,
        "runtime": 100,
        "cpus_per_task": 4,
        "nodes": 2,
        "gres": "gpu:8",
        "tasks_per_gpu": 0,
        "mpi": "srun",
        "tasks": 2,
        "slurm_partition": "gpu",
        "slurm_account": None,
        "constraint": None,
        "gpu_jobs": 1,
        "slurm_extra": "--signal=TERM@300",
    }
    assert resources.termination_signal(10) == "--signal=TERM@60"  # a tenth of a short time
    plain = {name: value(Job(mem_mb=1)) for name, value in resources.RESOURCES.items()}
    assert {name: value for name, value in plain.items() if value is not None} == {"mem_mb": 1, "nodes": 1}


def test_largest_of_the_experiments_that_share_a_job(project):
    texts = ["a: {resources: {prepare: {mem_mb: 5}}}", "b: {resources: {prepare: {mem_mb: 9, partition: big}}}"]
    jobs = Jobs(project.load(f"run: [a]\nexperiments: {{{', '.join(texts)}}}\ncompare: {{both: [a, b]}}"))
    assert jobs.users("both") == ["a", "b"]
    assert jobs.users("a") == ["a"]
    assert set(jobs.users(None, "smollm2-135m-instruct")) >= {"a", "b", "quickstart"}
    assert jobs.largest(["a", "b"], "prepare").partition == "big"
    assert {"mem_mb", "nodes", "slurm_partition"} <= jobs.resources(resumes=False).keys()
    assert "gres" not in jobs.resources(resumes=False)
