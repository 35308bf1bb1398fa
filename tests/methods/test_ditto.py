"""DITTO: demonstrations and their errors, kinds of pairs and their shares, settings, and a run of three iterations."""

import itertools
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
from sami.data import demonstrations
from sami.data.principles import from_people
from sami.errors import UserError
from sami.judging.checks import degree
from sami.methods.ditto import counts, pair_examples, supervised_examples, wanted
from sami.records import Example, Message, Preference, Query, Response, TrainingExample
from sami.settings.methods import Ditto, Shares
from sami.settings.principles import PrincipleFile
from sami.settings.tasks import Filters, Prompts
from sami.settings.yaml_files import load_yaml
from sami.workflow.arguments import Arguments
from sami.workflow.inputs import Inputs
from sami.workflow.plan.rows import plan

SHIPPED = "config/demonstrations/everyday.jsonl"
PROMPTS = Prompts(
    style="chat",
    generation="{constitution} {query}",
    training="{constitution} {query}",
    without_constitution="Q: {query}",
)
QUERIES = [Query(id=name, task="t", text=f"{name}?") for name in ("a", "b")]


def sampling(policy: int, **texts: list[str]) -> list[Example]:
    """Responses of one policy, by query."""
    return [
        Example(
            query_id=query,
            set_id="s",
            constitution_ids=["c", "-c"],
            order=[0],
            responses=[
                Response(text=text, constitution=0, tokens=1, finish="end", token_ids=[7, place])
                for place, text in enumerate(found)
            ],
            policy=f"iteration-{policy}",
        )
        for query, found in texts.items()
    ]


def pairs(demonstrated: dict[str, list[str]], *samplings: list[Example], seed: int = 1, **shares):
    asked = [query for query in QUERIES if query.id in demonstrated]
    how = PROMPTS, "Q: {query}", Filters(forbidden=["["]), Shares(**shares), seed
    return pair_examples(asked, demonstrated, samplings, *how)


def told(made) -> dict[str, list[tuple[str, str, str]]]:
    """Query -> (kind, chosen text, rejected text) of its pairs."""
    return {
        example.query_id: [
            (pair.kind, example.responses[pair.chosen].text, example.responses[pair.rejected].text)
            for pair in example.pairs
        ]
        for example in made.examples
    }


ALL = {"online": 0.2, "replay": 0.4, "inter_model": 0.4}  # of one sampling and few responses: all pairs that there are


def test_before_the_second_sampling_all_pairs_are_online():
    made = pairs({"a": ["D"], "b": ["E", "F"]}, sampling(1, a=["x", "y"], b=["z"]))
    assert told(made) == {
        "a": [("online", "D", "x"), ("online", "D", "y")],
        "b": [("online", "E", "z"), ("online", "F", "z")],
    }
    assert made.kinds == Counter(online=4)
    first = made.examples[0]
    assert first.prompts == [[Message(role="user", content="Q: a?")]]
    assert [(r.text, r.source, r.ended, r.token_ids) for r in first.responses] == [
        ("D", "demonstrations", True, None),
        ("x", "iteration-1", True, [7, 0]),
        ("y", "iteration-1", True, [7, 1]),
    ]
    assert first.set_id is None
    assert first.labels == [0, 0, 0]
    assert all(pair.reference is None for example in made.examples for pair in example.pairs)


def test_kinds_of_all_pairs_of_three_samplings_by_hand():
    three = sampling(1, a=["x"]), sampling(2, a=["y"]), sampling(3, a=["z"])
    made = pairs({"a": ["D"]}, *three, **ALL)
    assert told(made) == {
        "a": [
            ("online", "D", "z"),
            ("replay", "D", "x"),
            ("replay", "D", "y"),
            # The one online pair asks for two pairs of each other kind: which of the three, the seed says.
            *[pair for pair in told(made)["a"] if pair[0] == "inter-model"],
        ]
    }
    possible = {("inter-model", "y", "x"), ("inter-model", "z", "x"), ("inter-model", "z", "y")}
    drawn = [set(told(pairs({"a": ["D"]}, *three, seed=seed, **ALL))["a"]) for seed in range(20)]
    for found in drawn:
        inter = {pair for pair in found if pair[0] == "inter-model"}
        assert len(inter) == 2
        assert inter < possible
    assert len({frozenset(found) for found in drawn}) == 3  # each two of three


@pytest.mark.parametrize(
    ("online", "expected"),
    [(42, (42, 12, 6)), (7, (7, 2, 1)), (21, (21, 6, 3)), (6, (6, 2, 1)), (1, (1, 0, 0))],
)
def test_shares_of_the_paper(online, expected):
    """42 pairs of 7 demonstrations and 6 responses are 70 % of 60."""
    assert tuple(wanted(online, Shares()).values()) == expected


def test_shares_are_of_all_queries_together():
    old, new = (sampling(t, a=[f"a{t}{k}" for k in range(7)], b=[f"b{t}{k}" for k in range(7)]) for t in (1, 2))
    made = pairs({"a": ["D"], "b": ["E"]}, old, new)
    assert made.kinds == {"online": 14, "replay": 4, "inter-model": 2}
    by_query = {name: Counter(kind for kind, _, _ in found) for name, found in told(made).items()}
    assert by_query["a"]["online"] == by_query["b"]["online"] == 7
    for example in made.examples:
        used = {place for pair in example.pairs for place in (pair.chosen, pair.rejected)}
        assert used == set(range(len(example.responses)))  # no response without a pair
        for pair in example.pairs:
            chosen, rejected = (example.responses[place].source for place in (pair.chosen, pair.rejected))
            kinds = {
                ("demonstrations", "iteration-2"): "online",
                ("demonstrations", "iteration-1"): "replay",
                ("iteration-2", "iteration-1"): "inter-model",
            }
            assert pair.kind == kinds[chosen, rejected]
    again, other = (pairs({"a": ["D"], "b": ["E"]}, old, new, seed=seed) for seed in (1, 2))
    assert again == made
    assert other.examples != made.examples
    none = pairs({"a": ["D"], "b": ["E"]}, old, new, online=0.875, replay=0, inter_model=0.125)
    assert none.kinds == {"online": 14, "inter-model": 2}


def test_two_demonstrations_of_one_query_are_both_preferred_and_not_compared():
    made = pairs({"a": ["D", "E"]}, sampling(1, a=["x"]), sampling(2, a=["y"]), **ALL)
    assert Counter(told(made)["a"]) == Counter(
        [("online", "D", "y"), ("online", "E", "y"), ("replay", "D", "x"), ("replay", "E", "x"),
         ("inter-model", "y", "x")]
    )  # fmt: skip
    (example,) = supervised_examples(QUERIES[:1], {"a": ["D", "E"]}, PROMPTS, "Q: {query}")
    assert [response.text for response in example.responses] == ["D", "E"]
    assert (example.labels, example.pairs) == ([0, 0], [])


def test_equal_texts_are_ties_and_unusable_responses_are_dropped():
    made = pairs({"a": ["D"]}, sampling(1, a=["y", "x"]), sampling(2, a=["D", "y", "", "[gap]"]), **ALL)
    assert set(told(made)["a"]) == {("online", "D", "y"), ("replay", "D", "y"), ("replay", "D", "x"),
                                    *(pair for pair in told(made)["a"] if pair[0] == "inter-model")}  # fmt: skip
    assert made.ties == 2  # the demonstration itself, and y over y
    assert made.dropped == {"empty response": 1, "forbidden mark": 1}
    assert counts(made, 1, "iteration-2") == {
        "sampled": 1,
        "kept": 1,
        "dropped": {"empty response": 1, "forbidden mark": 1},
        "pairs": 5,
        "kinds": {"online": 1, "replay": 2, "inter-model": 2},
        "ties": 2,
    }


def test_no_online_pair_is_told():
    made = pairs({"a": ["D"]}, sampling(1, a=["x"]), sampling(2, a=["D", ""]))
    with pytest.raises(UserError, match="iteration-2: no demonstration is in a pair .*: found 1 ties .*'empty resp"):
        counts(made, 1, "iteration-2")


def rows(*lines: object) -> str:
    return "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)


GOOD = {"query": "a?", "response": "A."}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (rows(GOOD, {"query": "b?", "response": ""}), ["line 2: field 'response': found '', expected a text. Write"]),
        (rows(GOOD, {"query": "b?", "response": " \n"}), ["line 2: field 'response': found ' \\n', expected"]),
        (rows(GOOD, {"query": "b?"}), ["line 2: field 'response': found none; the fields are: query, expected"]),
        (rows({"prompt": "a?", "response": "A."}), ["line 1: field 'query': found none; the fields are: prompt, resp"]),
        (rows({"query": 7, "response": "A."}), ["line 1: field 'query': found 7, expected a text"]),
        (rows(GOOD, "\n", GOOD), ["line 3: found the query and the response of line 1 again, expected each demonstr"]),
        (rows("\n"), ["found no demonstration, expected lines with the fields 'query' and 'response'"]),
        (rows("{"), ["line 1: not valid JSON"]),
    ],
)
def test_wrong_demonstrations_are_told(tmp_path, text, parts):
    (tmp_path / "d.jsonl").write_text(text)
    found = message(demonstrations.read, tmp_path / "d.jsonl")
    assert found.startswith(f"{tmp_path}/d.jsonl")
    for part in parts:
        assert part in found


def test_demonstrations_of_one_query_have_one_record(tmp_path):
    (tmp_path / "d.jsonl").write_text(
        rows({"query": " a? ", "response": "A.\n", "author": "me"}, {"query": "b?", "response": "B."},
             {"query": "a?", "response": "Other."})
    )  # fmt: skip
    found = demonstrations.read(tmp_path / "d.jsonl")
    assert found == [("a?", "A."), ("b?", "B."), ("a?", "Other.")]
    queries = demonstrations.queries(found, "t")
    assert [(query.id, query.text) for query in queries] == [("demonstrated-001", "a?"), ("demonstrated-002", "b?")]
    assert demonstrations.by_query(found, queries, "d") == {
        "demonstrated-001": ["A.", "Other."],
        "demonstrated-002": ["B."],
    }
    for file, asked in ((found, queries[:1]), (found[:1], queries)):
        with pytest.raises(UserError, match="d: found .* Make the queries again"):
            demonstrations.by_query(file, asked, "d")


def test_what_is_shipped_is_demonstrated_by_each():
    """The checks of the constitution that the policies are judged by find both principles in every demonstration."""
    principles = from_people(
        load_yaml(ROOT / "config/constitutions/everyday-demonstrated.yaml", PrincipleFile), "human"
    )
    for shown in demonstrations.read(ROOT / SHIPPED):
        assert [degree(principle.check, shown.response) for principle in principles] == [1.0, 1.0], shown


def ditto(**settings) -> Ditto:
    return Ditto.model_validate(
        {"name": "ditto", "demonstrations": SHIPPED, "fine_tuning": {"learning_rate": 1e-5, "epochs": 9}} | settings
    )


def test_iterations_are_fine_tuning_and_then_samplings_with_pairs(project):
    training = project.load().experiments["quickstart"].training
    sft = training.model_copy(update={"reference": "sft", "start_from": "previous", "normalisation": "sum"})
    method = ditto()
    assert [method.samples(t) for t in (1, 2, 3)] == [method.makes_pairs(t) for t in (1, 2, 3)] == [False, True, True]
    assert [method.sampled_policy(t) for t in (2, 3)] == [1, 2]
    assert [method.start(t, sft) for t in (1, 2, 3)] == [0, 1, 2]
    assert [method.reference(t, sft) for t in (1, 2, 3)] == [0, 1, 1]
    assert [method.reference(t, sft.model_copy(update={"reference": "previous"})) for t in (1, 2, 3)] == [0, 1, 2]
    first = method.training_of(1, sft)
    assert (first.objective.name, first.normalisation, first.learning_rate, first.epochs) == (
        "supervised", "mean", 1e-5, 9,
    )  # fmt: skip
    assert (first.queries_per_step, first.stop_at_loss) == (4, 1.0)
    assert method.training_of(2, sft) == sft
    assert method.paired_iterations(5) == [2, 3, 4, 5]
    assert [ditto(replay=2).paired_iterations(t) for t in (2, 3, 4, 5)] == [[2], [2, 3], [2, 3, 4], [3, 4, 5]]
    # One demonstration, six current responses, and at most an older one for each of the 18/7 further pairs.
    assert [method.responses_learned(t, 6) for t in (1, 2, 3, 4)] == [1, 7, 10, 10]


def quickstart(method: str = "", more: str = "", objective: str = "preference") -> str:
    keys = f"name: ditto, demonstrations: {SHIPPED}, fine_tuning: {{learning_rate: 1.0e-5, epochs: 9}}"
    fixed = f"training: {{objective: {objective}, reference: sft}}, sampling: {{responses: 6}}, queries: {{train: 7}}"
    return f"experiments: {{quickstart: {{method: {{{method or keys}}}, {fixed}{more}}}}}"


FINE = "fine_tuning: {learning_rate: 1.0e-5, epochs: 9}"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (quickstart(f"name: ditto, {FINE}"), ["method.demonstrations", "missing"]),
        (quickstart(f"name: ditto, demonstrations: {SHIPPED}"), ["method.fine_tuning", "missing"]),
        (quickstart(objective="supervised"), ["'training.objective' is supervised, for which the method 'ditto'"]),
        (
            quickstart(f"name: ditto, demonstrations: x, {FINE}, shares: {{replay: 0}}"),
            ["method.shares", "add up to 0.8, expected 1"],
        ),
        (
            quickstart(f"name: ditto, demonstrations: x, {FINE}, shares: {{online: 0, replay: 0.9}}"),
            ["method.shares.online: found 0"],
        ),
        (quickstart(f"name: ditto, demonstrations: x, {FINE}, replay: 0"), ["method.replay: found 0", "at least 1"]),
        (quickstart("name: sami, replay: 1"), ["the key 'replay', which belongs to the method ditto"]),
    ],
)
def test_wrong_settings_are_told(project, text, parts):
    found = message(project.load, text)
    assert found.startswith("mine.yaml, line 1: experiments.quickstart")
    for part in parts:
        assert part in found


def test_what_does_not_fit_is_told_before_anything_runs(project, caplog):
    project.check(quickstart())
    assert caplog.text == ""
    found = message(project.check, quickstart().replace("train: 7", "train: 64"))
    assert found.startswith("mine.yaml, line 1: experiments.quickstart.queries.train: found 64, expected 7, the number")
    found = message(project.check, quickstart().replace(SHIPPED, "nowhere.jsonl"))
    assert found.startswith("mine.yaml, line 1: experiments.quickstart.method.demonstrations: nowhere.jsonl: no such f")
    shown = (project.root / SHIPPED).read_text()
    held_out = [json.loads(line)["text"] for line in (project.root / "config/queries/everyday-eval.jsonl").open()]
    project.write(SHIPPED, shown.replace("How do you get rid of hiccups?", held_out[3].upper()))
    found = message(project.check, quickstart())
    assert found.startswith(f"{SHIPPED}, config/queries/everyday-eval.jsonl: query 'everyday-eval-")
    assert "is held out, but the query 'demonstrated-001' of another split is the same" in found
    several = [{"query": "One?", "response": f"{n}."} for n in range(9)]
    project.write(SHIPPED, rows(*several))
    project.check(quickstart().replace("train: 7", "train: 1"))
    assert caplog.text == ""
    project.write(SHIPPED, rows(*several, {"query": "Two?", "response": "2."}))
    project.check(quickstart().replace("train: 7", "train: 2"))
    assert "10 demonstrations; the method 'ditto' is made for fewer than ten" in caplog.text


def test_a_task_without_a_bare_prompt_is_told(project):
    task = yaml.safe_load((project.root / "config/tasks/everyday.yaml").read_text())
    task["prompts"].pop("without_constitution")
    project.write("config/tasks/everyday.yaml", yaml.safe_dump(task))
    assert "prompts.without_constitution: found null" in message(project.check, quickstart())


def test_every_iteration_asks_the_same_queries_alone_and_draws_other_responses(project):
    loaded = project.load(quickstart(more=", iterations: 4"))
    arguments, inputs = Arguments(loaded), Inputs(loaded)
    for t, first in ((2, ""), (3, " --first-response 6"), (4, " --first-response 12")):
        found = arguments.training_samples("quickstart", str(t))
        assert f"--policy iteration-{t - 1} --first 0 --count 7 --under positive --template '{{query}}'{first}" in found
        assert found.endswith(first or "'{query}'")
    assert inputs.training_queries("quickstart") == "results/quickstart/queries/demonstrated.jsonl"
    assert Inputs(project.load()).training_queries("quickstart") == "results/quickstart/queries/train.jsonl"
    usual = Arguments(project.load()).training_samples("quickstart", "2")
    assert usual.endswith("--policy iteration-1 --first 64 --count 64 --under all")  # as it always was


def test_plan(project):
    found = {
        (row.stage, row.of): row for row in plan(project.load(quickstart(more=", iterations: 3")), ["quickstart"])[0]
    }
    for stage in ("sample_responses", "score_reference"):
        assert {of for name, of in found if name == stage} == {"iteration-2", "iteration-3"}
    assert found["sample_responses", "iteration-2"].new_tokens == 7 * 6 * 42
    first, second, third = (found["train", f"iteration-{t}"].prompt_tokens for t in (1, 2, 3))
    bare = first / 7 / 9  # an example has one prompt with one demonstration; behind it 7 and then 10 responses
    assert second / 7 == pytest.approx(bare + 6 * 42)
    assert third / 7 == pytest.approx(bare + 9 * 42)
    rlcd = project.load("experiments: {quickstart: {method: rlcd, iterations: 3, training: {objective: preference}}}")
    usual = {(row.stage, row.of): row for row in plan(rlcd, ["quickstart"])[0]}
    assert found["light", ""].jobs == usual["light", ""].jobs + 1  # the queries of demonstrations


def test_the_arms_that_are_shipped_differ_in_one_thing_each(monkeypatch):
    from sami.workflow.configuration import load
    from sami.workflow.preflight import Purpose, check

    monkeypatch.chdir(ROOT)
    loaded = load(["config/config.yaml", "config/methods/ditto.yaml"])
    check(loaded, loaded.root.run, Purpose.PLAN)
    arms = {name: loaded.experiments[name] for name in ("ditto", "fine-tuned", "reference-updated", "no-replay")}
    whole = arms["ditto"]
    assert (whole.training.objective.beta, whole.training.reference, whole.method.shares) == (0.05, "sft", Shares())
    assert arms["fine-tuned"].model_copy(update={"iterations": whole.iterations}) == whole
    training = whole.training.model_copy(update={"reference": "previous"})
    assert arms["reference-updated"] == whole.model_copy(update={"training": training})
    shares = Shares(online=0.875, replay=0, inter_model=0.125)
    method = whole.method.model_copy(update={"shares": shares})
    assert arms["no-replay"] == whole.model_copy(update={"method": method})
    assert shares.online / shares.inter_model == pytest.approx(whole.method.shares.online / 0.1)


@pytest.fixture(scope="module")
def finished(tiny_source, tmp_path_factory):
    """Fine-tuning and two samplings, with two demonstrations of one query."""
    workflow = Workflow(tmp_path_factory.mktemp("ditto"), tiny_source)
    shown = [("One?", "I am one."), ("Two?", "I am two."), ("One?", "I was one."), ("Three?", "I am three.")]
    (workflow.folder / "mine.jsonl").write_text(rows(*({"query": q, "response": r} for q, r in shown)))
    workflow.settings = {
        "model": "tiny",
        "iterations": 3,
        "queries": {"train": 3},
        "method": {
            "name": "ditto",
            "demonstrations": "mine.jsonl",
            "fine_tuning": {"learning_rate": 1e-3, "epochs": 50, "queries_per_step": 3, "stop_at_loss": 5.0},
        },
        "sampling": {"responses": 4, "temperature": 1.0},
        "training": {
            "objective": {"name": "preference", "beta": 0.05}, "normalisation": "sum", "score_end_token": True,
            "start_from": "previous", "reference": "sft", "epochs": 2, "queries_per_step": 3, "warmup_steps": 0,
        },
    }  # fmt: skip
    workflow.overrides = workflow.write("ditto.yaml", {**TINY, "experiments": {"quickstart": workflow.settings}})
    workflow.run("results/quickstart/iteration-3/model")
    return workflow


def of_run(workflow, kind, path):
    return records.read(kind, workflow.folder / "results/quickstart" / path)


def steps(workflow, t):
    file = workflow.folder / f"results/quickstart/iteration-{t}/training.jsonl"
    return [json.loads(line) for line in file.open()]


def test_a_run_fine_tunes_until_the_loss_is_low_and_begins_pairs_at_log_2(finished):
    first, second, third = (steps(finished, t) for t in (1, 2, 3))
    assert 1 < len(first) < 50
    assert all(step["loss"] > 5 for step in first[:-1])
    assert first[-1]["loss"] <= 5
    assert {step["learning_rate"] for step in first} == {1e-3}
    # Policy 1 is the start of iteration 2 and the reference of all; policy 2 is the start of iteration 3 alone.
    assert second[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert third[0]["loss"] < math.log(2) - 1e-3
    assert third[0]["chosen_reward"] != pytest.approx(0, abs=1e-3)
    for t, start in ((2, 1), (3, 2)):
        folder = finished.folder / f"results/quickstart/iteration-{t}"
        trained = json.loads((folder / "model/provenance.json").read_text())["inputs"]
        assert list(trained["start"]) == [f"results/quickstart/iteration-{start}/model"]
        assert list(trained["reference"]) == ["results/quickstart/iteration-1/model"]
        scored = json.loads((folder / "examples.jsonl.provenance.json").read_text())["inputs"]
        assert list(scored["model"]) == ["results/quickstart/iteration-1/model"]


def test_a_run_samples_the_queries_of_the_demonstrations_from_each_policy(finished):
    queries = of_run(finished, Query, "queries/demonstrated.jsonl")
    assert [query.text for query in queries] == ["One?", "Two?", "Three?"]
    assert not (finished.folder / "results/quickstart/iteration-1/responses.jsonl").exists()
    (learned, *_), *_ = made = [of_run(finished, TrainingExample, f"iteration-{t}/examples.jsonl") for t in (1, 2, 3)]
    assert [response.text for response in learned.responses] == ["I am one.", "I was one."]
    assert [len(found) for found in made] == [3, 3, 3]
    for example in made[0]:
        assert example.pairs == []
    drawn = {t: of_run(finished, Example, f"iteration-{t}/responses.jsonl") for t in (2, 3)}
    for t, examples in drawn.items():
        assert [example.query_id for example in examples] == [query.id for query in queries]
        assert {example.policy for example in examples} == {f"iteration-{t - 1}"}
        assert {len(example.responses) for example in examples} == {4}
    for t in (2, 3):
        (one, *_) = made[t - 1]
        assert [message.content for message in one.prompts[0] if message.role == "user"] == ["One?"]


def test_pairs_of_a_run_are_those_of_all_responses_so_far(finished):
    """Against a slow listing of all that is above something else."""
    drawn = [of_run(finished, Example, f"iteration-{t}/responses.jsonl") for t in (2, 3)]
    shown = {"demonstrated-001": ["I am one.", "I was one."], "demonstrated-002": ["I am two."],
             "demonstrated-003": ["I am three."]}  # fmt: skip
    for t in (2, 3):
        files = (f"iteration-{t}/{name}.jsonl" for name in ("pairs", "examples"))
        made, scored = (of_run(finished, TrainingExample, file) for file in files)
        found = Counter(
            (example.query_id, pair.kind, example.responses[pair.chosen].text, example.responses[pair.rejected].text)
            for example in made
            for pair in example.pairs
        )
        possible = Counter()
        for query, demonstrated in shown.items():
            ranking = [[r.text for e in sampling if e.query_id == query for r in e.responses if r.text]
                       for sampling in drawn[: t - 1]] + [demonstrated]  # fmt: skip
            for (low, below), (high, above) in itertools.combinations(enumerate(ranking), 2):
                kind = "inter-model" if high < t - 1 else "online" if low == t - 2 else "replay"
                for chosen, rejected in itertools.product(above, below):
                    possible[query, kind, chosen, rejected] += chosen != rejected
        assert found <= possible
        by_kind, all_kinds = Counter(), Counter()
        for counter, sums in ((found, by_kind), (possible, all_kinds)):
            for (_, kind, _, _), number in counter.items():
                sums[kind] += number
        assert by_kind["online"] == all_kinds["online"] > 10
        if t == 3:
            assert by_kind["replay"] == round(by_kind["online"] * 2 / 7)
            assert by_kind["inter-model"] == round(by_kind["online"] / 7)
        counted = json.loads((finished.folder / f"results/quickstart/iteration-{t}/examples.json").read_text())
        assert {kind: number for kind, number in counted["kinds"].items() if number} == by_kind
        assert [without_reference(example) for example in scored] == made
        assert all(pair.reference for example in scored for pair in example.pairs)
        assert ("demonstrated-001", "online", "I was one.") in {key[:3] for key in found}


def without_reference(example: TrainingExample) -> TrainingExample:
    bare: list[Preference] = [pair.model_copy(update={"reference": None}) for pair in example.pairs]
    return example.model_copy(update={"pairs": bare})


def test_what_a_change_makes_out_of_date(finished):
    target = "results/quickstart/iteration-3/model"

    def rerun(**change) -> set[tuple[str, str]]:
        settings = {**finished.settings, **change}
        finished.overrides = finished.write("changed.yaml", {**TINY, "experiments": {"quickstart": settings}})
        return {(rule, t) for rule, t in finished.planned(target) if rule not in ("all", "")}

    method, training = finished.settings["method"], finished.settings["training"]
    assert rerun() == set()
    assert rerun(training={**training, "epochs": 1}) >= {("train", "2"), ("train", "3")}
    assert ("train", "1") not in rerun(training={**training, "epochs": 1})  # fine-tuning has its own
    shares = {"online": 0.875, "replay": 0, "inter_model": 0.125}
    changed = rerun(method={**method, "shares": shares})
    assert ("build_ditto_examples", "3") in changed
    assert not {"train", "sample_responses"} & {rule for rule, t in changed if t == "1"}
    assert {rule for rule, _ in changed} == {"build_ditto_examples", "score_reference", "train", "sample_responses"}
