"""SteerLM: values, label strings and training examples by hand, its settings, and the workflow with a tiny model."""

import json
import math
from collections import Counter

import pandas as pd
import pytest
import yaml
from configured import message
from conftest import ROOT
from workflow_project import TINY
from workflow_project import Project as Workflow

from sami import records
from sami.data.labels import attributes_prompt, label_string
from sami.errors import UserError
from sami.judging.checks import degree
from sami.methods.steerlm import (
    Question,
    as_asked,
    attributes,
    counts,
    labelled_examples,
    labelled_queries,
    nearest_value,
    occurrences,
    questions,
    typical,
    value_of,
)
from sami.records import (
    Check,
    Constitution,
    Example,
    Label,
    Principle,
    Query,
    Response,
    Statement,
    Steered,
    TrainingExample,
)
from sami.settings.methods import AttributeModel, SteerLM
from sami.settings.tasks import Filters, Prompts, Task
from sami.settings.yaml_files import load_yaml

TEMPLATE = "{query}\n{attributes}\n"
PROMPTS = Prompts(style="plain", generation="{constitution} {query}", training="{constitution} {query}")
QUERIES = {name: Query(id=name, task="t", text=f"Why {name}?") for name in ("q", "r")}
FEW = Check(measure="words", best=1, worst=5)
LOUD = Check(measure="matches", pattern="!", best=2, worst=0)
CHECKS = {"few": FEW, "loud": LOUD}
CONSTITUTIONS = {
    name: Constitution(
        id=name, set_id="s", writer="w", statements=[Statement(principle="few", wanted=wanted, text=name)]
    )
    for name, wanted in (("few", True), ("-few", False))
}


def method(**settings) -> SteerLM:
    return SteerLM(name="steerlm", **settings)


def principle(name: str, check: Check | None = FEW) -> Principle:
    return Principle(id=name, text=f"{name}.", opposite=f"Not {name}.", check=check, writer="w")


def example(*texts: tuple[str, int], query="q") -> Example:
    """Responses as (text, number of the constitution)."""
    responses = [Response(text=text, constitution=number, tokens=1, finish="end") for text, number in texts]
    return Example(
        query_id=query, set_id="s", constitution_ids=["few", "-few"], order=[0], responses=responses, policy="p"
    )


def label(number: int, query="q", **values: int) -> Label:
    return Label(query_id=query, set_id="s", number=number, policy="p", values=values)


def made(examples, known, filters=None, shuffle_by=None) -> tuple[list[TrainingExample], Counter]:
    how = QUERIES, CONSTITUTIONS, PROMPTS, TEMPLATE, filters or Filters()
    return labelled_examples(examples, known, *how, shuffle_by)


@pytest.mark.parametrize(
    ("degree", "levels", "value"),
    [(0, 5, 0), (1, 5, 4), (0.5, 5, 2), (0.12, 5, 0), (0.13, 5, 1), (0.87, 5, 3), (0.88, 5, 4), (0.49, 2, 0),
     (0.51, 2, 1), (0.125, 5, 0), (0.375, 5, 2), (0.625, 5, 2), (0.875, 5, 4), (0.5, 10, 4)],
)  # fmt: skip
def test_degrees_are_rounded_to_the_nearest_value(degree, levels, value):
    assert value_of(degree, levels) == value


@pytest.mark.parametrize(
    ("score", "value"),
    [(-3.0, 0), (0.49, 0), (0.5, 0), (1.5, 2), (2.5, 2), (3.51, 4), (4.4, 4), (17.0, 4)],
)
def test_scores_are_clipped_and_rounded_half_to_even(score, value):
    assert nearest_value(score, 5) == value


def test_a_share_of_the_queries_is_labelled_for_the_attribute_model():
    queries = [example(("A", 0), query=f"q{n}") for n in range(9)]
    found, again, other = (labelled_queries(queries, AttributeModel(learning_rate=1e-3), seed) for seed in (1, 1, 2))
    assert len(found) == 4  # half of them, to the even number
    assert found == again != other
    assert found < {f"q{n}" for n in range(9)}
    assert len(labelled_queries(queries, AttributeModel(learning_rate=1e-3, labelled=0.9), 1)) == 8
    for share, told in ((0.05, "none"), (0.95, "9")):
        model = AttributeModel(learning_rate=1e-3, labelled=share)
        with pytest.raises(
            UserError, match=f"'attribute_model.labelled' is {share}, of 9 queries {told}, expected one"
        ):
            labelled_queries(queries, model, 1)


def test_attributes_are_the_principles_with_a_check_or_those_that_are_named():
    known = [principle("few"), principle("calm", None), principle("loud", LOUD)]
    assert attributes(known, method()) == CHECKS
    assert list(attributes(known, method(attributes=["loud", "few"]))) == ["loud", "few"]
    for wrong in ("calm", "fwe"):
        with pytest.raises(UserError, match=f"names '{wrong}', expected principles with a check: few, loud"):
            attributes(known, method(attributes=["few", wrong]))
    with pytest.raises(UserError, match="no principle has a check, expected one at least"):
        attributes([principle("calm", None)], method())
    for name in ("few:or", "a,b"):
        with pytest.raises(UserError, match=f"found the attribute '{name}', expected a name without colon and comma"):
            attributes([principle(name)], method())


def test_every_response_is_an_example_behind_its_label():
    sampled = example(("A", 0), ("B", 1))
    sampled.responses[1] = sampled.responses[1].model_copy(update={"finish": "length", "token_ids": [7, 8]})
    found, dropped = made(
        [sampled, example(("C", 0), query="r")], [label(1, few=0, loud=3), label(0, few=4), label(0, "r", few=2)]
    )
    assert [(e.query_id, e.set_id, e.prompts, e.labels, e.responses[0].text) for e in found] == [
        ("q", "s", ["Why q?\nfew:4\n"], [0], "A"),  # of "loud" nothing is known
        ("q", "s", ["Why q?\nfew:0,loud:3\n"], [0], "B"),
        ("r", "s", ["Why r?\nfew:2\n"], [0], "C"),
    ]
    assert [(r.ended, r.token_ids, r.source) for e in found for r in e.responses] == [
        (True, None, "p"),
        (False, [7, 8], "p"),
        (True, None, "p"),
    ]
    assert dropped == Counter()


def test_the_prompt_is_a_conversation_where_the_task_has_one():
    chat = PROMPTS.model_copy(update={"style": "chat", "system": ""})
    (system, user) = attributes_prompt("Why q?", {"few": 1}, chat, "{attributes}: {query}")
    assert (system.role, system.content, user.role, user.content) == ("system", "", "user", "few:1: Why q?")


def test_what_stands_behind_the_mark_begins_the_turn_of_the_policy(smollm2):
    from sami.data.prompts import prompt_tokens
    from sami.models import pretrained

    chat = PROMPTS.model_copy(update={"style": "chat", "system": ""})
    template, label = "{query}{turn}<|im_end|>{attributes}\n", {"few": 1}
    assert attributes_prompt("Why {turn}?", label, PROMPTS, template) == "Why {turn}?<|im_end|>few:1\n"
    prompt = attributes_prompt("Why {turn}?", label, chat, template)
    assert [(m.role, m.content) for m in prompt[1:]] == [("user", "Why {turn}?"), ("assistant", "<|im_end|>few:1\n")]
    tokenizer = pretrained.load_tokenizer(smollm2)
    tokens, asked = prompt_tokens(prompt, tokenizer), prompt_tokens(prompt[:-1], tokenizer)
    assert tokens[: len(asked)] == asked
    begun = tokens[len(asked) :]
    assert tokenizer.decode(begun) == "<|im_end|>few:1\n"
    assert tokenizer.eos_token_id not in begun  # it is text, and no mark


def test_filters_drop_single_responses():
    filters = Filters(forbidden=["["], positive_ends_with=".")
    sampled = example(("A.", 0), ("A", 0), ("B", 1), ("", 1), ("[C]", 1), ("A.", 0))
    found, dropped = made([sampled], [label(n, few=n) for n in range(6)], filters)
    assert [(e.responses[0].text, e.prompts[0].split()[-1]) for e in found] == [
        ("A.", "few:0"),
        ("B", "few:2"),
        ("A.", "few:5"),
    ]
    assert dropped == Counter({"does not end with '.'": 1, "empty response": 1, "forbidden mark": 1})


def test_shuffled_labels_are_the_same_labels_on_other_responses():
    texts = [(f"{n}", n % 2) for n in range(40)]
    known = [label(n, few=n) for n in range(40)]
    own, first, again, other = (made([example(*texts)], known, shuffle_by=seed)[0] for seed in (None, 1, 1, 2))
    of = lambda found: [e.prompts[0].split()[-1] for e in found]  # noqa: E731
    assert of(own) == [f"few:{n}" for n in range(40)]
    assert sorted(of(first)) == sorted(of(own)) == sorted(of(other))
    assert first == again
    assert len({*map(tuple, map(of, (own, first, other)))}) == 3
    assert [e.responses for e in first] == [e.responses for e in own]
    at_home = sum(a == b for a, b in zip(of(first), of(own), strict=True))
    assert at_home < 8  # one on average


def test_shuffled_labels_are_those_of_the_responses_that_are_left():
    found, _ = made([example(("A", 0), ("", 0), ("B", 1))], [label(n, few=n) for n in range(3)], shuffle_by=1)
    assert {e.prompts[0].split()[-1] for e in found} == {"few:0", "few:2"}


def test_a_response_without_a_label_is_told():
    with pytest.raises(UserError, match="query 'q', set 's': found no label of response 1 by 'p', expected a record"):
        made([example(("A", 0), ("B", 1))], [label(0, few=1), label(1, "r", few=1)])


def test_counts_by_hand():
    known = [label(0, few=4, loud=0), label(1, few=0), label(2, few=4, loud=2)]
    found = occurrences(known, 5)
    assert found == {"few": [1, 0, 0, 0, 2], "loud": [1, 0, 1, 0, 0]}
    kept, dropped = made([example(("A", 0), ("", 1), ("B", 1))], known)
    expected = {"sampled": 3, "kept": 2, "dropped": {"empty response": 1}, "values": found}
    assert counts(kept, 3, dropped, found, {}, "p") == expected
    assert counts(kept, 3, dropped, found, {"few": 2}, "p") == expected | {"as_asked": {"few": 2}}
    with pytest.raises(UserError, match=r"p: none of 3 responses is left .*'empty response': 3"):
        counts([], 3, Counter({"empty response": 3}), found, {}, "p")


def test_responses_that_have_what_they_were_asked_for_are_counted_by_hand():
    asked = [{"few": 4, "loud": 0}, {"few": 0, "loud": 0}, {"few": 1, "loud": 0}]
    drawn = example(("A", 0), ("B", 0), ("", 0))
    drawn = drawn.model_copy(
        update={"responses": [r.model_copy(update={"asked": a}) for r, a in zip(drawn.responses, asked, strict=True)]}
    )
    known = [label(0, few=4, loud=2), label(1, few=0, loud=1), label(2, few=0, loud=3)]
    assert as_asked([drawn], known) == {"few": 2, "loud": 0}
    assert as_asked([example(("A", 0))], known) == {}
    with pytest.raises(UserError, match="found no label of response 2"):
        as_asked([drawn], known[:2])


def test_typical_values_are_medians_that_occur():
    known = [label(n, few=value) for n, value in enumerate((0, 4, 3, 1))] + [label(4, loud=2)]
    assert typical(known) == {"few": 1, "loud": 2}


def test_questions_vary_one_attribute_at_a_time():
    usual = {"loud": 2, "few": 1}
    assert questions(usual, ["few", "loud"], method(levels=3)) == [
        Question("few", 0, {"few": 0, "loud": 2}),
        Question("few", 1, {"few": 1, "loud": 2}),
        Question("few", 2, {"few": 2, "loud": 2}),
        Question("loud", 0, {"few": 1, "loud": 0}),
        Question("loud", 1, {"few": 1, "loud": 1}),
        Question("loud", 2, {"few": 1, "loud": 2}),
    ]
    alone = questions(usual, ["few", "loud"], method(levels=2, steering={"others": "left-out"}))
    assert [question.asked for question in alone] == [{"few": 0}, {"few": 1}, {"loud": 0}, {"loud": 1}]
    assert list(questions(usual, ["few", "loud"], method())[5].asked) == ["few", "loud"]  # in the order of training


def test_records_that_contradict_themselves_are_refused():
    fields = {"query_id": "q", "policy": "p", "attribute": "few", "text": "A", "tokens": 1}
    Steered(**fields, value=1, asked={"few": 1}, degrees={"few": 0.5})
    wrong = [(2, {"few": 1.0}, "'asked' has 1 of 'few'"), (1, {"loud": 1.0}, "'degrees' lacks 'few'")]
    for value, degrees, told in wrong:
        with pytest.raises(ValueError, match=told):
            Steered(**fields, value=value, asked={"few": 1}, degrees=degrees)
    for values in ({}, {"few": -1}):
        with pytest.raises(ValueError, match="values"):
            label(0, **values)


WORDS = ["long", "middling", "short"]
LEARNED = "{{name: steerlm, labels: model, attribute_model: {{learning_rate: 1.0e-5, {}}}}}"


def quickstart(method: str = "steerlm", training: str = "{objective: supervised}", more: str = "") -> str:
    return f"experiments: {{quickstart: {{method: {method}, training: {training}, iterations: 1{more}}}}}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (quickstart(training="{objective: sami}"), ["'training.objective' is sami", "expected one of: supervised"]),
        (quickstart("{name: steerlm, labels: model}"),
         ["'labels' is model, but 'attribute_model' is null", "write it ({learning_rate: 2.0e-5}, say)"]),
        (quickstart("{name: steerlm, attribute_model: {learning_rate: 1.0e-5}}"),
         ["'labels' is checks, but 'attribute_model' is given", "only there"]),
        (quickstart(LEARNED.format("labelled: 0")), ["method.attribute_model.labelled", "found 0"]),
        (quickstart(LEARNED.format("labelled: 0.1"), more=", queries: {train: 4}"),
         ["'attribute_model.labelled' is 0.1, of 4 queries none", "raise 'queries.train'"]),
        (quickstart(LEARNED.format('prompt: "Read: {response}"')),
         ["'prompt' has the fields {response}, expected {query} and {response}, each once"]),
        (quickstart(LEARNED.format('prompt: "{query} {response}"')), ["'prompt' begins with a field"]),
        (quickstart("{name: steerlm, asked: {short: 5}}"),
         ["'asked' wants 5 of 'short', expected at most 4, since 'levels' is 5"]),
        (quickstart("{name: steerlm, asked: {short: -1}}"), ["method.asked.short", "found -1"]),
        (quickstart("{name: steerlm, labels: judge}"), ["method.labels", 'found "judge"', "checks, shuffled, model"]),
        (quickstart("{name: steerlm, words: {short: [long, short]}}"),
         ["'words' has 2 different words for 'short' (long, short), expected 5", "write them, or change 'levels'"]),
        (quickstart("{name: steerlm, levels: 2, words: {short: [long, long]}}"), ["1 different words for 'short'"]),
        (quickstart("{name: steerlm, levels: 1}"), ["method.levels", "found 1", "at least 2"]),
        (quickstart("{name: steerlm, attributes: []}"), ["method.attributes", "at least one entry"]),
        (quickstart('{name: steerlm, attributes: ["short:4"]}'), ["method.attributes", "short:4"]),
        (quickstart("{name: steerlm, attributes: [warm, warm]}"), ["'attributes' names 'warm' twice"]),
        (quickstart("{name: steerlm, steering: {queries: 0}}"), ["method.steering.queries", "found 0"]),
        (quickstart("{name: steerlm, steering: {others: best}}"), ["steering.others", "typical, left-out"]),
        (quickstart("{name: sami, levels: 5}"), ["the key 'levels', which belongs to the method steerlm"]),
    ],
)  # fmt: skip
def test_wrong_settings_are_told(project, text, parts):
    found = message(project.load, text)
    assert found.startswith("mine.yaml, line 1: experiments.quickstart")
    for part in parts:
        assert part in found


def test_words_of_no_attribute_are_told_before_anything_runs(project):
    told = message(
        project.check, quickstart("{name: steerlm, levels: 2, attributes: [warm], words: {short: [long, short]}}")
    )
    assert "'method.words' names 'short', expected attributes: warm" in told


def test_attributes_without_a_check_are_told_before_anything_runs(project):
    project.check(quickstart("{name: steerlm, attributes: [warm, short]}"))
    found = message(project.check, quickstart("{name: steerlm, attributes: [short, calm]}"))
    assert found.startswith(
        "config/constitutions/everyday.yaml: 'method.attributes' names 'calm', expected principles "
    )
    assert "short, self, poem, warm, story, simple (experiment 'quickstart')" in found
    for asked in ("{calm: 1}", "{warm: 1}"):
        found = message(project.check, quickstart(f"{{name: steerlm, attributes: [short], asked: {asked}}}"))
        assert f"'method.asked' names '{asked[1:5]}', expected attributes: short (experiment 'quickstart')" in found
    file = project.root / "config/constitutions/everyday.yaml"
    bare = yaml.safe_load(file.read_text())
    for pair in bare["pairs"]:
        pair["principle"].pop("check")
    project.write("config/constitutions/everyday.yaml", yaml.safe_dump(bare))
    assert "no principle has a check, expected one at least" in message(project.check, quickstart())


def test_a_task_without_the_prompt_is_told_before_anything_runs(project):
    file = project.root / "config/tasks/everyday.yaml"
    task = yaml.safe_load(file.read_text())
    for template, told in (
        (None, "prompts.with_attributes: found null, expected the prompt with the query and a label string"),
        ("{query}", "the template 'with_attributes' needs the fields '{query}' and '{attributes}'"),
        ("{query} {attributes} {constitution}", "'with_attributes' has the field '{constitution}', expected it not"),
        (
            "{attributes}{turn}{query}",
            "'with_attributes' has '{turn}' before '{query}', or twice; expected it once, behind it",
        ),
        ("{query}{turn}{attributes}{turn}", "'with_attributes' has '{turn}' before '{query}', or twice"),
    ):
        task["prompts"]["with_attributes"] = template
        project.write("config/tasks/everyday.yaml", yaml.safe_dump(task))
        assert told in message(project.check, quickstart())


def test_shipped_tasks_have_the_prompt():
    for name in ("everyday", "hh-rlhf", "tldr"):
        template = load_yaml(ROOT / f"config/tasks/{name}.yaml", Task).prompts.with_attributes
        assert template.index("{query}") < template.index("{attributes}")


def test_the_arms_that_are_shipped_differ_in_labels_alone(monkeypatch):
    from sami.workflow.configuration import load

    monkeypatch.chdir(ROOT)
    arms = load(["config/config.yaml", "config/methods/steerlm.yaml"]).experiments
    found = {name: arms[name].method.labels for name in ("steerlm", "shuffled")}
    assert found == {"steerlm": "checks", "shuffled": "shuffled"}
    same = [
        arms[name].model_copy(update={"method": arms[name].method.model_copy(update={"labels": "checks"})})
        for name in found
    ]
    assert same[0] == same[1]


def test_the_plan_counts_an_example_a_response_and_all_questions(project):
    from sami.workflow.plan.rows import Row, plan

    more = ", queries: {train: 64}, sampling: {responses: 8}, evaluation: {policies: {other: smollm2-135m-instruct}}"

    def planned(method: str) -> list[Row]:
        return plan(project.load(quickstart(method, more=more)), ["quickstart"])[0]

    rows = planned("{name: steerlm, levels: 4, steering: {queries: 10}}")
    found = {(row.stage, row.of): row for row in rows}
    asked = [row for row in rows if row.stage == "sample_steering"]
    assert [row.of for row in asked] == ["iteration-0", "iteration-1", "other"]
    responses = 10 * 6 * 4  # queries, attributes, values
    evaluated = found["sample_evaluation", "iteration-0"]
    each = evaluated.new_tokens / (48 * 2)
    assert {row.new_tokens for row in asked} == {responses * each}
    one, several = (planned(f"{{name: steerlm, attributes: {names}}}") for names in ("[short]", "[short, warm, story]"))
    trained = [next(row for row in rows if row.stage == "train").prompt_tokens / (64 * 8) for rows in (one, several)]
    assert trained[0] < trained[1] < trained[0] + 20  # a longer label string
    assert trained[0] > each  # a prompt and a response an example
    light = [next(row.jobs for row in planned(method) if row.stage == "light") for method in ("steerlm", "sft")]
    assert light[0] == light[1] + 3  # labels, tables and figures
    assert not any(row.stage == "sample_steering" for row in planned("sft"))


@pytest.fixture(scope="module")
def finished(tiny_source, tmp_path_factory):
    """A whole run of two iterations, with its control beside it as far as the examples of the first."""
    workflow = Workflow(tmp_path_factory.mktemp("steerlm"), tiny_source)
    workflow.settings = {
        "model": "tiny", "iterations": 2, "queries": {"train": 4}, "sampling": {"responses": 4},
        "method": {
            "name": "steerlm", "levels": 3, "attributes": ["short", "warm"], "words": {"short": WORDS},
            "steering": {"queries": 3},
        },
        "training": {"objective": "supervised"},
    }  # fmt: skip
    shuffled = {**workflow.settings, "method": {**workflow.settings["method"], "labels": "shuffled"}}
    experiments = {"quickstart": workflow.settings, "shuffled": shuffled}
    workflow.overrides = workflow.write("steerlm.yaml", {**TINY, "experiments": experiments})
    workflow.run("quickstart", "results/shuffled/iteration-1/examples.jsonl")
    return workflow


def test_a_whole_run_learns_every_response_behind_its_label(finished):
    folder = finished.folder / "results/quickstart"
    checks = {p.id: p.check for p in records.read(Principle, folder / "principles.jsonl") if p.id in ("short", "warm")}
    queries = {query.id: query.text for query in records.read(Query, folder / "queries/train.jsonl")}
    sampled = records.read(Example, folder / "iteration-1/responses.jsonl")
    expected = []
    for one in sampled:
        for response in one.responses:
            values = {name: round(2 * degree(check, response.text)) for name, check in checks.items()}
            asked = f"{queries[one.query_id]}\n\n({WORDS[values['short']]}, warm:{values['warm']})"
            expected += [(one.query_id, asked, response.text)] if response.text else []
    found = records.read(TrainingExample, folder / "iteration-1/examples.jsonl")
    assert [(e.query_id, e.prompts[0][-1].content, e.responses[0].text) for e in found] == expected
    counted = json.loads((folder / "iteration-1/examples.json").read_text())
    assert (counted["sampled"], counted["kept"]) == (16, len(expected))
    assert [sum(of) for of in counted["values"].values()] == [16, 16]
    other = records.read(TrainingExample, finished.folder / "results/shuffled/iteration-1/examples.jsonl")
    assert [e.responses for e in other] == [e.responses for e in found]
    labels_of = [Counter(e.prompts[0][-1].content.split("\n\n")[-1] for e in made) for made in (found, other)]
    assert labels_of[0] == labels_of[1]
    losses = [json.loads(line)["loss"] for line in (folder / "iteration-1/training.jsonl").open()]
    assert len(losses) == math.ceil(len(expected) / 2)


def test_a_whole_run_shows_what_was_asked_against_what_came(finished):
    folder = finished.folder / "results/quickstart"
    held_out = [query.id for query in records.read(Query, folder / "queries/eval.jsonl")]
    usual = typical(records.read(Label, folder / "iteration-1/labels.jsonl"))
    for policy in ("iteration-0", "iteration-1"):
        steered = records.read(Steered, folder / policy / "eval/steering.jsonl")
        assert [(r.query_id, r.attribute, r.value) for r in steered] == [
            (query, attribute, value) for query in held_out[:3] for attribute in ("short", "warm") for value in range(3)
        ]
        assert all(record.asked == usual | {record.attribute: record.value} for record in steered)
        assert {record.policy for record in steered} == {policy}
        assert len({record.text for record in steered}) > 3
    shown = pd.read_csv(folder / "steering/tables/steering.csv")
    assert len(shown) == 3 * 2 * 3
    row = shown[(shown["policy"] == "iteration-1") & (shown["attribute"] == "short") & (shown["value"] == 2)].iloc[0]
    degrees = [r.degrees["short"] for r in steered if (r.attribute, r.value) == ("short", 2)]
    assert row["degree"] == pytest.approx(sum(degrees) / 3, abs=6e-5)
    assert len(pd.read_csv(folder / "steering/tables/steering_summary.csv")) == 3 * 2 * 2
    for name in ("steering.png", "steering.pdf"):
        assert (folder / "steering/figures" / name).stat().st_size > 5000
    page = (folder / "report.html").read_text()  # with the usual evaluation
    for shown in ("Steering <span", "Steering summary <span", 'alt="steering"', "Win rates <span", 'alt="win rate"'):
        assert page.count(shown) == 1


def test_the_second_iteration_learns_what_it_was_asked_for_behind_what_it_is(finished):
    folder = finished.folder / "results/quickstart"
    first = records.read(Label, folder / "iteration-1/labels.jsonl")
    occurring = {tuple(label.values.items()) for label in first}
    drawn = records.read(Example, folder / "iteration-2/responses.jsonl")
    assert {example.policy for example in drawn} == {"iteration-1"}
    assert not {e.query_id for e in drawn} & {
        e.query_id for e in records.read(Example, folder / "iteration-1/responses.jsonl")
    }
    asked = [response.asked for example in drawn for response in example.responses]
    assert len(asked) == 16
    assert {tuple(values.items()) for values in asked} <= occurring
    checks = {p.id: p.check for p in records.read(Principle, folder / "principles.jsonl") if p.id in ("short", "warm")}
    texts = [response.text for example in drawn for response in example.responses]
    found = [{name: round(2 * degree(check, text)) for name, check in checks.items()} for text in texts]
    labelled = records.read(Label, folder / "iteration-2/labels.jsonl")
    assert [label.values for label in labelled] == found
    queries = {query.id: query.text for query in records.read(Query, folder / "queries/train.jsonl")}
    asks = [queries[example.query_id] for example in drawn for _ in example.responses]
    expected = [
        (f"{ask}\n\n({label_string(own, {'short': WORDS})})", text)
        for ask, own, text in zip(asks, found, texts, strict=True)
        if text
    ]
    learned = records.read(TrainingExample, folder / "iteration-2/examples.jsonl")
    assert [(e.prompts[0][-1].content, e.responses[0].text) for e in learned] == expected
    counted = json.loads((folder / "iteration-2/examples.json").read_text())["as_asked"]
    pairs = list(zip(asked, found, strict=True))
    assert counted == {name: sum(a[name] == f[name] for a, f in pairs) for name in ("short", "warm")}
    assert "as_asked" not in json.loads((folder / "iteration-1/examples.json").read_text())


def test_what_the_second_iteration_is_asked_is_part_of_its_prompts_alone(finished):
    """A response of iteration 2 is what the policy draws behind query and label, by the sampler itself."""
    from sami.data.prompts import prompt_tokens
    from sami.models import pretrained
    from sami.sampling.factory import open_sampler
    from sami.sampling.sampler import Request
    from sami.settings.sampling import Sampling

    folder = finished.folder / "results/quickstart"
    queries = {query.id: query for query in records.read(Query, folder / "queries/train.jsonl")}
    drawn = records.read(Example, folder / "iteration-2/responses.jsonl")
    given = json.loads((folder / "iteration-2/responses.jsonl.provenance.json").read_text())["arguments"]
    prompts = load_yaml(ROOT / "config/tasks/everyday.yaml", Task).prompts
    texts = prompts, prompts.with_attributes, {"short": WORDS}
    tokenizer = pretrained.load_tokenizer(folder / "iteration-1/model")
    requests = []
    for example in drawn:
        for j, response in enumerate(example.responses):
            prompt = attributes_prompt(queries[example.query_id].text, response.asked, *texts)
            key = f"{given['seed']}-{example.query_id}-{example.set_id}-{j}"
            requests.append(Request(prompt_tokens(prompt, tokenizer), key))
    sampler = open_sampler("transformers", folder / "iteration-1/model", tokenizer, longest=400, tensor_parallel=1)
    made = sampler.generate(requests, Sampling(**given["sampling"]), given["stop"])
    assert [c.text for c in made] == [response.text for example in drawn for response in example.responses]


def test_experiments_that_agree_share_labels_and_what_the_base_model_makes_of_them(finished):
    jobs = finished.dry_run("shuffled")
    shared = {path for rule, path in jobs if rule == "share_results"}
    assert "shuffled/iteration-0/eval/steering.jsonl" in shared
    assert "shuffled/iteration-1/eval/steering.jsonl" not in shared
    assert (finished.folder / "results/shuffled/iteration-1/labels.jsonl").read_bytes() == (
        finished.folder / "results/quickstart/iteration-1/labels.jsonl"
    ).read_bytes()
    record = json.loads((finished.folder / "results/shuffled/iteration-1/labels.jsonl.provenance.json").read_text())
    assert record["original"]["stage"] == "label_responses"


def test_other_methods_have_no_steering(finished):
    overrides = finished.overrides
    settings = {**finished.settings, "method": "sft"}
    finished.overrides = finished.write(
        "sft.yaml", {**TINY, "experiments": {"quickstart": settings, "other": settings}}
    )
    jobs = finished.dry_run("other")
    finished.overrides = overrides
    assert {"sample_evaluation", "tabulate"} <= {rule for rule, _ in jobs}
    assert not any("steer" in rule or "steer" in path or "label" in path for rule, path in jobs)


def asked_again(finished, change: dict) -> set[tuple[str, str]]:
    """What a change of the method makes out of date: rule and output."""
    overrides, method = finished.overrides, finished.settings["method"]
    settings = {**finished.settings, "method": {**method, **change}}
    finished.overrides = finished.write("changed.yaml", {**TINY, "experiments": {"quickstart": settings}})
    jobs = finished.dry_run("quickstart")
    finished.overrides = overrides
    return jobs


def test_what_a_change_makes_out_of_date(finished):
    overrides = finished.overrides

    def rerun(**change) -> set[str]:
        settings = {**finished.settings, **change}
        finished.overrides = finished.write("changed.yaml", {**TINY, "experiments": {"quickstart": settings}})
        jobs = {rule for rule, _ in finished.planned("quickstart")} - {"all", "quickstart"}
        finished.overrides = overrides
        return jobs

    method = finished.settings["method"]
    steering = {"sample_steering", "tabulate_steering", "plot_steering", "build_report"}
    assert rerun() == set()
    second = {path for rule, path in asked_again(finished, {"asked": {"short": 0}}) if "iteration-" in path}
    assert {path.split("/")[1] for path in second} == {"iteration-2"}
    assert rerun(method={**method, "steering": {"queries": 2}}) == steering
    trained = {"train", "sample_evaluation", "score_responses", "score_relevance", "judge_responses", "tabulate"}
    changed = asked_again(finished, {"labels": "shuffled"})
    assert {"build_steerlm_examples", *trained} <= {rule for rule, _ in changed}
    assert not {
        path for _, path in changed if path.endswith(("iteration-1/responses.jsonl", "iteration-1/labels.jsonl"))
    }


def test_more_attributes_than_a_label_can_hold_are_told(project):
    """The label string alone would fill the context of a model that is on this machine."""
    folder = project.root / "resources/models/smollm2-135m-instruct"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 59}))
    found = message(project.check, quickstart())
    assert "found 6 attributes, whose label string has at least 12 tokens; with max_new_tokens = 48" in found
    assert "more than the context of 59 of the model 'smollm2-135m-instruct'" in found
    assert "Name fewer in 'method.attributes'" in found
    project.check(quickstart("{name: steerlm, attributes: [short]}"))


@pytest.fixture(scope="module")
def learned(tiny_source, tmp_path_factory):
    """A whole run of two iterations whose labels a model predicts."""
    workflow = Workflow(tmp_path_factory.mktemp("learned"), tiny_source)
    model = {"learning_rate": 1.0e-3, "epochs": 3, "queries_per_step": 1}
    settings = {
        "model": "tiny", "iterations": 2, "queries": {"train": 4}, "sampling": {"responses": 4},
        "method": {"name": "steerlm", "levels": 3, "attributes": ["short", "warm"], "labels": "model",
                   "attribute_model": model, "steering": {"queries": 3}},
        "training": {"objective": "supervised"},
    }  # fmt: skip
    workflow.overrides = workflow.write("learned.yaml", {**TINY, "experiments": {"quickstart": settings}})
    workflow.run("quickstart")
    return workflow


def test_a_model_that_learns_from_some_labels_predicts_those_of_all_responses(learned):
    from sami.distributed.processes import processes
    from sami.rewards.attribute_model import predicted
    from sami.rewards.reward_model import RewardModel

    folder = learned.folder / "results/quickstart"
    queries = {query.id: query for query in records.read(Query, folder / "queries/train.jsonl")}
    prompt = AttributeModel(learning_rate=1.0).prompt
    with processes() as group:
        model = RewardModel.load(folder / "attribute-model", learned.folder / "resources/models/tiny", "auto", group)
        assert model.outputs == ["short", "warm"]
        for iteration in (1, 2):
            drawn = records.read(Example, folder / f"iteration-{iteration}/responses.jsonl")
            found = records.read(Label, folder / f"iteration-{iteration}/labels.jsonl")
            assert found == list(predicted(model, drawn, queries, prompt, 3, 1024))
    table = pd.read_csv(folder / "labels/tables/label_agreement.csv").set_index("attribute")
    assert list(table.index) == ["short", "warm"]
    assert set(table["n_responses"]) == {2 * 4}  # of the two queries that are not labelled
    checks = {p.id: p.check for p in records.read(Principle, folder / "principles.jsonl") if p.id in ("short", "warm")}
    drawn = records.read(Example, folder / "iteration-1/responses.jsonl")
    known = {label.place: label.values for label in records.read(Label, folder / "iteration-1/labels.jsonl")}
    seed = json.loads((folder / "iteration-1/responses.jsonl.provenance.json").read_text())["arguments"]["seed"]
    labelled = labelled_queries(drawn, AttributeModel(learning_rate=1.0), seed)
    right = [
        known[(*e.key, n, e.policy)]["short"] == round(2 * degree(checks["short"], r.text))
        for e in drawn if e.query_id not in labelled for n, r in enumerate(e.responses)
    ]  # fmt: skip
    assert table.loc["short", "exact"] == pytest.approx(sum(right) / len(right), abs=6e-5)
    assert "Label agreement <span" in (folder / "report.html").read_text()
