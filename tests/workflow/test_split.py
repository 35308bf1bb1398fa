"""The held-out queries of an experiment, of development or of a test: on the DAG, in arguments and in the plan."""

import yaml
from configured import experiment
from workflow_project import Project, unread_model

from sami.workflow import layout
from sami.workflow.arguments import Arguments
from sami.workflow.inputs import Inputs
from sami.workflow.plan.quantities import Quantities

TRAINING = {"build_queries", "build_constitutions", "write_principles", "prepare_model", "sample_responses",
            "build_sami_examples", "train"}  # fmt: skip
EVALUATION = {"sample_evaluation", "score_responses", "score_relevance", "judge_responses", "tabulate", "plot_figures",
              "build_report"}  # fmt: skip


def outputs_of(jobs: set[tuple[str, str]], *rules: str) -> set[tuple[str, str]]:
    return {(rule, path) for rule, path in jobs if rule in rules}


def test_a_test_evaluates_anew_and_trains_nothing(tmp_path):
    """Every output is there; then the experiment is put to the test, to a larger one, and back."""
    project = Project(tmp_path / "project", unread_model(tmp_path))
    settings = yaml.safe_load((project.folder / "tiny.yaml").read_text())

    def configure(**queries: int) -> set[tuple[str, str]]:
        experiment = {"model": "tiny", "queries": {"train": 4, **queries}}
        project.write("tiny.yaml", settings | {"experiments": {"quickstart": experiment}})
        return project.dry_run("quickstart")

    def finish(jobs: set[tuple[str, str]]) -> None:
        project.finish(jobs, "quickstart")
        project.run("quickstart", "--touch", "--forceall")  # so that all have a record of their parameters

    first = configure()
    assert {rule for rule, _ in first} == TRAINING | EVALUATION
    finish(first)
    assert configure() == set()
    evaluated = outputs_of(first, *EVALUATION)
    built = ("build_test_queries", "quickstart/queries/test.jsonl")
    tested = configure(test=5)
    assert tested == evaluated | {built}
    finish(tested)
    assert configure(test=5) == set()
    assert configure(test=6) == evaluated | {built}
    assert configure() == evaluated
    assert configure(test=5, train=6) >= outputs_of(first, "train")


def test_evaluation_takes_the_test_queries_and_training_does_not(project):
    loaded = project.load(experiment("queries: {test: 9}"))
    settings, inputs = loaded.experiments["quickstart"], Inputs(loaded)
    assert (settings.queries.split, settings.queries.held_out, settings.queries.eval) == ("test", 9, 48)
    assert inputs.held_out_queries("quickstart") == "results/quickstart/queries/test.jsonl"
    everyday = [f"config/queries/everyday-{split}.jsonl" for split in ("train", "eval", "test")]
    assert inputs.query_files("quickstart") == everyday[:2]
    assert inputs.test_query_files("quickstart") == [everyday[2], everyday[1]]
    assert layout.held_out_examples(settings) == 9
    assert "--count 9 " in f"{Arguments(loaded).evaluation_samples('quickstart', 'iteration-1')} "
    before = project.load()
    assert Inputs(before).held_out_queries("quickstart") == "results/quickstart/queries/eval.jsonl"
    for of in (Arguments(before), Arguments(loaded)):
        assert "--count 64 " in of.training_samples("quickstart", "1")
    texts = Quantities(loaded, "quickstart", []).queries(settings.queries.split)
    assert texts.source == "counted in config/queries/everyday-test.jsonl"


def test_each_experiment_of_a_comparison_has_its_own_held_out_queries(project):
    mine = "compare: {both: [quickstart, other]}\nexperiments: {other: {queries: {test: 9}}}"
    found = Inputs(project.load(mine)).queries_of_group("both")
    assert found == ["results/quickstart/queries/eval.jsonl", "results/other/queries/test.jsonl"]
