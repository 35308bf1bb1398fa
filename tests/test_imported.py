"""Released responses: their texts arrive whole, under ids that fit together; what does not fit is one clear error."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, SHARED_DATA
from workflow_project import Project

from sami import imported, records
from sami.configuration import load, merge
from sami.constitutions import build
from sami.errors import UserError
from sami.preflight import check
from sami.principles import from_people
from sami.principles import load as load_principles
from sami.settings import Constitutions

PAPER = ROOT / "config/paper/released-tldr.yaml"
EXPERIMENT = yaml.safe_load(PAPER.read_text())["experiments"]["released-tldr"]
BRIEF = "Summaries should be brief and to the point, avoiding unnecessary details."
THOROUGH = "Summaries should be thorough and include all important information from the original post."
INCOMPLETE = "Summaries should be incomplete and omit important information."
RELEASED = {  # the third question is the first one again
    "constitution": {
        "0": f"1. {BRIEF} \n2. {THOROUGH}",
        "1": f"1. {THOROUGH}\n2. {BRIEF}",
        "2": f"{BRIEF}\n{THOROUGH}",
    },
    "question": {"0": "POST: My  {cat} is\nill.", "1": "POST: Über alles 🐈", "2": "post: my {cat} is ill."},
    "response": {"0": "A cat\n\n is ill. ", "1": "", "2": "Ill."},
}


@pytest.fixture(scope="module")
def constitutions():
    settings = Constitutions(writer="human", principles="x", per_set=2, statements=2, negate="all")
    return build(from_people(load_principles(ROOT / "config/constitutions/tldr-mistral.yaml"), "human"), settings, 1)


def write(path: Path, **changes) -> Path:
    """RELEASED with other entries for some of its keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(merge(RELEASED, changes)), encoding="utf-8")
    return path


def with_words(*counts: int) -> dict[str, str]:
    """Responses to the three questions with so many words."""
    return {str(index): " ".join(["word"] * count) for index, count in enumerate(counts)}


def test_texts_ids_and_order(tmp_path, constitutions):
    first, second = write(tmp_path / "a.json"), write(tmp_path / "b.json", response=with_words(1, 2, 3))
    queries = imported.queries(first, "tldr", 2)
    assert queries == imported.queries(second, "tldr", 2)
    assert [query.text for query in queries] == [RELEASED["question"][i] for i in "01"]
    assert [query.meta["index"] for query in queries] == ["0", "1"]
    examples = imported.examples(first, queries, constitutions, "iteration-0")
    assert [example.query_id for example in examples] == [query.id for query in queries]
    assert [example.responses[0].text for example in examples] == [RELEASED["response"][i] for i in "01"]
    assert [example.order for example in examples] == [[0, 1], [1, 0]]
    for example, released in zip(examples, RELEASED["constitution"].values(), strict=False):
        (constitution,) = [c for c in constitutions if [c.id] == example.constitution_ids]
        assert (constitution.positive, constitution.set_id) == (True, example.set_id)
        lines = [f"{n}. {constitution.statements[i].text}" for n, i in enumerate(example.order, 1)]
        assert lines == [line.strip() for line in released.splitlines()]
    records.write(examples, tmp_path / "examples.jsonl")
    assert records.read(records.Example, tmp_path / "examples.jsonl") == examples


def test_another_file_order_changes_no_id(tmp_path, constitutions):
    backwards = {key: dict(reversed(value.items())) for key, value in RELEASED.items()}
    file = tmp_path / "backwards.json"
    file.write_text(json.dumps(backwards))
    queries = imported.queries(write(tmp_path / "a.json"), "tldr", 2)
    assert {query.id for query in imported.queries(file, "tldr", 2)} == {query.id for query in queries}
    examples = imported.examples(file, queries, constitutions, "iteration-1")
    assert [example.responses[0].text for example in examples] == ["Ill.", ""]  # the first of a question counts


@pytest.mark.parametrize(
    ("changes", "where", "told"),
    [
        ({"question": None}, "question", "found nothing (null), expected a mapping"),
        ({"response": ["a"]}, "response", "found a list of 1, expected a mapping"),
        ({"response": {"1": 7}}, "response.1", "found 7 (a whole number), expected text"),
        ({"question": {"1": ""}}, "question.1", "found empty text, expected text that is not empty"),
        ({"answers": {}}, "answers", "found the unknown key 'answers', expected one of: constitution, question"),
        ({"response": {"7": "more"}}, "", "'question' and 'response' have different indices: found 1 in one of"),
        ({"constitution": {"7": BRIEF}}, "", "'question' and 'constitution' have different indices"),
        ({"question": {"0": "a", "2": "A"}}, "", "expected at least 3, which is 'queries.eval'"),
        ({"constitution": {"1": f"{THOROUGH} {BRIEF}"}}, "constitution.1", "found the statement 'Summaries should be"),
        ({"constitution": {"1": f"1. {BRIEF}\n2. Be kind."}}, "constitution.1", "found the statement 'Be kind.'"),
        ({"constitution": {"1": f"1. {BRIEF}\n2. {INCOMPLETE}"}}, "constitution.1", "stand together in none of the"),
        ({"constitution": {"1": ""}}, "constitution.1", "stand together in none of the experiment's constitutions"),
    ],
)  # fmt: skip
def test_bad_content_is_one_error(tmp_path, constitutions, changes, where, told):
    changes = merge({"question": {"2": "another"}}, changes)
    file = write(tmp_path / "bad.json", **changes)
    with pytest.raises(UserError) as caught:
        imported.examples(file, imported.queries(file, "tldr", 3), constitutions, "iteration-0")
    assert str(caught.value).startswith(": ".join(filter(None, [str(file), where])))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read (No such file or directory)"),
        (b"[1, 2", "not JSON in UTF-8 (Expecting ',' delimiter: line 1 column 6"),
        (b'{"question": "\xff"}', "not JSON in UTF-8 ('utf-8' codec can't decode byte 0xff"),
        (b"[]", "found an empty list, expected a mapping with the keys constitution, question, response"),
        (b'{"question": {}, "response": {}}', "constitution: this key is missing"),
    ],
)
def test_bad_files_are_one_error(tmp_path, content, told):
    file = tmp_path / "bad.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        imported.queries(file, "tldr", 1)
    assert str(caught.value).startswith(str(file))


def test_file_of_other_questions(tmp_path, constitutions):
    queries = imported.queries(write(tmp_path / "a.json"), "tldr", 2)
    other = write(tmp_path / "b.json", question={"1": "Something else"})
    with pytest.raises(UserError, match="b.json: found no response to the question 'POST: Über alles 🐈'"):
        imported.examples(other, queries, constitutions, "iteration-1")


@pytest.mark.skipif(not (SHARED_DATA / "sami-tldr-released").is_dir(), reason="the released files are not here")
def test_real_files(constitutions):
    settings = imported.Imported.model_validate(
        EXPERIMENT["imported"] | {"folder": str(SHARED_DATA / "sami-tldr-released")}
    )
    asked = imported.queries(imported.file_of(settings, "iteration-0"), "tldr", EXPERIMENT["queries"]["eval"])
    assert len(asked) == 250
    for policy in settings.policies:
        file = imported.file_of(settings, policy)
        released = json.loads(file.read_text())
        assert imported.queries(file, "tldr", 250) == asked
        assert [query.text for query in asked] == list(released["question"].values())
        examples = imported.examples(file, asked, constitutions, policy)
        assert [example.responses[0].text for example in examples] == list(released["response"].values())
        assert Counter(tuple(example.order) for example in examples) == {(0, 1): 118, (1, 0): 132}
        assert {tuple(example.constitution_ids) for example in examples} == {("concise+comprehensive",)}


# --- in an experiment -------------------------------------------------------------------------------------------------

SMALL = merge(EXPERIMENT, {"queries": {"eval": 2}, "evaluation": {"judges": ["checks"]}}) | {
    "imported": {
        "folder": "data",
        "policies": {"iteration-0": "base.json", "iteration-1": "one.json", "instruct": "chat.json"},
    }
}


def make_folder(folder: Path) -> Path:
    for name, counts in (("base", (90, 90, 1)), ("one", (40, 90, 1)), ("chat", (60, 60, 1))):
        write(folder / f"{name}.json", response=with_words(*counts))
    return folder


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """A function that lays changes over the small experiment and checks the whole configuration before it runs."""
    monkeypatch.chdir(tmp_path)
    Path("config").symlink_to(ROOT / "config")
    make_folder(tmp_path / "data")

    def run(**changes):
        mine = {"run": ["mine"], "experiments": {"mine": merge(SMALL, changes)}}
        Path("mine.yaml").write_text(yaml.safe_dump(mine, sort_keys=False))
        check(load(["config/config.yaml", "mine.yaml"]), ["mine"])

    return run


def test_nothing_that_only_training_needs_is_asked_for(checked):
    checked(model="no-such-model", training={"lora": {"rank": 4, "alpha": 8}}, engine={"trackers": ["wandb"]})


@pytest.mark.parametrize(
    ("changes", "key", "told"),
    [
        ({"imported": {"folder": "nowhere"}}, "imported.folder", '"nowhere" (text), but there is no such folder'),
        ({"imported": {"policies": {"instruct": "x.json"}}}, "imported.policies.instruct", "x.json: cannot be read"),
        ({"queries": {"eval": 3}}, "imported.policies.iteration-0", "found 2 different questions, expected at least 3"),
        ({"constitutions": {"statements": 1}}, "imported.policies.iteration-0", "constitution.0: found '1. Summaries"),
        (
            {"constitutions": {"writer": "smollm2", "principles": "everyday-behaviours"}},
            "constitutions.writer",
            "found 'smollm2', a writer of kind local, expected one of kind human",
        ),
    ],
)
def test_obstacles_are_named_before_anything_runs(checked, changes, key, told):
    with pytest.raises(UserError) as caught:
        checked(**changes)
    assert re.match(rf"mine\.yaml, line \d+: experiments\.mine\.{re.escape(key)}: ", str(caught.value))
    assert told in str(caught.value)


def test_file_about_other_posts_is_named_with_its_policy(checked, tmp_path):
    write(tmp_path / "data/chat.json", question={"1": "Something else"})
    with pytest.raises(UserError, match=r"imported\.policies\.instruct: .*chat\.json: found no response"):
        checked()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with an experiment of imported responses and without a model; its folder has a space in its name."""
    overrides = {"run": ["mine"], "experiments": {"mine": SMALL}}
    project = Project(tmp_path_factory.mktemp("imported"), Path("no-such-model"), overrides)
    make_folder(project.folder / "made up")
    project.folder_given = "--config", "experiments={mine: {imported: {folder: made up}}}"
    return project


def test_plan_has_no_job_of_sampling_training_or_information(project):
    planned = {rule for rule, _ in project.planned(*project.folder_given)}
    assert planned == {
        "all", "import_queries", "write_principles", "build_constitutions", "import_responses", "judge_responses",
        "tabulate", "plot_imported_figures", "build_report",
    }  # fmt: skip


def test_workflow_runs_to_verdicts(project):
    comparisons = [
        ("iteration-1", "base", [1.0, 0.5]),
        ("instruct", "base", [1.0, 1.0]),
        ("iteration-1", "instruct", [1.0, 0.0]),
    ]
    targets = [f"results/mine/{policy}/eval/verdicts-checks-vs-{other}.jsonl" for policy, other, _ in comparisons]
    project.run(*targets, *project.folder_given)
    for target, (policy, other, preferences) in zip(targets, comparisons, strict=True):
        verdicts = records.read(records.Verdict, project.folder / target)
        assert [verdict.preference for verdict in verdicts] == preferences
        assert {(v.policy, v.comparator) for v in verdicts} == {(policy, other.replace("base", "iteration-0"))}
        assert all(verdict.first_degrees.keys() == {"concise"} for verdict in verdicts)  # the other has no check
