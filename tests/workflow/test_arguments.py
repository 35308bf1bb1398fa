"""Arguments of stages: what changes them, and what does not."""

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
