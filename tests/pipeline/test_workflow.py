"""The whole workflow on a tiny model: what a change replans, what a kill leaves behind, what bad input says."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml
from conftest import make_tiny_llama
from judge_server import judge_server
from judged import JUDGE
from workflow_project import TINY, Project

from sami.settings.yaml_files import merge

ITERATION = ("sample_responses", "build_sami_examples", "train")
AFTER_POLICY = {"sample_evaluation", "score_responses", "score_relevance", "judge_responses"}
AT_THE_END = {("tabulate", ""), ("plot_figures", ""), ("build_report", ""), ("all", "")}


@pytest.fixture(scope="module")
def finished(tiny_source, tmp_path_factory):
    """A project whose quickstart has run to its end."""
    project = Project(tmp_path_factory.mktemp("workflow"), tiny_source)
    project.printed = project.run()
    return project


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished project that a test may change. Time stamps are kept."""
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    project = object.__new__(Project)
    project.folder, project.overrides = tmp_path / "copy", finished.overrides
    return project


def change(project, *keys, to):
    content = yaml.safe_load((project.folder / project.overrides).read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = to
    project.write(project.overrides, content)


def test_whole_run(finished):
    folder = finished.folder / "results/quickstart"
    lines = (folder / "tables/summary.csv").read_text().splitlines()
    assert lines[0] == (
        "iteration,bound_nats,bound_low,bound_high,row_accuracy,column_accuracy,win_rate,win_low,win_high,"
        "response_tokens,degenerate_share,n_queries,policy,lc_win_rate,"
        "relevant_win_rate,relevant_win_rate_low,relevant_win_rate_high,identified,identified_low,identified_high,"
        "margin,margin_low,margin_high,log_probability,log_probability_low,log_probability_high,echo,echo_low,echo_high,"
        "split"
    )
    assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2", "3"]
    for t in (1, 2, 3):
        assert (folder / f"iteration-{t}/model/model.safetensors").stat().st_size > 0
        assert (folder / f"iteration-{t}/model/provenance.json").exists()
        assert any((folder / f"tensorboard/iteration-{t}").iterdir())
    assert (folder / "report.html").stat().st_size > 10_000
    assert not list(folder.rglob("*.partial"))
    for output in folder.rglob("*.jsonl"):
        assert output.with_name(output.name + ".provenance.json").exists(), output
    assert all(len((folder / f"iteration-{t}/eval/relevance.jsonl").read_text().splitlines()) == 8 for t in range(4))
    assert "if identified" in finished.printed


def test_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.run()


def test_iterations_use_fresh_queries(finished):
    folder = finished.folder / "results/quickstart"
    held_out = {json.loads(line)["id"] for line in (folder / "queries/eval.jsonl").open()}
    train = [json.loads(line)["id"] for line in (folder / "queries/train.jsonl").open()]
    assert len(set(train)) == len(train)
    assert not held_out & set(train)
    for t in (1, 2, 3):
        used = {json.loads(line)["query_id"] for line in (folder / f"iteration-{t}/responses.jsonl").open()}
        assert used <= set(train[4 * (t - 1) : 4 * t])


def test_forced_training_of_iteration_2(finished):
    planned = finished.planned("--forcerun", "results/quickstart/iteration-2/model")
    expected = {("train", "2"), *((rule, "3") for rule in ITERATION), *AT_THE_END}
    expected |= {(rule, t) for rule in AFTER_POLICY for t in "23"}
    assert planned == expected


def test_changed_judge_replans_judging_and_figures_only(copy):
    judge = copy.folder / "config/judges/checks.yaml"
    judge.write_text(judge.read_text().replace("tie_margin: 0.0", "tie_margin: 0.1"))
    assert copy.planned() == {("judge_responses", t) for t in "123"} | AT_THE_END


def test_changed_filters_sample_nothing_again_before_a_policy_is_another(copy):
    task = copy.folder / "config/tasks/everyday.yaml"
    task.write_text(task.read_text().replace("forbidden: []", "forbidden: ['[insert']"))
    planned = copy.planned()
    assert {("build_sami_examples", "1"), ("train", "1")} <= planned
    assert not {("sample_responses", "1"), ("sample_evaluation", "0"), ("score_responses", "0")} & planned


def test_one_more_iteration_keeps_the_others(copy):
    change(copy, "experiments", "quickstart", "iterations", to=4)
    new = {(rule, "4") for rule in (*ITERATION, *AFTER_POLICY)}
    assert copy.planned() == new | AT_THE_END


def test_a_test_evaluates_the_same_policies_on_other_queries(copy):
    folder = copy.folder / "results/quickstart"
    weights = {path: path.stat().st_mtime_ns for path in folder.glob("iteration-*/model/*")}
    change(copy, "experiments", "quickstart", "queries", to={"train": 4, "test": 3})
    printed = copy.run()
    assert {path: path.stat().st_mtime_ns for path in folder.glob("iteration-*/model/*")} == weights
    test = [json.loads(line)["id"] for line in (copy.folder / "config/queries/everyday-test.jsonl").open()]
    for t in (0, 1, 2, 3):
        answered = [json.loads(line)["query_id"] for line in (folder / f"iteration-{t}/eval/responses.jsonl").open()]
        assert answered == test[:3]
    with (folder / "tables/summary.csv").open() as file:
        assert [(row["n_queries"], row["split"]) for row in csv.DictReader(file)] == [("3", "test")] * 4
    assert "3 test" in printed
    assert ">3 test<" in (folder / "report.html").read_text()
    assert "Nothing to be done" in copy.run()


def test_one_iteration_alone(finished, tmp_path, tiny_source):
    project = Project(tmp_path / "fresh", tiny_source)
    planned = project.planned("results/quickstart/iteration-1/model")
    assert ("train", "1") in planned
    assert not {("train", "2"), ("sample_responses", "2"), ("tabulate", "")} & planned


@pytest.mark.parametrize(
    ("rule", "victim"), [("sample_responses", "workflow"), ("train", "stage"), ("score_responses", "workflow")]
)
def test_killed_run_ends_with_the_same_results(finished, copy, rule, victim):
    """SIGKILL of the stage, or of the workflow with all its processes, in the middle of a job of iteration 2."""
    project, target = copy, "results/quickstart/iteration-2/eval/scores.jsonl"
    for t in (2, 3):
        shutil.rmtree(project.folder / f"results/quickstart/iteration-{t}")
    running = subprocess.Popen(
        cold(project.command(target)), cwd=project.folder, env=project.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stage = wait_for(f"sami.stages.{rule} .*iteration-2", running, project.folder)
    if victim == "stage":
        os.kill(stage, signal.SIGKILL)
    else:
        os.killpg(running.pid, signal.SIGKILL)  # leaves a stale lock behind
    assert running.wait() != 0
    project.run("--rerun-incomplete", target)
    expected = finished.results()
    for name, content in project.results().items():
        assert content == expected[name], name
    assert not list((project.folder / "results").rglob("*.partial"))


def test_terminated_training_is_tried_again(finished, copy):
    """SIGTERM, as from a cluster that wants its machine back; Snakemake's retries go on where the stage was."""
    target = "results/quickstart/iteration-3/model"
    shutil.rmtree(copy.folder / "results/quickstart/iteration-3")
    running = subprocess.Popen(
        cold(copy.command(target, "--retries", "1")), cwd=copy.folder, env=copy.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    os.kill(wait_for("sami.stages.train .*iteration-3", running, copy.folder), signal.SIGTERM)
    printed, _ = running.communicate()
    assert running.returncode == 0, printed
    assert "Trying to restart job" in printed
    weights = "results/quickstart/iteration-3/model/model.safetensors"
    assert (copy.folder / weights).read_bytes() == (finished.folder / weights).read_bytes()


def test_engine_makes_nothing_out_of_date_and_trains_in_two_processes(finished, copy):
    engine = {"processes": 2, "tokens_per_pass": 100, "tokens_per_job": 24}
    copy.overrides = copy.write("two.yaml", {**TINY, "defaults": {**TINY["defaults"], "engine": engine}})
    assert copy.planned() == set()
    folder = "results/quickstart/iteration-3"
    shutil.rmtree(copy.folder / folder / "model")
    copy.run(f"{folder}/model")
    assert "on 2 process(es)" in (copy.folder / "results/quickstart/logs/train-3.log").read_text()
    mine, theirs = (
        [json.loads(line)["loss"] for line in (project.folder / folder / "training.jsonl").open()]
        for project in (copy, finished)
    )
    assert mine == pytest.approx(theirs, abs=1e-5)


def test_sampling_in_several_jobs_goes_on_with_the_missing_shards(finished, copy):
    change(copy, "defaults", "engine", "tokens_per_job", to=48)
    folders = ["results/quickstart/iteration-1", "results/quickstart/iteration-0/eval"]
    for folder in folders:
        for pattern in ("responses*", "sampling*"):
            for path in (copy.folder / folder).glob(pattern):
                path.unlink()
    copy.run(f"{folders[0]}/responses/shard-2-of-2.jsonl")
    targets = [f"{folder}/responses.jsonl" for folder in folders]
    planned = copy.run("--dry-run", *targets)
    assert re.search(r"^sample_responses_shard +1$", planned, re.MULTILINE)
    assert re.search(r"^sample_evaluation_shard +2$", planned, re.MULTILINE)
    copy.run(*targets)
    for folder in folders:
        for name in ("responses.jsonl", "sampling.json"):
            assert (copy.folder / folder / name).read_bytes() == (finished.folder / folder / name).read_bytes()
        record = json.loads((copy.folder / folder / "responses.jsonl.provenance.json").read_text())
        assert list(record["inputs"]["shards"]) == [f"{folder}/responses/shard-*-of-2.jsonl"]
        assert not (copy.folder / folder / "responses").exists()
    for tokens in (24, None):
        change(copy, "defaults", "engine", "tokens_per_job", to=tokens)
        assert copy.planned(*targets) == set()
    # A file of another size is drawn anew, in as many jobs as its tokens take now.
    change(copy, "defaults", "engine", "tokens_per_job", to=16)
    change(copy, "defaults", "evaluation", "sampling", "max_new_tokens", to=6)
    assert re.search(r"^sample_evaluation_shard +3$", copy.run("--dry-run", targets[1]), re.MULTILINE)


def cold(command: list[str]) -> list[str]:
    """The command with stages that start as users' do, and so take long enough to be met in the middle."""
    return [sys.executable, *command[1:]]


def wait_for(pattern, running, folder) -> int:
    """Process id of the first stage whose command matches and that runs in a folder."""
    while running.poll() is None:
        for pid in subprocess.run(["pgrep", "-f", pattern], capture_output=True, text=True).stdout.split():
            try:
                if os.readlink(f"/proc/{pid}/cwd") == str(folder):
                    time.sleep(2)  # well inside the job
                    return int(pid)
            except OSError:
                continue
        time.sleep(0.02)
    raise AssertionError("the run ended before the stage was seen")


def bad(tiny_source, tmp_path, expect=1, overrides=TINY, run=()):
    project = Project(tmp_path / "bad", tiny_source, overrides)
    printed = project.run(*run, expect=expect)
    return printed


def test_unknown_key_is_one_clear_error_before_anything_runs(tiny_source, tmp_path):
    overrides = {**TINY, "defaults": {**TINY["defaults"], "iteratoins": 2}}
    printed = bad(tiny_source, tmp_path, overrides=overrides)
    assert "tiny.yaml" in printed
    assert "iteratoins" in printed
    assert "'iterations'" in printed
    assert not (tmp_path / "bad/results").exists()


def last_words(printed: str) -> str:
    """The last line on the screen, where stands what people read."""
    return printed.rstrip().splitlines()[-1]


def test_the_message_stands_last_at_a_start(tiny_source, tmp_path):
    project = Project(tmp_path / "bad", tiny_source)
    printed = project.run("--dry-run", "--forcerun", "results/quickstart/iteration-9/model", expect=1)
    told = "results/quickstart/iteration-9/model: found 'iteration-9' in results/quickstart, expected one of: "
    assert last_words(printed).startswith(
        "sami: error: " + told + "constitutions.jsonl, figures, iteration-0, iteration-1, iteration-2, "
    )
    assert "('iterations' is 3: tiny.yaml, line " in last_words(printed)
    assert "Error in" not in printed
    told = last_words(project.run("--dry-run", "train", expect=1))
    assert told.endswith("Ask for one of them: results/{experiment}/iteration-{iteration}/model.")
    models = project.folder / "config/models.yaml"
    models.write_text(models.read_text().replace(str(tiny_source), "nowhere"))
    for options in (["--dry-run"], []):
        told = last_words(project.run(*options, expect=1))
        assert told.startswith('sami: error: config/models.yaml: tiny.path: found "nowhere" (text)')
    assert not (project.folder / "results").exists()


def test_the_messages_of_failed_jobs_stand_last(tiny_source, tmp_path):
    """Two stages fail in one run; then one ends without a word."""
    names = ["one", "two"]
    overrides = merge(TINY, {"run": names, "experiments": {name: {"task": name} for name in names}})
    project = Project(tmp_path / "bad", tiny_source, overrides)
    task = yaml.safe_load((project.folder / "config/tasks/everyday.yaml").read_text())
    for name in names:
        project.write(f"{name}.parquet", {"this is": "no Parquet"})  # read by no check at the start
        project.write(f"config/tasks/{name}.yaml", merge(task, {"train": {"path": f"{name}.parquet"}}))
    targets = [f"results/{name}/queries/train.jsonl" for name in names]
    lines = project.run("--keep-going", *targets, expect=1).rstrip().splitlines()[-5:]
    logs = [f"results/{name}/logs/build_queries.log" for name in names]
    assert lines[2] == ""
    assert {lines[0], lines[3]} == set(logs)
    for log, told in (lines[0:2], lines[3:5]):
        assert told.startswith("build_queries: error: ")
        assert f"{log.split('/')[1]}.parquet" in told
        assert told in (project.folder / log).read_text()
    stage = project.folder / "src/sami/stages/build_queries.py"
    stage.write_text(
        stage.read_text().replace("def main(arguments) -> None:\n", f"{'def main(arguments):'}\n    exit(9)\n")
    )
    told = last_words(project.run(targets[0], expect=1))
    assert told.startswith("build_queries: error: it ended without an error of its own")


def test_prompt_longer_than_context(tmp_path):
    source = make_tiny_llama(tmp_path / "short", context=40)
    printed = bad(source, tmp_path)
    assert "query 'everyday-" in printed
    assert "more than the model's context of 40" in printed


def test_tokenizer_without_end_token(tmp_path):
    source = make_tiny_llama(tmp_path / "endless", end_token=False)
    printed = bad(source, tmp_path)
    assert "the tokenizer has no end token" in printed
    assert not (tmp_path / "bad/resources/models/tiny").exists()


def test_no_response_is_left(tiny_source, tmp_path):
    project = Project(tmp_path / "bad", tiny_source)
    task = project.folder / "config/tasks/everyday.yaml"
    marks = [chr(c) for c in range(33, 127)]
    task.write_text(task.read_text().replace("stop: []", f"stop: {json.dumps(marks)}"))
    printed = project.run(expect=1)
    assert "iteration-0: none of 4 examples is left after clean-up and filters" in printed
    assert not (tmp_path / "bad/results/quickstart/iteration-1/examples.jsonl").exists()


def test_diverging_training_leaves_the_last_good_state(tiny_source, tmp_path):
    defaults = {**TINY["defaults"], "training": {**TINY["defaults"]["training"], "learning_rate": 1e12}}
    printed = bad(tiny_source, tmp_path, overrides={**TINY, "defaults": defaults})
    assert "training stopped at step 2 of 2" in printed
    assert "Lower training.learning_rate" in printed
    folder = tmp_path / "bad/results/quickstart/iteration-1"
    assert not (folder / "model").exists()
    assert (folder / "model.last-good/model.safetensors").exists()


def test_results_of_another_configuration_version(copy):
    (copy.folder / "results/.format-version").write_text("0\n")
    assert "results" in copy.run("--dry-run", expect=1)


def test_smollm2_on_four_queries_with_principles_of_its_own(tmp_path):
    """The real model from its wheel through the whole workflow, as principle writer too."""
    overrides = {
        "defaults": {**TINY["defaults"], "model": "smollm2-135m-instruct"},
        "experiments": {"model-written": {"queries": {"train": 4, "eval": 4}}},
    }
    few = {"principles": "few", "candidates": 1, "keep": 1, "screen_queries": 2, "most_overlap": 1.0}
    overrides["experiments"]["model-written"]["constitutions"] = few
    overrides["defaults"]["training"] = {"queries_per_step": 2, "learning_rate": 5e-6}
    project = Project(tmp_path / "real", tmp_path, overrides)
    behaviours = yaml.safe_load((project.folder / "config/constitutions/everyday-behaviours.yaml").read_text())[
        "behaviours"
    ]
    kept = [behaviour for behaviour in behaviours if behaviour["id"] in ("poem", "simple")]
    (project.folder / "config/constitutions/few.yaml").write_text(yaml.safe_dump({"behaviours": kept}))
    project.run("model-written")
    folder = project.folder / "results/model-written"
    principles = [json.loads(line) for line in (folder / "principles.jsonl").open()]
    assert {p["writer"] for p in principles} == {"smollm2"}
    assert all(p["raw"] and p["text"] != p["opposite"] for p in principles)
    rows = (folder / "tables/summary.csv").read_text().splitlines()
    assert len(rows) == 3
    assert 0 < float(rows[1].split(",")[1]) < 0.7  # the base model hears its principles, at least a little
    steps = [json.loads(line) for line in (folder / "iteration-1/training.jsonl").open()]
    assert [s["queries"] for s in steps] == [2, 2]
    assert not (project.folder / "results/quickstart").exists()


def test_too_long_query_of_a_later_iteration_is_found_at_once(tmp_path):
    """A training query that only a later iteration may use stops the first one, before anything is sampled."""
    source = make_tiny_llama(tmp_path / "model")
    project = Project(tmp_path / "bad", source)
    path = project.folder / "config/queries/everyday-train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    order = project.run("results/quickstart/queries/train.jsonl") and [
        json.loads(line)["id"] for line in (project.folder / "results/quickstart/queries/train.jsonl").open()
    ]
    for row in rows:
        if row["id"] == order[11]:  # the last query of iteration 3
            row["text"] = " ".join(["endless"] * 200)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    printed = project.run("results/quickstart/iteration-1/responses.jsonl", expect=1)
    assert f"query '{order[11]}': its prompt has" in printed
    assert not (project.folder / "results/quickstart/iteration-1/responses.jsonl").exists()


def test_experiments_are_compared(copy):
    """A second experiment, whose results are the first one's, so that there is nothing to train."""
    change(copy, "experiments", "again", to={})
    change(copy, "compare", to={"both": ["quickstart", "again"], "small": ["quickstart", "model-written"]})
    shutil.copytree(copy.folder / "results/quickstart", copy.folder / "results/again")
    comparison = {("compare_experiments", ""), ("plot_comparison", "")}
    assert copy.planned("both") == comparison | {("both", "")}
    assert copy.planned("figures") == set()  # not all of its experiments are in `run`
    change(copy, "run", to=["quickstart", "again"])
    assert copy.planned("figures") == comparison | {("figures", "")}
    copy.run()  # all, with the comparison
    files = {str(path.relative_to(copy.folder)) for path in (copy.folder / "results/both").rglob("comparison.*")}
    assert files >= {f"results/both/tables/comparison.{kind}" for kind in ("csv", "md", "tex")}
    assert files >= {f"results/both/figures/comparison.{kind}" for kind in ("pdf", "png")}
    with (copy.folder / "results/both/tables/comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["experiment"], row["policy"]) for row in rows] == [(e, "iteration-3") for e in ("quickstart", "again")]
    assert [(row["difference"], row["p"]) for row in rows] == [("", ""), ("0.0000", "1")]
    assert copy.planned("figures") == set()


def test_a_rules_name_is_no_target_of_ones_own(copy):
    change(copy, "compare", to={"figures": ["quickstart", "served"]})
    assert "compare.figures: found the name 'figures', which a rule" in copy.run("--dry-run", expect=1)


def test_judge_behind_an_endpoint(finished, copy, tmp_path):
    """Another judge judges what is there; how it may be asked replans nothing, and the key is needed before the run."""
    judge = {**JUDGE, "orders": "random", "limits": {"concurrency": 4, "price": {"input": 1.0, "output": 2.0}}}
    with judge_server(tmp_path / "log") as url:
        (copy.folder / "config/judges/longer.yaml").write_text(yaml.safe_dump({**judge, "base_url": url}))
        change(copy, "defaults", "evaluation", "judges", to=["checks", "longer"])
        change(copy, "defaults", "evaluation", "comparators", to=["base", "iteration-1"])
        expected = {("judge_responses", t) for t in "0123"} | AT_THE_END
        assert copy.planned() == expected
        copy.run()
    with (copy.folder / "results/quickstart/tables/win_rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [(row["policy"], row["comparator"], row["judge"]) for row in rows]
    assert len(names) == len(set(names)) == 12
    assert ("iteration-3", "iteration-1", "longer") in names
    assert ("iteration-0", "iteration-1", "checks") in names
    assert all((float(row["cost"] or 0) > 0) == (row["judge"] == "longer") for row in rows)
    judge["limits"] = {"concurrency": 2, "price": {"input": 3.0, "output": 3.0}, "max_cost": 9.0}
    (copy.folder / "config/judges/longer.yaml").write_text(yaml.safe_dump({**judge, "base_url": url}))
    assert copy.planned() == set()
    # The server is gone, but its answers are kept: the same questions need none.
    verdicts = "results/quickstart/iteration-2/eval/verdicts-longer-vs-iteration-1.jsonl"
    before = (copy.folder / verdicts).read_bytes()
    copy.run(verdicts, "--forcerun", verdicts)
    assert (copy.folder / verdicts).read_bytes() == before


def test_plan_beside_what_it_was(copy):
    """The very command of the documentation, without --cores, in a project whose quickstart has run."""
    command = [sys.executable, "-m", "snakemake", "plan", f"--configfile={copy.overrides}"]
    done = subprocess.run(command, cwd=copy.folder, env=copy.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "In brackets: what it was." in done.stdout
    rows = {
        (row["stage"], row["of"]): row
        for row in csv.DictReader((copy.folder / "results/plan.csv").read_text().splitlines())
    }
    assert all(row["real_jobs"] == row["jobs"] for row in rows.values())
    folder = copy.folder / "results/quickstart"
    steps = [json.loads(line) for line in (folder / "iteration-2/training.jsonl").open()]
    train = rows["train", "iteration-2"]
    assert float(train["real_prompt_tokens"]) == sum(step["tokens"] for step in steps)
    # Each line of a prompt is rounded up, the tokenizer of the tiny model is no good one, and a filter drops examples.
    assert 0.3 < float(train["real_prompt_tokens"]) / float(train["prompt_tokens"]) < 3
    assert float(train["real_seconds"]) >= sum(step["seconds"] for step in steps)
    model = sum(file.stat().st_size for file in (folder / "iteration-2/model").iterdir())
    assert float(train["real_disk"]) == pytest.approx(model, rel=1e-5)
    examples = [json.loads(line) for line in (folder / "iteration-3/eval/responses.jsonl").open()]
    tokens = sum(response["tokens"] for example in examples for response in example["responses"])
    assert float(rows["sample_evaluation", "iteration-3"]["real_new_tokens"]) == tokens
    # Weights, gradients and all that is around them: a process is never smaller than what the libraries take.
    assert float(train["real_memory"]) > 200 * 2**20


def test_plan_counts_every_job_and_runs_none(tiny_source, tmp_path):
    overrides = merge(
        TINY,
        {
            "defaults": {
                "constitutions": {"held_out": "held"},
                "engine": {"tokens_per_job": 48},
                "evaluation": {
                    "judges": ["checks", "panel"],
                    "policies": {"other": "smollm2-135m-instruct"},
                    "comparators": ["base", "other"],
                },
            }
        },
    )
    project = Project(tmp_path / "fresh", tiny_source, overrides)
    principles = yaml.safe_load((project.folder / "config/constitutions/everyday.yaml").read_text())["pairs"]
    held = [{**pair, "id": f"held-{pair['id']}"} for pair in principles[:2]]
    for number, pair in enumerate(held):
        for side in ("principle", "opposite"):
            pair[side] = {**pair[side], "text": f"{number}. {pair[side]['text']}"}
    project.write("config/constitutions/held.yaml", {"pairs": held})
    dry = project.run("--dry-run")
    jobs = int(re.search(r"^total +(\d+)$", dry, re.MULTILINE)[1]) - 1  # without the target `all`
    printed = project.run("plan", "quickstart")
    rows = list(csv.DictReader((project.folder / "results/plan.csv").read_text().splitlines()))
    assert sum(int(row["jobs"]) for row in rows) == jobs
    assert not (project.folder / "results/quickstart").exists()
    assert "## quickstart" in printed
    refused = project.run("plan", "results/quickstart/queries/eval.jsonl", expect=1)
    assert "found the target 'results/quickstart/queries/eval.jsonl' beside 'plan'" in refused


def test_what_cannot_fit_is_planned_but_does_not_run(tiny_source, tmp_path):
    big = {"experiments": {"quickstart": {"model": "mistral-7b", "resources": {"all": {"hardware": "laptop-2-cores"}}}}}
    project = Project(tmp_path / "fresh", tiny_source, merge(TINY, big))
    refusal = "resources.all.hardware: sample_responses of iteration-1 needs"
    printed = project.run("plan", expect=1)
    assert "DOES NOT FIT" in printed
    assert refusal in printed
    printed = project.run(expect=1)
    assert refusal in printed
    assert "Job stats" not in printed
