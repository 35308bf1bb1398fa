"""Last words of a run: one message for each way in which jobs have failed."""

import os
import time

import pytest

from sami.workflow import slurm
from sami.workflow.failures import FailedJob, message, summary
from sami.workflow.resources import Escalation

NODES = [slurm.Nodes("batch", True, 120, 4, 8, 64000, 0)]
ERROR = "10:00:00 train: starts\n10:00:01 train: error: Lower it.\n    And more.\n"


@pytest.fixture
def log(tmp_path):
    """Function: writes the log of a stage; returns a failed job that has it."""

    def failed(text: str | None, name: str = "train-1", age: float = 0) -> FailedJob:
        path = tmp_path / f"{name}.log"
        if text is not None:
            path.write_text(text)
            os.utime(path, (time.time() - age,) * 2)
        return FailedJob("train", ("a", "1"), (str(path),))

    return failed


def test_same_error_of_several_jobs_is_told_once(log, tmp_path):
    jobs = [log(ERROR, "one", age=1), log("10:00:01 train: error: Other.\n", "two", age=3), log(ERROR, "three", age=2)]
    assert summary(jobs, 0, Escalation([], tmp_path)) == [
        f"{tmp_path}/two.log\ntrain: error: Other.",
        f"{tmp_path}/three.log, {tmp_path}/one.log\ntrain: error: Lower it.\n    And more.",
    ]


def test_job_that_was_killed_shows_the_last_line_of_its_log(log, tmp_path):
    told = message(log("10:00:00 train: step 3 of 9\n\n"), 0, Escalation([], tmp_path))
    assert told.startswith("train: error: it ended without an error of its own, as what is killed does")
    assert told.endswith("The last line of its log: 10:00:00 train: step 3 of 9")


def test_log_of_an_earlier_run_tells_nothing(log, tmp_path):
    told = message(log(ERROR, age=60), time.time() - 30, Escalation([], tmp_path))
    assert told == "train: error: its command has not begun its work; what it printed stands above."
    file = tmp_path / "rule_train/a_1/12.log"
    file.parent.mkdir(parents=True)
    file.write_text("srun: error: no node\n")
    assert message(log(None, "none"), 0, Escalation(NODES, tmp_path)).endswith(f"what it printed stands {file}.")


def test_limit_of_slurm_that_ended_a_job(log, tmp_path):
    file = tmp_path / "rule_train/a_1/12.log"
    file.parent.mkdir(parents=True)
    file.write_text("slurmstepd-n1: error: *** JOB 7 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***\n")
    told = message(log("10:00:00 train: step 3 of 9\n"), 0, Escalation(NODES, tmp_path))
    assert told == "train: error: Slurm ended it, since it took more than its 'runtime'. Raise that in 'resources'."
