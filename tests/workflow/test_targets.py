"""Paths that nothing makes: the message names what there is and what may be meant."""

import pytest

from sami.errors import UserError
from sami.workflow.targets import (
    check_alone,
    check_name,
    check_path,
    need_verdicts,
    requested,
    requested_groups,
)

FOLDER = "results/quickstart"
FILES = [
    "resources/models/tiny",
    f"{FOLDER}/queries/train.jsonl",
    f"{FOLDER}/iteration-0/eval/responses.jsonl",
    f"{FOLDER}/iteration-1/model",
    f"{FOLDER}/iteration-1/eval/responses.jsonl",
    f"{FOLDER}/iteration-1/eval/verdicts-checks-vs-base.jsonl",
    f"{FOLDER}/report.html",
]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("results/quikstart/report.html", f"'quikstart' in results, expected one of: other, quickstart. Did you mean "
         f"'{FOLDER}/report.html'?"),
        (f"{FOLDER}/iteration-9/model", "in results/quickstart, expected one of: iteration-0, iteration-1, queries, "
         "report.html ('iterations' is 1). Did you mean 'results/quickstart/iteration-1/model'?"),
        (f"{FOLDER}/iteration-0/model", "found 'model' in results/quickstart/iteration-0, expected one of: eval."),
        (f"{FOLDER}/instruct/eval/responses.jsonl", "found 'instruct' in results/quickstart, expected one of: "),
        (f"{FOLDER}/iteration-1/eval/verdicts-chcks-vs-base.jsonl", f"mean '{FILES[-2]}'?"),
        (f"{FOLDER}/iteration-1/eval", f"several results. Ask for one of them: {FILES[-3]}, {FILES[-2]}."),
        (FOLDER, "a folder of several results. Ask for one of them: "),
        ("results/other", "Ask for a file in it, or for 'other', which is all of them."),
        ("results", "a folder of several results."),
        (f"{FOLDER}/report.html/x", f"inside {FOLDER}/report.html, which is one result. Ask for {FOLDER}/report.html."),
        ("resources/models/tinny", "Did you mean 'resources/models/tiny'?"),
        ("reslts/x", "found 'reslts' in this folder, expected one of: resources, results. Did you mean 'results/x'?"),
        ("/tmp/x", "found '/' in this folder, expected one of: resources, results."),
    ],
)  # fmt: skip
def test_path_that_nothing_makes(target, told):
    with pytest.raises(UserError) as caught:
        check_path(target, FILES, [FOLDER, "results/other"], "'iterations' is 1")
    assert str(caught.value).startswith(f"{target}: ")
    assert told in str(caught.value)


def test_paths_and_names_that_there_are():
    for path in FILES:
        check_path(path, FILES)
    check_name("quickstart", ["all", "quickstart"], "results")
    check_name("train", ["all"], "results", others=["train"])


def test_unknown_name():
    names = ["all", "quickstart", *(f"paper-{number}" for number in range(20))]
    with pytest.raises(UserError, match=r"^quikstart: .*paper-9 and 10 more; or .* in out. Did you mean 'quickstart'"):
        check_name("quikstart", names, "out")


@pytest.fixture
def three(project):
    return project.load("run: [a]\nexperiments: {a: {}, b: {}, c: {}}\ncompare: {both: [a, b]}")


@pytest.mark.parametrize(
    ("targets", "experiments", "comparisons"),
    [
        ([], ["a"], []),
        (["figures"], ["a"], []),
        (["c", "results/b/report.html"], ["b", "c"], []),
        (["both"], ["a", "b"], ["both"]),
        (["results/both/figures/comparison.pdf", "c"], ["a", "b", "c"], ["both"]),
        (["plan", "b"], ["b"], []),
    ],
)
def test_experiments_that_targets_are_about(three, targets, experiments, comparisons):
    assert requested(three, targets) == experiments
    assert requested_groups(three, targets) == comparisons


def test_verdicts_are_needed_but_for_paths_of_what_comes_before_them(three):
    assert need_verdicts(three, ["--cores", "2"])
    assert need_verdicts(three, ["a"])
    assert need_verdicts(three, ["results/a/iteration-1/model", "results/b/report.html"])
    assert need_verdicts(three, ["results/a/iteration-1/eval/verdicts-x-vs-base.jsonl"])
    assert not need_verdicts(three, ["results/a/iteration-1/model", "results/a/queries/eval.jsonl"])


def test_nothing_runs_beside_a_plan_or_a_screening(three):
    check_alone(three, ["plan", "a", "both"])
    check_alone(three, ["figures", "all"])
    with pytest.raises(UserError, match="found the target 'figures' beside 'plan', with which nothing else runs"):
        check_alone(three, ["figures", "plan"])
    check_alone(three, ["screen", "a"])
    with pytest.raises(UserError, match="found the target 'screen' beside 'plan'"):
        check_alone(three, ["plan", "screen", "a"])
