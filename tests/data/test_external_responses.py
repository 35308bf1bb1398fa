"""Released responses: their texts arrive whole, under ids that fit together; what does not fit is one clear error."""

import argparse
import hashlib
import http.server
import json
import re
import shutil
import socket
import threading
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, SHARED_DATA
from workflow_project import Project

from sami import records
from sami.data import authors_format, downloads, external_responses
from sami.data.constitutions import build, by_set, empty_examples
from sami.data.principles import from_people
from sami.data.principles import load as load_principles
from sami.errors import UserError
from sami.settings.principles import Constitutions
from sami.settings.yaml_files import merge
from sami.stages import fetch_responses
from sami.workflow.configuration import load
from sami.workflow.preflight import check

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
    queries = authors_format.queries(first, "tldr", 2)
    assert queries == authors_format.queries(second, "tldr", 2)
    assert [query.text for query in queries] == [RELEASED["question"][i] for i in "01"]
    assert [query.meta["index"] for query in queries] == ["0", "1"]
    examples = authors_format.examples(first, queries, constitutions, "iteration-0")
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


def test_a_file_as_an_editor_or_a_cut_text_leaves_it(tmp_path, constitutions):
    cut = {"question": {"0": "POST: cut \ud83d"}, "response": {"0": "\ud83d"}}
    file = write(tmp_path / "a [1]*.json", **cut)
    file.write_text(file.read_text(), encoding="utf-8-sig")
    queries = authors_format.queries(file, "tldr", 2)
    examples = authors_format.examples(file, queries, constitutions, "iteration-0")
    assert (queries[0].text, examples[0].responses[0].text) == ("POST: cut \ufffd", "\ufffd")
    asked = own(constitutions, "cut \ufffd")
    (made,) = external_responses.match(file, external_responses.read(file), *asked, "released", "positive")
    assert made.responses[0].text == "\ufffd"
    records.write(examples, tmp_path / "examples.jsonl")
    assert records.read(records.Example, tmp_path / "examples.jsonl") == examples


def test_another_file_order_changes_no_id(tmp_path, constitutions):
    backwards = {key: dict(reversed(value.items())) for key, value in RELEASED.items()}
    file = tmp_path / "backwards.json"
    file.write_text(json.dumps(backwards))
    queries = authors_format.queries(write(tmp_path / "a.json"), "tldr", 2)
    assert {query.id for query in authors_format.queries(file, "tldr", 2)} == {query.id for query in queries}
    examples = authors_format.examples(file, queries, constitutions, "iteration-1")
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
        authors_format.examples(file, authors_format.queries(file, "tldr", 3), constitutions, "iteration-0")
    assert str(caught.value).startswith(": ".join(filter(None, [str(file), where])))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "no such file"),
        (b"[1, 2", "line 1: not valid JSON (Expecting ',' delimiter at column 6)"),
        (b'{"question": "\xff"}', "line 1: not UTF-8 text (found the byte 0xff)"),
        (json.dumps(RELEASED).encode("utf-16"), "found text in UTF-16, expected UTF-8"),
        (b'{"question": {"0": "a", "0": "b"}}', "the key '0' stands twice in one object"),
        (
            b'{"constitution": {"0": "c"}, "question": {"0": "q"}, "response": {"0": NaN}}',
            "response.0: found nothing (null), expected text",
        ),
        (b"[]", "found an empty list, expected a mapping with the keys constitution, question, response"),
        (b'{"question": {}, "response": {}}', "constitution: this key is missing"),
    ],
)
def test_bad_files_are_one_error(tmp_path, content, told):
    file = tmp_path / "bad.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(told)) as caught:
        authors_format.queries(file, "tldr", 1)
    assert str(caught.value).startswith(str(file))


def test_file_of_other_questions(tmp_path, constitutions):
    queries = authors_format.queries(write(tmp_path / "a.json"), "tldr", 2)
    other = write(tmp_path / "b.json", question={"1": "Something else"})
    with pytest.raises(UserError, match="b.json: found no response to the question 'POST: Über alles 🐈'"):
        authors_format.examples(other, queries, constitutions, "iteration-1")


@pytest.mark.skipif(not (SHARED_DATA / "sami-tldr-released").is_dir(), reason="the released files are not here")
def test_real_files(constitutions):
    folder = SHARED_DATA / "sami-tldr-released"
    files = {name: folder / file for name, file in EXPERIMENT["external"]["policies"].items()}
    asked = authors_format.queries(files["iteration-0"], "tldr", EXPERIMENT["queries"]["eval"])
    assert len(asked) == 250
    posts = {query.id: query.model_copy(update={"text": query.text.removeprefix("POST: ")}) for query in asked}
    known = {constitution.id: constitution for constitution in constitutions}
    ours = empty_examples(list(posts), by_set(constitutions), None, "iteration-0", 1, True)
    for policy, file in files.items():
        released = json.loads(file.read_text())
        assert authors_format.queries(file, "tldr", 250) == asked
        assert [query.text for query in asked] == list(released["question"].values())
        examples = authors_format.examples(file, asked, constitutions, policy)
        assert [example.responses[0].text for example in examples] == list(released["response"].values())
        assert Counter(tuple(example.order) for example in examples) == {(0, 1): 118, (1, 0): 132}
        assert {tuple(example.constitution_ids) for example in examples} == {("concise+comprehensive",)}
        # The same responses, found from posts as the dataset has them.
        assert (
            external_responses.match(file, external_responses.read(file), ours, posts, known, policy, "positive")
            == examples
        )


# --- beside the policies of an experiment that trains -----------------------------------------------------------------


def own(constitutions, *texts: str, responses: int | None = None):
    """What an experiment asks about some posts: queries, constitutions and examples, as `match` takes them."""
    queries = {f"q{n}": records.Query(id=f"q{n}", task="t", text=text) for n, text in enumerate(texts)}
    examples = empty_examples(list(queries), by_set(constitutions), responses, "iteration-0", 1, False)
    return examples, queries, {constitution.id: constitution for constitution in constitutions}


def test_released_responses_to_our_posts(tmp_path, constitutions):
    file = write(tmp_path / "a.json")
    asked = own(constitutions, "über  Alles 🐈", "My {cat} is ill.")  # without "POST: ", and in another order
    made = external_responses.match(file, external_responses.read(file), *asked, "released", "positive")
    assert [(e.query_id, e.set_id, e.policy) for e in made] == [(e.query_id, e.set_id, "released") for e in asked[0]]
    assert [[r.text for r in example.responses] for example in made] == [[""], ["A cat\n\n is ill. "]]
    assert [example.order for example in made] == [[1, 0], [0, 1]]  # as the file has them
    assert {tuple(example.constitution_ids) for example in made} == {("concise+comprehensive",)}


@pytest.mark.parametrize(
    ("posts", "judged", "responses", "told"),
    [
        (["My {cat} is ill.", "A dog."], "positive", None, "'A dog.' under the .* 0 of 1 \\(it does not have this q"),
        (["My {cat} is ill."], "all", None, "'-concise\\+-comprehensive': found 0 of 1 \\(one .* is under 'Summ"),
        (["Über alles 🐈"], "positive", 4, "found 1 of 2 .* \\('evaluation.judged: positive'\\). Name a file"),
    ],
)
def test_what_a_file_lacks_is_named(tmp_path, constitutions, posts, judged, responses, told):
    file = write(tmp_path / "a.json", question={"2": "another"})
    asked = own(constitutions, *posts, responses=responses)
    with pytest.raises(UserError, match=f"a.json: lacks responses to 1 of what the experiment asks, .*{told}"):
        external_responses.match(file, external_responses.read(file), *asked, "released", judged)


def write_experiment(folder: Path, constitutions, posts: dict[str, str], policy: str = "iteration-3") -> Path:
    """The files of an experiment that answered some posts under both constitutions; returns its responses."""
    renamed = [  # ids that mean nothing elsewhere
        c.model_copy(update={"id": f"c{n}", "set_id": "s", "statements": c.statements[::-1]})
        for n, c in enumerate(constitutions)
    ]
    made = empty_examples(list(posts), by_set(renamed), None, policy, 1, False)
    made = [
        example.model_copy(update={"responses": [
            response.model_copy(update={"text": f"{example.query_id}, {j}", "tokens": 3})
            for j, response in enumerate(example.responses)
        ]})
        for example in made
    ]  # fmt: skip
    for name in ("queries", f"{policy}/eval"):
        (folder / name).mkdir(parents=True)
    queries = [records.Query(id=identifier, task="t", text=text) for identifier, text in posts.items()]
    records.write(queries, folder / "queries/eval.jsonl")
    records.write(renamed, folder / "constitutions.jsonl")
    records.write(made, folder / policy / "eval/responses.jsonl")
    return folder / policy / "eval/responses.jsonl"


def test_records_of_another_experiment_are_found_by_their_texts(tmp_path, constitutions):
    file = write_experiment(tmp_path / "other", constitutions, {"x": "A  dog.", "y": "A cat.", "z": "A cow."})
    asked = own(constitutions, "a cat.", "a dog.")
    made = external_responses.match(file, external_responses.read(file), *asked, "other", "all")
    assert [[r.text for r in example.responses] for example in made] == [["y, 0", "y, 1"], ["x, 0", "x, 1"]]
    assert [(e.constitution_ids, e.labels) for e in made] == [(e.constitution_ids, e.labels) for e in asked[0]]
    assert [example.order for example in made] == [[1, 0], [1, 0]]  # the other experiment has the statements reversed
    assert {r.tokens for example in made for r in example.responses} == {3}
    assert external_responses.experiment_of(file, tmp_path) == "other"
    assert external_responses.experiment_of(file, tmp_path / "results") is None
    (tmp_path / "other/queries/eval.jsonl").unlink()
    with pytest.raises(UserError, match="responses.jsonl: found no .*other/queries/eval.jsonl, which say what the ids"):
        external_responses.read(file)


def test_records_of_another_run_than_their_texts(tmp_path, constitutions):
    file = write_experiment(tmp_path / "other", constitutions, {"x": "A dog."})
    records.write([constitutions[0].model_copy(update={"id": "other"})], tmp_path / "other/constitutions.jsonl")
    with pytest.raises(UserError, match="query 'x', set 's': the query or one of the constitutions c0, c1 is not in"):
        external_responses.read(file)


# --- in an experiment -------------------------------------------------------------------------------------------------

SMALL = merge(EXPERIMENT, {"queries": {"eval": 2}, "evaluation": {"judges": ["checks"]}}) | {
    "external": {
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
        ({"external": {"folder": "nowhere"}}, "external.folder", '"nowhere" (text), but there is no such folder'),
        ({"external": {"policies": {"instruct": "x.json"}}}, "external.policies.instruct", "x.json: no such file"),
        ({"queries": {"eval": 3}}, "external.policies.iteration-0", "found 2 different questions, expected at least 3"),
        ({"constitutions": {"statements": 1}}, "external.policies.iteration-0", "constitution.0: found '1. Summaries"),
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


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A function that checks an experiment that trains, with a file of responses among its policies."""
    monkeypatch.chdir(tmp_path)
    Path("config").symlink_to(ROOT / "config")
    shutil.copytree(ROOT / "config/tasks", "tasks")
    posts = '{"id": "a", "text": "Über alles 🐈"}\n{"id": "b", "text": "My {cat} is ill."}\n'
    Path("posts.jsonl").write_text(posts)
    task = yaml.safe_load(Path("tasks/everyday.yaml").read_text())
    task["eval"] = {"loader": "file", "path": "posts.jsonl", "count": 2}
    Path("more.jsonl").write_text('{"id": "c", "text": "Is rain wet?"}\n{"id": "d", "text": "Is snow cold?"}\n')
    task["test"] = {"loader": "file", "path": "more.jsonl", "count": 2}
    Path("tasks/posts.yaml").write_text(yaml.safe_dump(task))
    write(tmp_path / "released.json")

    def run(policy: Any, principles: str = "tldr-mistral", test: int | None = None, **evaluation):
        mine = {
            "task": "posts",
            "constitutions": {"writer": "human", "principles": principles, "statements": 2},
            "queries": {"train": 4, "eval": 2, "test": test},
            "evaluation": {"judged": "positive", "policies": {"other": policy}, **evaluation},
        }
        Path("mine.yaml").write_text(
            yaml.safe_dump({"run": ["mine"], "tasks": "tasks", "experiments": {"mine": mine, "made-here": {}}})
        )
        check(load(["config/config.yaml", "mine.yaml"]), ["mine"])

    return run


def test_files_that_fit_are_no_obstacle(beside, constitutions, tmp_path):
    beside({"responses": "released.json"})
    beside({"responses": "released.json"}, comparators=["base", "other"])
    beside({"responses": "not-here.json", "source": "https://example.org/folder"})
    beside({"responses": "results/made-here/iteration-1/eval/responses.jsonl"})
    file = write_experiment(tmp_path / "old", constitutions, {"x": "My {cat}  is ill.", "y": "über alles 🐈"})
    beside({"responses": str(file)}, judged="all")
    file = write_experiment(tmp_path / "new", constitutions, {"x": "Is rain wet?", "y": "Is snow  cold?"})
    beside({"responses": str(file)}, judged="all", test=2)


@pytest.mark.parametrize(
    ("policy", "more", "key", "told"),
    [
        ({"responses": "nowhere.json"}, {}, ".responses", '"nowhere.json" (text), but there is no such file'),
        ({"responses": "results/no/base/eval/responses.jsonl"}, {}, ".responses", "but there is no such file"),
        ({"responses": "released.csv"}, {}, ".responses", "expected the name of a file that ends in .jsonl (our"),
        ({"response": "released.json"}, {}, ".response", "found the unknown key 'response'; did you mean 'responses'"),
        ({"responses": "x.json", "source": "example.org"}, {}, ".source", "expected the address of a folder on"),
        ([7], {}, "", "found a list of 1, expected text or a mapping with the keys model, constitution or a mapping"),
        ({"responses": "broken.json"}, {}, ".responses", "broken.json, line 1: not valid JSON"),
        ({"responses": "few.json"}, {}, ".responses", "few.json: found responses to 1 different questions, expec"),
        ({"responses": "others.json"}, {}, ".responses", "others.json: lacks responses to 1 of what the exp"),
        ({"responses": "released.json"}, {"test": 2}, ".responses", "released.json: lacks responses to 2 of what the"),
        ({"responses": "loose.jsonl"}, {}, ".responses", "loose.jsonl: found no ../../queries/eval.jsonl and no"),
        ({"responses": "released.json"}, {"principles": "tldr-opus"}, ".responses", "for this question is under 'Summ"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_named_before_anything_runs(beside, tmp_path, policy, more, key, told):
    Path("broken.json").write_text("{")
    Path("few.json").write_text(json.dumps({name: {"0": texts["0"]} for name, texts in RELEASED.items()}))
    write(tmp_path / "others.json", question={"1": "Something else"})
    Path("loose.jsonl").write_text("")
    with pytest.raises(UserError) as caught:
        beside(policy, **more)
    where = rf"experiments\.mine\.evaluation\.policies\.other{re.escape(key)}"
    assert re.match(rf"mine\.yaml, line \d+: {where}: ", str(caught.value))
    assert told in str(caught.value)


def test_a_released_file_has_no_responses_under_negated_principles(beside):
    with pytest.raises(UserError, match=r"mine\.evaluation: .*'other', a file in the SAMI .* Set 'judged' to positive"):
        beside({"responses": "released.json"}, judged="all")


def test_file_about_other_posts_is_named_with_its_policy(checked, tmp_path):
    write(tmp_path / "data/chat.json", question={"1": "Something else"})
    with pytest.raises(UserError, match=r"external\.policies\.instruct: .*chat\.json: found no response"):
        checked()


# --- from the web -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def web():
    """A web server with a folder of files, some of them bad; `asked` collects the paths that were asked for."""
    answers = {
        "/folder/one run.json": json.dumps(RELEASED).encode(),
        "/folder/one.json": json.dumps(RELEASED).encode(),
        "/cut.json": json.dumps(RELEASED).encode()[:-9],
        "/page.json": b"<html>Sign in</html>",
        "/empty.json": b"{}",
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = urllib.parse.unquote(self.path)
            self.server.asked.append(path)
            if path == "/silent.json":
                self.server.released.wait(30)
                return
            if path not in answers:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answers[path]) + 9 * (path == "/cut.json")))
            self.end_headers()
            self.wfile.write(answers[path])

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.released = [], threading.Event()
    server.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_fetched_as_it_is(web, tmp_path):
    digest = downloads.download(f"{web.address}/folder/one run.json", tmp_path / "one.json")
    content = (tmp_path / "one.json").read_bytes()
    assert json.loads(content) == RELEASED
    assert digest == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/none.json", r"/none.json: found the answer 404 \(Not Found\), expected the file. Mend the address"),
        ("/cut.json", r"/cut.json: found \d+ bytes, expected \d+: the connection broke off"),
        ("/silent.json", r"/silent.json: cannot be fetched \(.*timed out\); expected a way to the web"),
        ("/page.json", r"/page.json, line 1: not valid JSON \(Expecting value"),
        ("/empty.json", r"/empty.json: constitution: this key is missing"),
    ],
)
def test_what_cannot_be_fetched_is_one_error(web, tmp_path, monkeypatch, path, told):
    monkeypatch.setattr(downloads, "SILENCE", 0.5)
    arguments = argparse.Namespace(address=web.address + path, output=tmp_path / "out.json")
    with pytest.raises(UserError, match=rf"^http://127\.0\.0\.1:\d+{told}"):
        fetch_responses.main(arguments)


def test_no_server_is_one_error(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(UserError, match="x.json: cannot be fetched .*refused.* Try again, or get the file"):
            downloads.download(f"http://127.0.0.1:{taken.getsockname()[1]}/x.json", tmp_path / "x")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with an experiment of imported responses and without a model; its folder has a space in its name."""
    overrides = {"run": ["mine"], "experiments": {"mine": SMALL}}
    project = Project(tmp_path_factory.mktemp("imported"), Path("no-such-model"), overrides)
    make_folder(project.folder / "made up")
    project.folder_given = "--config", "experiments={mine: {external: {folder: made up}}}"
    return project


def test_plan_has_no_job_of_sampling_training_or_information(project):
    planned = {rule for rule, _ in project.planned(*project.folder_given)}
    assert planned == {
        "all", "import_queries", "write_principles", "build_constitutions", "import_responses", "judge_responses",
        "tabulate", "plot_figures_without_training", "build_report",
    }  # fmt: skip


def test_missing_files_are_fetched_once_and_others_never(project, web):
    folder = project.folder / "from the web"
    write(folder / "base.json", response=with_words(90, 90, 1))
    changes = {"folder": "from the web", "source": f"{web.address}/folder/"}
    given = "--config", f"experiments={json.dumps({'mine': {'external': changes}})}"
    target = "results/mine/iteration-1/eval/responses.jsonl"
    web.asked.clear()
    assert ("fetch_responses", "") in project.planned(target, *given)
    project.run(target, *given)
    assert web.asked == ["/folder/one.json"]
    examples = records.read(records.Example, project.folder / target)
    assert [example.responses[0].text for example in examples] == ["A cat\n\n is ill. ", ""]
    content = (folder / "one.json").read_bytes()
    record = json.loads((folder / "one.json.provenance.json").read_text())
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["arguments"]["address"] == f"{web.address}/folder/one.json"
    assert "Nothing to be done" in project.run(target, *given)
    missing = project.run("results/mine/instruct/eval/responses.jsonl", *given, expect=1)
    assert f"error: {web.address}/folder/chat.json: found the answer 404" in missing
    assert web.asked == ["/folder/one.json", "/folder/chat.json"]


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
