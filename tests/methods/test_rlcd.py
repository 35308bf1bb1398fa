"""RLCD's direct variant: its pairs and labels, its settings, and the workflow on what it makes."""

import json
import math
from collections import Counter

import pytest
import yaml
from configured import message
from conftest import ROOT
from workflow_project import TINY
from workflow_project import Project as Workflow

from sami import records
from sami.errors import UserError
from sami.methods.rlcd import CUT_OFF, Pairs, counts, labelled, pair_examples
from sami.records import Check, Constitution, Example, Preference, Query, Response, Statement, TrainingExample
from sami.settings.methods import Rlcd
from sami.settings.tasks import Filters, Prompts, Task
from sami.settings.yaml_files import load_yaml
from sami.stages.build_rlcd_examples import label_accuracy

LEFT_OUT = "{query}\n"
PROMPTS = Prompts(
    style="plain", generation="{constitution} {query}", training="{constitution}\n{query}\n",
    without_constitution=LEFT_OUT,
)  # fmt: skip
QUERIES = {name: Query(id=name, task="t", text=f"Why {name}?") for name in ("q", "r")}
SHORT = Check(measure="words", best=1, worst=5)


def constitution(name: str, first: bool, second: bool) -> Constitution:
    """Of two principles, of which the first wants few words and the second has no check."""
    statements = [
        Statement(principle="few", wanted=first, text=f"few {first}", check=SHORT if first else None),
        Statement(principle="calm", wanted=second, text=f"calm {second}"),
    ]
    return Constitution(id=name, set_id="s", writer="w", statements=statements)


CONSTITUTIONS = {
    c.id: c for c in (constitution("+", True, True), constitution("-", False, False), constitution("+-", True, False))
}


def example(*texts: tuple[str, int], query="q", names=("+", "-", "+-"), finish="end") -> Example:
    """Responses as (text, number of the constitution)."""
    responses = [Response(text=text, constitution=number, tokens=1, finish=finish) for text, number in texts]
    return Example(
        query_id=query, set_id="s", constitution_ids=list(names), order=[1, 0], responses=responses, policy="p"
    )


def pairs(*examples: Example, seed=1, filters=None, **settings) -> Pairs:
    method = Rlcd(name="rlcd", **settings)
    return pair_examples(examples, QUERIES, CONSTITUTIONS, PROMPTS, LEFT_OUT, filters or Filters(), method, seed)


def told(made: TrainingExample) -> list[tuple[str, str]]:
    """Texts of the chosen and the rejected response of each pair."""
    return [(made.responses[pair.chosen].text, made.responses[pair.rejected].text) for pair in made.pairs]


def test_each_response_that_all_is_wanted_of_is_preferred_to_each_of_the_others():
    sampled = example(("A", 0), ("B", 1), ("C", 2), ("D", 0))
    sampled.responses[1] = sampled.responses[1].model_copy(update={"finish": "length", "token_ids": [7, 8]})
    ((made,), dropped, ties) = pairs(sampled)
    assert told(made) == [("A", "B"), ("A", "C"), ("D", "B"), ("D", "C")]
    assert (made.query_id, made.set_id, made.prompts, made.labels) == ("q", "s", ["Why q?\n"], [0] * 4)
    assert {(pair.prompt, pair.kind, pair.reference) for pair in made.pairs} == {(0, "contrast", None)}
    assert [(r.text, r.ended, r.token_ids, r.source) for r in made.responses] == [
        ("A", True, None, "p"),
        ("B", False, [7, 8], "p"),
        ("C", True, None, "p"),
        ("D", True, None, "p"),
    ]
    assert (dropped, ties) == (Counter(), 0)


def test_the_prompt_is_a_conversation_where_the_task_has_one():
    chat = PROMPTS.model_copy(update={"style": "chat", "system": ""})
    sampled = [example(("A", 0), ("B", 1))]
    method = Rlcd(name="rlcd")
    ((made,), _, _) = pair_examples(sampled, QUERIES, CONSTITUTIONS, chat, LEFT_OUT, Filters(), method, 1)
    assert [(turn.role, turn.content) for turn in made.prompts[0]] == [("system", ""), ("user", "Why q?\n")]


def test_equal_texts_are_no_pair_and_what_stands_in_none_is_left_out():
    ((made,), dropped, ties) = pairs(
        example(("A", 0), ("A", 1), ("B", 2), ("C", 0), ("A", 1)), example(("A", 0), ("A", 1), query="r")
    )
    assert told(made) == [("A", "B"), ("C", "A"), ("C", "B"), ("C", "A")]
    assert made.query_id == "q"
    assert ties == 2 + 1
    ((made,), _, ties) = pairs(example(("A", 0), ("A", 1), ("B", 0)))  # the first one stands in no pair
    assert [r.text for r in made.responses] == ["A", "B"]
    assert (told(made), ties) == ([("B", "A")], 1)
    assert dropped == Counter()


def test_filters_drop_responses_with_their_pairs():
    filters = Filters(forbidden=["["], positive_ends_with=".")
    sampled = example(("A.", 0), ("A", 0), ("B", 1), ("", 1), ("[C]", 2), ("D.", 2))
    ((made,), dropped, ties) = pairs(sampled, example(("A.", 0), ("", 1), query="r"), filters=filters)
    assert told(made) == [("A.", "B"), ("A.", "D.")]  # under other constitutions no full stop is asked for
    assert dropped == Counter({"does not end with '.'": 1, "empty response": 2, "forbidden mark": 1})
    assert ties == 0


def test_unfinished_responses_are_kept_or_dropped():
    sampled = example(("A", 0), ("B", 1), ("C", 1))
    for place, finish in ((0, "stop"), (1, "length")):
        sampled.responses[place] = sampled.responses[place].model_copy(update={"finish": finish})
    assert told(pairs(sampled).examples[0]) == [("A", "B"), ("A", "C")]
    ((made,), dropped, _) = pairs(sampled, unfinished="drop")
    assert told(made) == [("A", "C")]
    assert dropped == Counter({CUT_OFF: 1})
    assert pairs(example(("A", 0), ("B", 1), finish="length"), unfinished="drop").examples == []


def test_reversed_labels_choose_the_other_response():
    sampled = example(("A", 0), ("B", 1), ("C", 0))
    (made,) = pairs(sampled, labels="reversed").examples
    assert told(made) == [("B", "A"), ("B", "C")]
    assert {pair.kind for pair in made.pairs} == {"reversed"}


def test_shuffled_labels_are_drawn_by_seed_and_query():
    method = Rlcd(name="rlcd", labels="shuffled")
    both = [(0, 1), (2, 1)]
    draw = lambda seed, query: labelled(both, method, seed, query)  # noqa: E731
    swapped = [draw(seed, f"q{n}") != both and draw(seed, f"q{n}")[0] == (1, 0) for seed in (1, 2) for n in range(500)]
    assert sum(swapped) == pytest.approx(500, abs=80)  # five standard deviations
    assert swapped[:500] != swapped[500:]
    assert all({*pair} == {*other} for n in range(9) for pair, other in zip(draw(1, f"q{n}"), both, strict=True))
    assert draw(3, "q") == draw(3, "q")
    alike = [draw(1, f"q{n}")[0] == (1, 0) for n in range(500) if draw(1, f"q{n}")[1] == (1, 2)]
    assert sum(alike) / len(alike) == pytest.approx(0.5, abs=0.15)  # the pairs of a query are drawn one by one
    (made,) = pairs(example(("A", 0), ("B", 1)), labels="shuffled").examples
    assert {pair.kind for pair in made.pairs} == {"shuffled"}
    assert {*told(made)[0]} == {"A", "B"}


def test_counts_by_hand():
    made = pairs(
        example(("A", 0), ("B", 1), ("", 1), ("C", 0)), example(("A", 0), ("A", 1), query="r"), unfinished="drop"
    )
    assert counts(made, 2, "p") == {"sampled": 2, "kept": 1, "dropped": {"empty response": 1}, "pairs": 2, "ties": 1}


def test_no_pair_at_all_is_told_with_the_number_of_ties():
    tied = example(("A", 0), ("A", 1), ("A", 2))
    with pytest.raises(UserError, match="iteration-0: none of 1 examples has a pair .*found 2 ties.* responses: none;"):
        counts(pairs(tied), 1, "iteration-0")
    cut = example(("A", 0), ("B", 1), finish="length")
    with pytest.raises(UserError, match=f"found 0 ties .*'{CUT_OFF}': 2.*set 'method.unfinished' to keep"):
        counts(pairs(cut, unfinished="drop"), 1, "iteration-0")


def test_label_accuracy_by_hand():
    """Of five words a response has degree 0, of one degree 1; only the constitution that wants everything counts."""
    sampled = example(("one", 0), ("one two three", 1), ("three more words", 0), ("a b c d e", 2), ("one two six", 1))
    (made,) = pairs(sampled).examples
    expected = {"right": 4, "wrong": 0, "tied": 2, "share": 1.0}
    assert label_accuracy([made], [sampled], CONSTITUTIONS) == expected
    (other,) = pairs(sampled, labels="reversed").examples
    assert label_accuracy([other], [sampled], CONSTITUTIONS) == {"right": 0, "wrong": 4, "tied": 2, "share": 0.0}
    worse = example(("a b c d", 0), ("one", 1), ("one two three four five", 2), query="r")
    more = pairs(worse).examples
    assert label_accuracy([made, *more], [sampled, worse], CONSTITUTIONS)["share"] == 5 / 6


def test_label_accuracy_without_checks_is_not_known():
    bare = {
        name: c.model_copy(update={"statements": [s.model_copy(update={"check": None}) for s in c.statements]})
        for name, c in CONSTITUTIONS.items()
    }
    sampled = example(("one", 0), ("one two", 1))
    found = label_accuracy(pairs(sampled).examples, [sampled], bare)
    assert found == {"right": 0, "wrong": 0, "tied": 0, "share": None}


def quickstart(method: str, training: str = "{objective: preference}", more: str = "") -> str:
    return f"experiments: {{quickstart: {{method: {method}, training: {training}{more}}}}}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (quickstart("rlcd", "{objective: sami}"), ["'training.objective' is sami", "expected one of: preference"]),
        (quickstart("rlcd", "{objective: supervised}"), ["'training.objective' is supervised"]),
        (quickstart("{name: rlcd, labels: mixed}"), ["method.labels", 'found "mixed"', "contrast, reversed, shuffled"]),
        (quickstart("{name: rlcd, unfinished: cut}"), ["method.unfinished", 'found "cut"', "keep, drop"]),
        (
            quickstart("{name: sami, labels: reversed}"),
            ["the key 'labels', which belongs to the methods rlcd and steerlm"],
        ),
        (quickstart("rlcd", more=", sampling: {responses: 1}"), ["'sampling.responses' is 1, but 'rlcd' needs at l"]),
        (quickstart("rlcd", more=", constitutions: {per_set: 1}"), ["constitutions.per_set: found 1", "at least 2"]),
        (quickstart("rlcd", "{objective: preference, reference: sft}"), ["'training.reference: sft'"]),
    ],
)
def test_wrong_settings_are_told(project, text, parts):
    found = message(project.load, text)
    assert found.startswith("mine.yaml, line 1: experiments.quickstart")
    for part in parts:
        assert part in found


def test_a_task_without_a_bare_prompt_is_told_before_anything_runs(project):
    project.check(quickstart("rlcd"))
    task = yaml.safe_load((project.root / "config/tasks/everyday.yaml").read_text())
    task["prompts"].pop("without_constitution")
    project.write("config/tasks/everyday.yaml", yaml.safe_dump(task))
    found = message(project.check, quickstart("rlcd"))
    assert found.startswith("config/tasks/everyday.yaml: prompts.without_constitution: found null, expected the prompt")
    assert found.endswith("(experiment 'quickstart').")
    assert "the method 'rlcd'" in found


def test_the_arms_that_are_shipped_differ_in_labels_alone(monkeypatch):
    from sami.workflow.configuration import load

    monkeypatch.chdir(ROOT)
    arms = load(["config/config.yaml", "config/methods/rlcd.yaml"]).experiments
    labels = {name: arms[name].method.labels for name in ("direct", "reversed", "shuffled")}
    assert labels == {"direct": "contrast", "reversed": "reversed", "shuffled": "shuffled"}
    same = [
        arms[name].model_copy(update={"method": arms[name].method.model_copy(update={"labels": "contrast"})})
        for name in labels
    ]
    assert same[0] == same[1] == same[2]
    assert (same[0].training.objective.beta, same[0].training.normalisation) == (0.1, "sum")


@pytest.fixture(scope="module")
def finished(tiny_source, tmp_path_factory):
    """A run of two iterations, of which the second starts from the policy of the first and is compared with it."""
    workflow = Workflow(tmp_path_factory.mktemp("rlcd"), tiny_source)
    workflow.settings = {
        "model": "tiny",
        "iterations": 2,
        "queries": {"train": 4},
        "method": "rlcd",
        "sampling": {"responses": 4},
        "training": {
            "objective": "preference", "normalisation": "sum", "score_end_token": True, "start_from": "previous",
            "reference": "previous",
        },
    }  # fmt: skip
    workflow.overrides = workflow.write("rlcd.yaml", {**TINY, "experiments": {"quickstart": workflow.settings}})
    workflow.run("results/quickstart/iteration-2/model")
    return workflow


def test_a_run_begins_each_iteration_at_log_2(finished):
    filters = load_yaml(ROOT / "config/tasks/everyday.yaml", Task).filters
    for t in (1, 2):
        folder = finished.folder / f"results/quickstart/iteration-{t}"
        sampled = records.read(Example, folder / "responses.jsonl")
        made, scored = (records.read(TrainingExample, folder / f"{name}.jsonl") for name in ("pairs", "examples"))
        texts = [records.read(kind, folder.parent / path) for kind, path in
                 ((Query, "queries/train.jsonl"), (Constitution, "constitutions.jsonl"))]  # fmt: skip
        task = load_yaml(ROOT / "config/tasks/everyday.yaml", Task)
        by_id = [{record.id: record for record in found} for found in texts]
        how = task.prompts, "{query}", filters, Rlcd(name="rlcd"), 1
        expected = pair_examples(sampled, *by_id, *how)
        assert made == expected.examples
        assert scored != made
        assert [without_reference(e) for e in scored] == made
        sums = [value for e in scored for pair in e.pairs for value in pair.reference]
        assert max(sums) < 0
        assert len(set(sums)) > 4
        counted = json.loads((folder / "examples.json").read_text())
        accuracy = counted.pop("label_accuracy")
        assert counted == counts(expected, 4, f"iteration-{t - 1}")
        assert sum(accuracy[key] for key in ("right", "wrong", "tied")) == counted["pairs"]
        steps = [json.loads(line) for line in (folder / "training.jsonl").open()]
        assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
        for name in ("margin", "chosen_reward", "rejected_reward"):
            assert steps[0][name] == pytest.approx(0, abs=1e-4)
        assert abs(steps[-1]["margin"]) > 1e-2  # the policy is no longer the reference


def without_reference(example: TrainingExample) -> TrainingExample:
    bare: list[Preference] = [pair.model_copy(update={"reference": None}) for pair in example.pairs]
    return example.model_copy(update={"pairs": bare})


def test_what_a_change_makes_out_of_date(finished):
    target = "results/quickstart/iteration-1/model"

    def rerun(**change) -> set[str]:
        settings = {**finished.settings, **change}
        finished.overrides = finished.write("changed.yaml", {**TINY, "experiments": {"quickstart": settings}})
        return {rule for rule, _ in finished.planned(target)} - {"all"}

    training = finished.settings["training"]
    assert rerun() == set()
    assert rerun(engine={"tokens_per_pass": 64}) == set()
    assert rerun(training={**training, "learning_rate": 1e-4}) == {"train"}
    assert rerun(training={**training, "score_end_token": False}) == {"score_reference", "train"}
    relabelled = {"name": "rlcd", "labels": "reversed"}
    assert rerun(method=relabelled) == {"build_rlcd_examples", "score_reference", "train"}
