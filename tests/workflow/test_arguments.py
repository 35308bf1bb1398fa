"""Arguments of stages: what changes them, and what does not."""

import shlex

import yaml
from configured import experiment, message

from sami.settings.yaml_files import read_yaml
from sami.workflow.arguments import Arguments


def arguments(project, **prompts) -> Arguments:
    """Arguments of the quickstart, whose task has further keys of `prompts`."""
    path = "config/tasks/everyday.yaml"
    task = read_yaml(path).data
    project.write(path, yaml.safe_dump(task | {"prompts": task["prompts"] | prompts}))
    return Arguments(project.load())


def test_an_iteration_uses_the_queries_behind_those_of_the_iterations_before(project):
    found = Arguments(project.load(experiment("{iterations: 3, queries: {train: [64, 64, 32]}}")))
    assert found.training_queries("quickstart", "3") == "--first 128 --count 32"


def test_a_prompt_without_a_constitution_samples_nothing_again(project):
    before, after = arguments(project), arguments(project, without_constitution="Answer: {query}")
    for of in ("training_samples", "evaluation_samples"):
        where = "iteration-1" if of == "evaluation_samples" else "1"
        assert getattr(before, of)("quickstart", where) == getattr(after, of)("quickstart", where)
    changed = arguments(project, generation="{constitution} {query}")
    assert changed.training_samples("quickstart", "1") != before.training_samples("quickstart", "1")


def test_a_prompt_without_a_constitution_names_none(project):
    for wrong in ("Answer.", "{constitution} {query}"):
        told = message(lambda text: arguments(project, without_constitution=text), wrong)
        assert "the template 'without_constitution' needs the field '{query}', and '{constitution}' not" in told


def test_policies_are_asked_without_the_constitution_unless_they_are_to_be_prompted(project):
    prompted = "policies: {told: {model: smollm2-135m-instruct, constitution: in-prompt}}"
    text = experiment(f"evaluation: {{constitution: left-out, {prompted}}}")
    alone, told = (Arguments(project.load(text)).evaluation_samples("quickstart", of) for of in ("iteration-1", "told"))
    template = read_yaml("config/tasks/everyday.yaml").data["prompts"]["without_constitution"]
    assert alone.endswith(f" --under positive --template {shlex.quote(template)}")
    assert told.endswith(" --under positive")
    usual = Arguments(project.load()).evaluation_samples("quickstart", "iteration-1")
    assert alone.split(" --under")[0] == usual  # which says nothing of either
    assert told.split(" --under")[0] == usual.replace("iteration-1", "told")
    assert Arguments(project.load(text)).training_samples("quickstart", "1") == Arguments(
        project.load()
    ).training_samples("quickstart", "1")
