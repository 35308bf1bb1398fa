import gzip
import itertools
import json
import re

import pytest
from conftest import ROOT, SHARED_DATA

from sami.errors import UserError
from sami.queries import check_disjoint, load, normalised, shuffled
from sami.records import Query
from sami.settings import Dataset, Task
from sami.yaml_files import load_yaml


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


def test_parquet_and_json_through_datasets(tmp_path):
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
        ([{"id": "a"}], 1, "line 1: the field 'text' should hold a text, found None; the fields here are: id"),
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


@pytest.mark.parametrize("path", ["nobody/nothing", "hf://datasets/nobody/nothing@main/train.jsonl.gz"])
def test_hub_dataset_without_network_is_one_clear_error(path):
    with pytest.raises(UserError, match=f"dataset '{path}' .* could not be loaded"):
        load(dataset(path), "task")


def test_file_at_an_address(tmp_path):
    with gzip.open(tmp_path / "q.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    queries = load(dataset(f"file://{tmp_path}/q.jsonl.gz", count=4), "task")
    assert [q.text for q in queries] == [row["text"] for row in ROWS]


def test_several_sources_take_turns(tmp_path):
    one, other = lines(tmp_path / "a.jsonl", ROWS[:1]), lines(tmp_path / "b.jsonl", ROWS[1:])
    both = dataset("", count=4).model_copy(update={"path": [str(other), str(one)]})
    assert [q.id for q in load(both, "task")] == ["q1", "q0", "q2", "q3"]
    with pytest.raises(UserError, match=r"b\.jsonl and .*a\.jsonl: the task asks for 5 queries, but there are only 4"):
        load(both.model_copy(update={"count": 5}), "task")


def test_hh_rlhf_first_human_turn():
    path = SHARED_DATA / "hh-rlhf/harmless-base-test.jsonl.gz"
    if not path.exists():
        pytest.skip("the hh-rlhf dialogues are not beside this checkout (shared/data/hh-rlhf)")
    queries = load(dataset(path, "hh-rlhf", count=500), "hh")
    with gzip.open(path, "rt") as file:
        transcripts = [json.loads(line)["chosen"] for line in itertools.islice(file, 3)]
    for query, transcript in zip(queries, transcripts, strict=False):
        assert transcript.startswith(f"\n\nHuman: {query.text}\n\nAssistant:")
    assert len({q.id for q in queries}) == len({normalised(q.text) for q in queries}) == 500
    assert not any("Assistant:" in q.text or "Human:" in q.text for q in queries)


def test_summarize_from_feedback_gives_each_post_once(tmp_path):
    posts = [("a", "Post a."), ("a", "Post a."), ("b", " Post b.\n"), ("a", "Post a."), ("c", "Post c.")]
    rows = [
        {"info": {"id": i, "post": p, "title": "T", "subreddit": "r/x"}, "summaries": [{"text": "s"}], "choice": 0}
        for i, p in posts
    ]
    queries = load(dataset(lines(tmp_path / "tldr.jsonl", rows), "summarize-from-feedback", count=3), "tldr")
    assert [(q.id, q.text) for q in queries] == [("a", "Post a."), ("b", "Post b."), ("c", "Post c.")]
    assert queries[0].meta == {"subreddit": "r/x", "title": "T"}
    with pytest.raises(UserError, match="the field 'info' should hold"):
        load(dataset(lines(tmp_path / "bad.jsonl", [{"post": "x"}]), "summarize-from-feedback", count=1), "tldr")


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
    with pytest.raises(UserError, match="query 'b' .* is held out for evaluation, but is also the training query 'a'"):
        check_disjoint(train, [Query(id="b", task="t", text="why is  the sky BLUE?")])
    with pytest.raises(UserError, match="query 'a'"):
        check_disjoint(train, [Query(id="a", task="t", text="Another?")])


STOPWORDS = (
    "a an the of to in for is are was be do does did how what why when where who which my your i you me it on and or "
    "with that can should could would will from at as by about if"
)


def words(text):
    return {w for w in re.findall(r"[a-z']+", text.lower()) if f" {w} " not in f" {STOPWORDS} "}


def test_everyday_queries_are_many_and_different():
    task = load_yaml(ROOT / "config/tasks/everyday.yaml", Task)
    here = lambda part: part.model_copy(update={"path": str(ROOT / part.path)})  # noqa: E731
    train, held_out = load(here(task.train), "everyday"), load(here(task.eval), "everyday")
    assert len(train) >= 192
    assert len(held_out) >= 48
    check_disjoint(train, held_out)
    for one, other in itertools.combinations([*train, *held_out], 2):
        a, b = words(one.text), words(other.text)
        assert len(a & b) < 0.5 * len(a | b), (one.text, other.text)
    for part, topics in ((train, 24), (held_out, 20)):
        assert len({q.meta["topic"] for q in part}) >= topics
        assert len({q.meta["kind"] for q in part}) >= 8
