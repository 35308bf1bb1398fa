import argparse
import gzip
import itertools
import json
import logging
import re
from collections import Counter

import pytest
from conftest import ROOT, SHARED_DATA

from sami import records
from sami.data import demonstrations
from sami.data.queries import check_disjoint, load, normalised, shuffled
from sami.errors import UserError
from sami.records import Query
from sami.settings.tasks import Dataset, Task
from sami.settings.yaml_files import load_yaml
from sami.stages import build_test_queries


def dataset(path, loader="file", count=2, **fields):
    return Dataset(loader=loader, path=str(path), count=count, **fields)


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROWS = [{"id": f"q{i}", "text": f"Question {i}?", "topic": "t"} for i in range(4)]


def test_file(tmp_path):
    path = lines(tmp_path / "q.jsonl", ROWS)
    queries = load(dataset(path, count=3), "task")
    assert [q.id for q in queries] == ["q0", "q1", "q2"]
    assert queries[0] == Query(id="q0", task="task", text="Question 0?", meta={"topic": "t"})


def test_whole_numbers_are_ids(tmp_path):
    path = lines(tmp_path / "q.jsonl", [{"id": 7, "text": "x"}, {"id": "b", "text": "y"}])
    assert [q.id for q in load(dataset(path), "task")] == ["7", "b"]


def test_parquet_and_json(tmp_path):
    import pandas as pd

    frame = pd.DataFrame([{"key": f"q{i}", "prompt": f"Question {i}?", "gold": "g"} for i in range(4)])
    frame.to_parquet(tmp_path / "q.parquet")
    frame.to_json(tmp_path / "q.json", orient="records", lines=True)
    fields = {"id_field": "key", "text_field": "prompt", "reference_field": "gold"}
    for name in ("q.parquet", "q.json"):
        queries = load(dataset(tmp_path / name, count=4, **fields), "task")
        assert [(q.id, q.text, q.reference) for q in queries] == [(f"q{i}", f"Question {i}?", "g") for i in range(4)]


@pytest.mark.parametrize(
    ("rows", "count", "message"),
    [
        ([], 2, "there are no queries in it"),
        (ROWS, 5, "asks for 5 queries, but there are only 4"),
        ([ROWS[0], ROWS[0]], 2, "line 2: the id 'q0' is used twice"),
        ([{"id": "a"}], 1, "line 1: there is no field 'text'; the fields here are: id"),
        ([{"id": "a", "text": None}], 1, "line 1: the field 'text' should hold a text, found nothing. Write it or"),
        ([{"id": "a", "text": 7}], 1, "line 1: the field 'text' should hold a text, found 7"),
        ([{"id": 1.5, "text": "x"}], 1, "line 1: the field 'id' should hold a text, found 1.5"),
        ([{"id": 7, "text": "x"}, {"id": "7", "text": "y"}], 2, "line 2: the id '7' is used twice"),
        ([{"id": "a", "text": "  "}], 1, "line 1: the field 'text' should hold a text"),
    ],
)
def test_bad_files(tmp_path, rows, count, message):
    path = lines(tmp_path / "q.jsonl", rows)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        load(dataset(path, count=count), "task")
    assert "q.jsonl" in str(error.value)


def test_broken_line_and_missing_files(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n{broken\n")
    with pytest.raises(UserError, match=r"q\.jsonl, line 2: not valid JSON"):
        load(dataset(path), "task")
    for name in ("absent.jsonl", "absent.parquet"):
        with pytest.raises(UserError, match="no such file"):
            load(dataset(tmp_path / name), "task")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nobody/nothing", "dataset 'nobody/nothing' .* could not be loaded"),
        ("hf://datasets/nobody/nothing@main/train.jsonl.gz", "nothing@main/train.jsonl.gz: cannot be read"),
    ],
)
def test_hub_dataset_without_network_is_one_clear_error(path, told):
    with pytest.raises(UserError, match=told):
        load(dataset(path), "task")


def test_a_file_of_another_kind(tmp_path):
    (tmp_path / "q.csv").write_text("id,text\n")
    with pytest.raises(UserError, match=r"q\.csv: found a file of another kind, expected \.jsonl"):
        load(dataset(tmp_path / "q.csv"), "task")


def test_several_sources_take_turns(tmp_path):
    one, other = lines(tmp_path / "a.jsonl", ROWS[:1]), lines(tmp_path / "b.jsonl", ROWS[1:])
    both = dataset("", count=4).model_copy(update={"path": [str(other), str(one)]})
    assert [q.id for q in load(both, "task")] == ["q1", "q0", "q2", "q3"]
    with pytest.raises(UserError, match=r"b\.jsonl and .*a\.jsonl: the task asks for 5 queries, but there are only 4"):
        load(both.model_copy(update={"count": 5}), "task")


def test_hh_rlhf_first_questions_of_a_whole_file():
    path = SHARED_DATA / "hh-rlhf/harmless-base-test.jsonl.gz"
    if not path.exists():
        pytest.skip("the hh-rlhf dialogues are not beside this checkout (shared/data/hh-rlhf)")
    with gzip.open(path, "rt") as file:
        transcripts = [json.loads(line)["chosen"] for line in file]
    # No dialogue of this file has two turns in a row before the first answer, so a question is what stands before it.
    asked = [text.removeprefix("\n\nHuman:").partition("\n\nAssistant:")[0].strip() for text in transcripts]
    distinct = list({normalised(text): text for text in reversed(asked)}.values())[::-1]
    queries = load(dataset(path, "hh-rlhf", count=len(distinct)), "hh")
    assert [q.text for q in queries] == sorted(distinct, key=asked.index)
    assert len({q.id for q in queries}) == len(distinct) > 2000


@pytest.mark.parametrize(
    ("turns", "question"),
    [
        ("\n\nHuman: One.\n\nHuman: Two?\n\nAssistant: A.", "One.\n\nTwo?"),
        ("\n\nHuman: \n\nHuman: Two?\n\nAssistant: A.", "Two?"),
        ("\n\nHuman: One.\n\nAssistant:\n\nHuman: Two?\n\nAssistant: A.", "One.\n\nTwo?"),  # silence is no answer
        ("\n\nHuman: One?\n\nAssistant: A.\n\nAssistant: B.\n\nHuman: Two?", "One?"),
        ("\n\nHuman: Is 'Human: I\nAssistant: u'\n\nodd?\n\nAssistant: A.", "Is 'Human: I\nAssistant: u'\n\nodd?"),
        ("Human: One?\n\nAssistant: A.\n", "One?"),
        ("\n\nHuman: One?", "One?"),
    ],
)  # fmt: skip
def test_a_question_of_hh_rlhf_is_all_that_is_said_before_the_answer(tmp_path, turns, question):
    path = lines(tmp_path / "hh.jsonl", [{"chosen": turns}])
    assert [q.text for q in load(dataset(path, "hh-rlhf", count=1), "hh")] == [question]


def test_summarize_from_feedback_gives_each_post_once(tmp_path):
    posts = [("a", "Post a."), ("a", "Post a."), ("b", " Post b.\n"), ("a", "Post a."), ("c", "Post c.")]
    rows = [
        {"info": {"id": i, "post": p, "title": "T", "subreddit": "r/x"}, "summaries": [{"text": "s"}], "choice": 0}
        for i, p in posts
    ]
    queries = load(dataset(lines(tmp_path / "tldr.jsonl", rows), "summarize-from-feedback", count=3), "tldr")
    assert [(q.id, q.text) for q in queries] == [("a", "Post a."), ("b", "Post b."), ("c", "Post c.")]
    assert queries[0].meta == {"subreddit": "r/x", "title": "T"}
    with pytest.raises(UserError, match="there is no field 'info'; the fields here are: post"):
        load(dataset(lines(tmp_path / "bad.jsonl", [{"post": "x"}]), "summarize-from-feedback", count=1), "tldr")


def test_rows_of_other_kinds_in_public_datasets_are_left_out_and_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    post = {"info": {"id": "p", "post": "A post."}}
    news = [{"info": {"id": "n", "post": None, "article": "News."}}, {"info": {"id": "m", "article": "News."}}]
    rows = [*news, post, {"info": {"id": "o", "post": " "}}, {"info": None}, {"info": {"id": 2, "post": "Another."}}]
    feedback = dataset(lines(tmp_path / "tldr.jsonl", rows), "summarize-from-feedback")
    assert [(q.id, q.text) for q in load(feedback, "tldr")] == [("p", "A post."), ("2", "Another.")]
    places = [f"{tmp_path}/tldr.jsonl, line {number}" for number in (1, 4, 5)]
    told = (
        f"2 since the field 'post' should hold a text, found nothing (the first: {places[0]}); "
        f"1 since the field 'post' should hold a text, found a blank one (the first: {places[1]}); "
        f"1 since the field 'info' is null (the first: {places[2]})"
    )
    assert told in caplog.text
    with pytest.raises(UserError, match="asks for 3 queries, but there are only 2. Rows left out: " + re.escape(told)):
        load(feedback.model_copy(update={"count": 3}), "tldr")

    chosen = [None, "", "\n\nHuman: \n\nAssistant: Hi.\n\nHuman: Why?", "\n\nAssistant: Hi.", "\n\nHuman: How?"]
    dialogues = lines(tmp_path / "hh.jsonl", [{"chosen": turns} for turns in chosen])
    assert [q.text for q in load(dataset(dialogues, "hh-rlhf", count=1), "hh")] == ["How?"]
    assert "2 since the field 'chosen' does not begin with words of 'Human:'" in caplog.text
    with pytest.raises(UserError, match=r"there are no queries in it; .* Rows left out: 1 since the query is held out"):
        load(dataset(lines(tmp_path / "one.jsonl", [post]), feedback.loader, 1), "t", load(feedback, "t"))
    for bad, told in (({"chosen": ["Why?"]}, "should hold a text, found"), ({"prompt": "Why?"}, "there is no field")):
        with pytest.raises(UserError, match=rf"bad\.jsonl, line 1: .*{told}"):
            load(dataset(lines(tmp_path / "bad.jsonl", [bad]), "hh-rlhf", count=1), "hh")


def test_public_splits_that_share_queries_are_kept_apart(tmp_path):
    rows = [{"chosen": f"\n\nHuman: {text}\n\nAssistant: Yes."} for text in ("Why?", "How?", "why? ", "When?", "Who?")]
    held_out = load(dataset(lines(tmp_path / "test.jsonl", rows[:1]), "hh-rlhf", count=1), "hh")
    train = dataset(lines(tmp_path / "train.jsonl", rows), "hh-rlhf", count=3)
    assert [query.text for query in load(train, "hh", held_out)] == ["How?", "When?", "Who?"]
    assert [query.text for query in load(train, "hh")] == ["Why?", "How?", "When?"]


def test_order_is_seeded():
    queries = [Query(id=str(i), task="t", text=str(i)) for i in range(30)]
    assert shuffled(queries, 1) == shuffled(queries, 1) != shuffled(queries, 2)
    assert sorted(shuffled(queries, 1), key=lambda q: int(q.id)) == queries


def test_overlap_is_named():
    train = [Query(id="a", task="t", text="Why is the sky blue?")]
    check_disjoint(train, [Query(id="b", task="t", text="Why is grass green?")])
    with pytest.raises(UserError, match="query 'b' .* is held out, but the query 'a' of another split is the same"):
        check_disjoint(train, [Query(id="b", task="t", text="why is  the sky BLUE?")])
    with pytest.raises(UserError, match="query 'a'"):
        check_disjoint(train, [Query(id="a", task="t", text="Another?")])


STOPWORDS = (
    "a an the of to in for is are was be do does did how what why when where who which my your i you me it on and or "
    "with that can should could would will from at as by about if"
)
NEAR = 1 / 3  # the closest two have 0.30: both are about a ten year old, one asks for a film, the other of mortgages


def stems(text: str) -> set[str]:
    """Beginnings of the content words of a text, so that "sleep" and "sleeping" are one."""
    return {word[:5] for word in re.findall(r"[a-z']+", text.lower()) if f" {word} " not in f" {STOPWORDS} "}


def near_duplicates(queries: list[Query]) -> list[tuple[str, str]]:
    """Ids of the pairs of queries that have a third of their content words or more in common (Jaccard)."""
    found = [(query.id, stems(query.text)) for query in queries]
    return [
        (a, b) for (a, one), (b, two) in itertools.combinations(found, 2) if len(one & two) >= NEAR * len(one | two)
    ]


@pytest.fixture(scope="module")
def everyday() -> dict[str, list[Query]]:
    """Split -> its queries, as the everyday task has them."""
    task = load_yaml(ROOT / "config/tasks/everyday.yaml", Task)
    sources = {"train": task.train, "eval": task.eval, "test": task.test}
    return {
        split: load(source.model_copy(update={"path": str(ROOT / source.path)}), "everyday")
        for split, source in sources.items()
    }


def test_everyday_queries_are_many_and_of_many_kinds(everyday):
    least = {"train": (192, 24), "eval": (48, 20), "test": (96, 24)}
    for split, (count, topics) in least.items():
        assert len(everyday[split]) >= count
        assert len({query.meta["topic"] for query in everyday[split]}) >= topics
    kinds = {split: {query.meta["kind"] for query in queries} for split, queries in everyday.items()}
    assert len(kinds["train"]) >= 8
    assert kinds["eval"] <= kinds["train"] < kinds["test"]
    assert {query.meta["kind"] for query in everyday["test"][:24]} == kinds["test"]  # also of few there are all
    openings = Counter(query.text.split()[0] for query in everyday["test"])
    assert len(openings) >= 40
    assert max(openings.values()) <= len(everyday["test"]) / 6


def test_everyday_queries_are_all_different(everyday):
    every = [query for queries in everyday.values() for query in queries]
    assert len({query.id for query in every}) == len({normalised(query.text) for query in every}) == len(every)
    assert near_duplicates(every) == []


def test_everyday_demonstrations_are_of_other_queries(everyday):
    shown = demonstrations.queries(demonstrations.read(ROOT / "config/demonstrations/everyday.jsonl"), "everyday")
    every = [query for part in everyday.values() for query in part]
    assert len(shown) == 7
    assert near_duplicates([*every, *shown]) == []


@pytest.mark.parametrize(
    ("copied", "planted"),
    [
        ("everyday-train-147", "How can I fix the dripping tap of my kitchen?"),
        ("everyday-train-209", "What is mulch, exactly?"),
        ("everyday-eval-029", "Why would an athlete be warming up before the games start?"),
        ("everyday-test-001", None),
    ],
)
def test_a_planted_near_duplicate_is_found(everyday, copied, planted):
    every = [query for queries in everyday.values() for query in queries]
    text = planted or next(query.text for query in every if query.id == copied).upper()
    assert near_duplicates([*every, Query(id="planted", task="t", text=text)]) == [(copied, "planted")]


def test_test_queries_are_apart_from_all_others(tmp_path):
    """The stage: the first so many, none of which is a training query or one of all those for development."""
    records.write([Query(id="t0", task="t", text="Trained?")], tmp_path / "train.jsonl")
    development = lines(tmp_path / "eval.jsonl", [{"id": f"e{i}", "text": f"Chosen {i}?"} for i in range(3)])

    def build(*texts: str, loader: str = "file") -> list[str]:
        rows = [{"id": f"n{i}", "text": text, "chosen": f"Human: {text}"} for i, text in enumerate(texts)]
        source = dataset(lines(tmp_path / "test.jsonl", rows), loader, count=3)
        build_test_queries.main(argparse.Namespace(
            test_dataset=source, test_count=2, eval_dataset=dataset(development, count=3),
            train=tmp_path / "train.jsonl", task="t", test=tmp_path / "out.jsonl",
        ))  # fmt: skip
        return [query.text for query in records.read(Query, tmp_path / "out.jsonl")]

    assert build("One?", "Two?", "Three?") == ["One?", "Two?"]
    with pytest.raises(UserError, match="query 'n2' .* the query 't0' of another split is the same"):
        build("One?", "Two?", "trained?")
    with pytest.raises(UserError, match="query 'n0' .* the query 'e2' of another split is the same"):
        build("Chosen 2?", "Two?", "Three?")
    assert build("Trained?", "One?", "chosen 1?", "Two?", "Three?", loader="hh-rlhf") == ["One?", "Two?"]
