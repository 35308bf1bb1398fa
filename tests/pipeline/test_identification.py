"""A judge by identification in the workflow: another tiny model, which reads in the prompts of a task of its own."""

import pandas as pd
import pytest
import yaml
from conftest import make_tiny_llama
from workflow_project import TINY, Project

from sami.records import Recognised, Verdict, read


def with_judge(**evaluation) -> dict:
    defaults = TINY["defaults"]
    own = {**defaults["evaluation"], "judges": ["checks", "reader", "both"], **evaluation}
    mine = {"model": "tiny", "iterations": 1, "queries": {"train": 4}}
    return TINY | {"defaults": {**defaults, "evaluation": own}, "experiments": {"quickstart": mine}}


def add_reader(project: Project, folder) -> None:
    """Another model without a chat template, a task with plain prompts, and the judges that use them."""
    reader = make_tiny_llama(folder, seed=7)
    (reader / "chat_template.jinja").unlink()
    with (project.folder / "config/models.yaml").open("a") as file:
        yaml.safe_dump({"other": {"source": "path", "path": str(reader)}}, file)
    task = yaml.safe_load((project.folder / "config/tasks/everyday.yaml").read_text())
    task["prompts"] = {"style": "plain", "generation": "{constitution} {query} ", "training": "{constitution} {query} "}
    project.write("config/tasks/plain.yaml", task)
    project.write("config/judges/reader.yaml", {"kind": "identification", "model": "other", "task": "plain"})
    project.write("config/judges/both.yaml", {"kind": "panel", "members": ["checks", "reader"]})


@pytest.fixture(scope="module")
def judged(tmp_path_factory, tiny_source) -> Project:
    project = Project(tmp_path_factory.mktemp("identified"), tiny_source, with_judge())
    add_reader(project, tmp_path_factory.mktemp("reader"))
    project.run()
    return project


def test_verdicts_and_table(judged):
    folder = judged.folder / "results/quickstart"
    margins = {}
    for policy in ("iteration-0", "iteration-1"):
        told = read(Recognised, folder / policy / "eval/recognised-reader.jsonl")
        assert {record.scorer for record in told} == {"other"}
        margins |= {record.place: record.margin for record in told}
    verdicts = read(Verdict, folder / "iteration-1/eval/verdicts-reader-vs-base.jsonl")
    assert len(verdicts) == 8
    for verdict in verdicts:
        place = verdict.query_id, verdict.set_id, verdict.number
        first, second = (margins[(*place, policy)] for policy in (verdict.policy, verdict.comparator))
        if None not in (first, second) and first != second:
            assert verdict.choice == ("first" if first > second else "second")
    table = pd.read_csv(folder / "identification/tables/identification.csv")
    assert list(table["policy"]) == ["iteration-0", "iteration-1"]
    assert set(table["judge"]) == {"reader"}
    assert table["recognised"].between(0, 1).all()
    assert "Identification <span" in (folder / "report.html").read_text()
    rates = pd.read_csv(folder / "tables/win_rates.csv")
    assert {"checks", "reader", "both"} <= set(rates["judge"])
    assert judged.planned() == set()


def test_the_reader_reads_in_its_own_prompts(judged):
    printed = judged.run("--dry-run", "--printshellcmds", "--forcerun", "score_identification")
    commands = [line for line in printed.splitlines() if "sami.stages.score_identification" in line]
    assert len(commands) == 2
    assert all('"style":"plain"' in command and "--scorer other" in command for command in commands)


def test_it_must_be_another_model(judged):
    judged.write("config/judges/self.yaml", {"kind": "identification", "model": "tiny"})
    judged.overrides = judged.write("self.yaml", with_judge(judges=["self"]))
    printed = judged.run("--dry-run", expect=1)
    assert "config/judges/self.yaml: model: found 'tiny', which is a policy of 'quickstart' itself" in printed
    judged.write("config/judges/self.yaml", {"kind": "identification", "model": "other", "task": "nowhere"})
    assert 'self.yaml: task: found "nowhere"' in judged.run("--dry-run", expect=1)
    judged.write("config/judges/self.yaml", {"kind": "identification", "model": "other"})
    judged.run("--dry-run")  # in the experiment's task, whose chat that model turns out to lack when it is prepared


def test_a_reward_cannot_ask_it(judged):
    judged.write("config/rewards/asked.yaml", {"kind": "judge", "judge": "reader"})
    overrides = with_judge(judges=["checks"])
    best = {"policy": "base", "best_of": {"responses": 2, "reward": "asked"}}
    overrides["experiments"]["quickstart"]["evaluation"] = {"policies": {"best": best}}
    judged.overrides = judged.write("rewarded.yaml", overrides)
    assert "found 'reader', a judge by identification, which reads the responses of whole" in judged.run("-n", expect=1)


def test_the_plan_has_its_jobs(judged):
    judged.overrides = judged.write("again.yaml", with_judge())
    judged.run("plan")
    rows = pd.read_csv(judged.folder / "results/plan.csv")
    told = rows[rows["stage"] == "score_identification"]
    assert len(told) == 2
    assert set(told["jobs"]) == {1}
