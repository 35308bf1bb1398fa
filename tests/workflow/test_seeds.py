"""Experiments with several seeds: the runs that they stand for, what these share, and names that do not go together."""

import pytest
from configured import experiment, message

from sami.workflow.inputs import Inputs
from sami.workflow.preflight import check
from sami.workflow.sharing import owners
from sami.workflow.targets import need_verdicts, requested, requested_groups

RUNS = ["quickstart-seed-1", "quickstart-seed-5"]


def test_an_experiment_with_seeds_is_a_run_for_each(project):
    alone = project.load().experiments["quickstart"]
    loaded = project.load(experiment("seeds: [1, 5]"))
    assert loaded.seeds == {"quickstart": RUNS}
    assert loaded.run == RUNS
    assert [*loaded.experiments][:2] == RUNS
    assert "quickstart" not in loaded.experiments
    assert loaded.experiments[RUNS[0]] == alone  # without a trace of `seeds`
    assert loaded.experiments[RUNS[1]] == alone.model_copy(update={"seed": 5})
    check(loaded, loaded.run)


def test_without_seeds_nothing_is_joined(project):
    loaded = project.load()
    assert (loaded.seeds, loaded.groups, loaded.run) == ({}, {}, ["quickstart"])


def test_a_single_seed_and_seeds_of_the_defaults(project):
    assert project.load(experiment("seeds: [7]")).seeds == {"quickstart": ["quickstart-seed-7"]}
    text = "defaults: {seeds: [2, 3]}\nexperiments: {served: {seed: 4}, model-written: {seeds: null}}"
    loaded = project.load(text)
    assert {name: settings.seed for name, settings in loaded.experiments.items()} == {
        "quickstart-seed-2": 2, "quickstart-seed-3": 3, "served": 4, "model-written": 1,
    }  # fmt: skip


def test_seeds_on_the_command_line(project):
    loaded = project.load(experiment("seeds: [1, 5]"), "experiments={quickstart: {seeds: [3]}}")
    assert loaded.run == ["quickstart-seed-3"]
    assert project.load(experiment("seeds: [1, 5]"), "experiments={quickstart: {seeds: null}}").run == ["quickstart"]
    assert project.load("{}", "defaults={seeds: [1, 5]}", "run=[quickstart]").run == RUNS


def test_run_names_all_runs_or_one(project):
    assert project.load("run: [quickstart-seed-5]\n" + experiment("seeds: [1, 5]")).run == RUNS[1:]
    assert project.load("run: [served, quickstart-seed-5, quickstart]\n" + experiment("seeds: [1, 5]")).run == [
        "served", RUNS[1], RUNS[0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (experiment("seeds: [1, 5, 1]"), "mine.yaml, line 2: experiments.quickstart: 'seeds' names 1 twice, which "
         "would be one run; expected each once. Delete one"),
        (experiment("seeds: [1, -5]"), "mine.yaml, line 3: experiments.quickstart.seeds[1]: found -5"),
        (experiment("seeds: []"), "mine.yaml, line 3: experiments.quickstart.seeds: found an empty list"),
        (experiment("seeds: 3"), "mine.yaml, line 3: experiments.quickstart.seeds: found 3 (a whole number), expected "
         "a list"),
        (experiment("seeds: [1, 5]\n    seed: 3"), "mine.yaml, line 3: experiments.quickstart.seeds: found [1, 5] "
         "beside 'seed: 3' (mine.yaml, line 4: experiments.quickstart.seed), expected one of the two. Delete 'seed', "),
        (experiment("seeds: [1, 5]") + "  quickstart-seed-5: {}\n", "mine.yaml, line 4: experiments.quickstart-seed-5: "
         "found an experiment called 'quickstart-seed-5', which is the name of a run of 'quickstart'"),
        ("compare: {quickstart-seed-1: [served, model-written]}\n" + experiment("seeds: [1]"), "mine.yaml, line 1: "
         "compare.quickstart-seed-1: found a comparison called 'quickstart-seed-1', which is the name of a run of"),
        ("compare: {both: [served, quickstart]}\n" + experiment("seeds: [1, 5]"), "mine.yaml, line 1: compare.both[1]: "
         "found 'quickstart' with 'seeds: [1, 5]', expected None as in 'served': what is compared has the same seeds. "
         "Change one of them, or name single runs of both."),
        ("compare: {quickstart: [served, model-written]}\n" + experiment("seeds: [1]"), "an experiment is called "
         "'quickstart', too"),
        ("run: [quickstart-seed-2]\n" + experiment("seeds: [1, 5]"), "mine.yaml, line 1: run[0]: found "
         '"quickstart-seed-2" (text), expected one of the experiments: quickstart, model-written, served, '
         "quickstart-seed-1, quickstart-seed-5."),
        (experiment("seeds: [1, 5]\n    task: nope"), "mine.yaml, line 4: experiments.quickstart.task: found "),
        (experiment("seeds: [1]\n    external: {folder: x, policies: {iteration-0: a.json, x: b.json}}"), "'seeds' "
         "asks for a run with each seed, but nothing is drawn where responses are 'external'"),
    ],
)  # fmt: skip
def test_seeds_that_do_not_go(project, text, told):
    assert told in message(project.load, text)


def test_messages_about_a_run_name_the_experiment_with_its_seeds(project):
    loaded = project.load(experiment("seeds: [1, 5]\n    iterations: 2"))
    assert loaded.where("quickstart-seed-5", "iterations") == "mine.yaml, line 4: experiments.quickstart.iterations"


def test_runs_are_compared_by_their_names(project):
    loaded = project.load("compare: {both: [quickstart-seed-1, quickstart-seed-5]}\n" + experiment("seeds: [1, 5]"))
    assert loaded.groups == {"both": RUNS, "quickstart": RUNS}
    assert loaded.method_comparisons == {}


def test_experiments_of_the_same_seeds_are_compared_over_these(project):
    asked = "{seeds: [1, 5], evaluation: {constitution: left-out}}"
    loaded = project.load(f"compare: {{methods: [a, b]}}\nrun: [a]\nexperiments: {{a: {{seeds: [1, 5]}}, b: {asked}}}")
    assert loaded.method_comparisons == {"methods": ["a", "b"]}
    assert loaded.groups["methods"] == ["a-seed-1", "a-seed-5", "b-seed-1", "b-seed-5"]
    inputs = Inputs(loaded)
    assert inputs.compared_questions("methods") == ["steerability", "internalising"]
    assert inputs.compared_seeds("methods") == [1, 5]


def test_runs_of_one_seed_share_what_nobody_trains_and_runs_of_others_do_not(project):
    text = "run: [a, b]\nexperiments: {a: {seeds: [1, 5]}, b: {seeds: [5, 1], training: {epochs: 2}}}"
    found = owners(project.load(text))
    files = [f"iteration-0/eval/{name}.jsonl" for name in ("responses", "scores", "relevance")]
    files += ["iteration-1/responses.jsonl", "iteration-1/sampling.json"]  # which the base model draws
    expected = {"b-seed-5": dict.fromkeys(files, "a-seed-5"), "b-seed-1": dict.fromkeys(files, "a-seed-1")}
    assert {name: of for name, of in found.items() if name != "quickstart"} == expected


@pytest.mark.parametrize(
    ("targets", "experiments", "groups"),
    [
        ([], RUNS, ["quickstart"]),
        (["figures"], RUNS, ["quickstart"]),
        (["quickstart"], RUNS, ["quickstart"]),
        (["plan", "quickstart"], RUNS, ["quickstart"]),
        (["results/quickstart/tables/joined.csv"], RUNS, ["quickstart"]),
        (["quickstart-seed-5"], RUNS[1:], []),
        (["results/quickstart-seed-1/report.html", "served"], [RUNS[0], "served"], []),
    ],
)
def test_targets_are_about_all_runs_or_one(project, targets, experiments, groups):
    loaded = project.load(experiment("seeds: [1, 5]"))
    assert requested(loaded, targets) == experiments
    assert requested_groups(loaded, targets) == groups


def test_joined_results_need_verdicts(project):
    loaded = project.load(experiment("seeds: [1, 5]"))
    assert need_verdicts(
        loaded, ["results/quickstart-seed-1/iteration-1/model", "results/quickstart/tables/joined.csv"]
    )
    assert not need_verdicts(loaded, ["results/quickstart-seed-1/iteration-1/model"])
