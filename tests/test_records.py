import gzip
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sami import records
from sami.errors import UserError

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
queries = st.builds(
    records.Query,
    id=texts,
    task=texts,
    text=texts,
    reference=st.none() | texts,
    meta=st.dictionaries(texts, texts, max_size=2),
)
responses = st.builds(
    records.Response,
    text=texts,
    constitution=st.integers(0, 3),
    tokens=st.integers(0, 99),
    finish=st.sampled_from(["end", "stop", "length"]),
)
examples = st.builds(
    records.Example,
    query_id=texts,
    set_id=texts,
    constitution_ids=st.lists(texts, min_size=2, max_size=4),
    order=st.lists(st.integers(0, 3), max_size=3),
    responses=st.lists(responses, min_size=2, max_size=4),
    policy=texts,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(queries, min_size=1, max_size=4), st.lists(examples, min_size=1, max_size=3))
def test_what_is_written_is_read(tmp_path_factory, some_queries, some_examples):
    folder = tmp_path_factory.mktemp("records")
    for kind, values in ((records.Query, some_queries), (records.Example, some_examples)):
        records.write(values, folder / "file.jsonl")
        assert records.read(kind, folder / "file.jsonl") == values
        assert len((folder / "file.jsonl").read_text(encoding="utf-8").split("\n")) == len(values) + 1


GOOD = '{"id": "a", "task": "t", "text": "x"}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "b", "task": "t", "text": "x"', "line 2: not valid JSON"),
        ("[1, 2]", "line 2: found list, expected a JSON object"),
        ('{"id": "b", "task": "t"}', "line 2: field 'text'"),
        ('{"id": 7, "task": "t", "text": "x"}', "line 2: field 'id'.*found 7"),
        ('{"id": "b", "task": "t", "text": "x", "txet": "y"}', "line 2: field 'txet'"),
    ],
)
def test_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "queries.jsonl"
    path.write_text(GOOD + line + "\n")
    with pytest.raises(UserError, match=message) as error:
        records.read(records.Query, path)
    assert str(path) in str(error.value)


def test_gzip_and_blank_lines(tmp_path):
    path = tmp_path / "queries.jsonl.gz"
    path.write_bytes(gzip.compress((GOOD + "\n" + GOOD).encode()))
    assert len(records.read(records.Query, path)) == 2
    path.write_bytes(b"not gzip")
    with pytest.raises(UserError, match="after line 0: cannot be unpacked"):
        records.read(records.Query, path)
    path.write_bytes(gzip.compress((GOOD * 1000).encode())[:60])
    with pytest.raises(UserError, match="cannot be unpacked"):
        records.read(records.Query, path)
    with pytest.raises(UserError, match="no such file"):
        records.read(records.Query, tmp_path / "absent.jsonl")


def test_line_separators_inside_texts_do_not_break_lines(tmp_path):
    value = records.Query(id="a", task="t", text="one\u2028two\x85three\nfour")
    records.write([value], tmp_path / "q.jsonl")
    assert records.read(records.Query, tmp_path / "q.jsonl") == [value]
    assert json.loads((tmp_path / "q.jsonl").read_text().split("\n")[0])["text"] == value.text


def test_half_a_character_from_elsewhere_can_be_written(tmp_path):
    answer = records.Answer(order="policy-first", choice="first", preference=1, raw="A \ud83d")
    fields = {"query_id": "q", "set_id": "s", "constitution_id": "c", "number": 0, "policy": "p", "comparator": "b"}
    verdict = records.Verdict(
        **fields, first="x\ud83d", second="y", judge="j", choice="first", preference=1, answers=[answer]
    )
    records.write([verdict], tmp_path / "v.jsonl")
    (again,) = records.read(records.Verdict, tmp_path / "v.jsonl")
    assert (again.first, again.answers[0].raw) == ("x\ufffd", "A \ufffd")
    assert again == verdict.model_copy(update={"first": again.first, "answers": again.answers})


def test_check_is_validated():
    with pytest.raises(ValueError, match="must differ"):
        records.Check(measure="words", best=1, worst=1)
    with pytest.raises(ValueError, match="'pattern' belongs"):
        records.Check(measure="words", best=1, worst=0, pattern="x")
    with pytest.raises(ValueError, match="'pattern' belongs"):
        records.Check(measure="matches", best=1, worst=0)


def training_example(**changes):
    response = {"ended": True, "source": "iteration-0"}
    responses = [{"text": text, **response} for text in ("One.", "Two.", "One.")]
    return {"query_id": "q", "prompts": ["a", "b"], "responses": responses, "labels": [0, 1, 0], **changes}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": [0, 1]}, "'labels' has 2 entries, expected one for each of 3 responses"),
        ({"labels": [0, 1, 2]}, "'labels' holds 2, expected the number of a prompt, from 0 to 1"),
        ({"weights": [1.0]}, "'weights' has 1 entries, expected one for each of 3 responses"),
        ({"weights": [1.0, math.nan, 1.0]}, r"'weights\[1\]' is .*, expected a finite number"),
        ({"weights": [1.0, 1.0, math.inf]}, r"'weights\[2\]' is .*, expected a finite number"),
        ({"pairs": [{"chosen": 0, "rejected": 2, "kind": "k"}]}, r"'pairs\[0\]': both responses are 'One.'"),
        ({"pairs": [{"chosen": 0, "rejected": 3, "kind": "k"}]}, r"'pairs\[0\]': 'rejected' is 3, expected at most 2"),
        ({"responses": []}, "responses"),
        ({"prompts": []}, "prompts"),
    ],
)
def test_wrong_training_examples_are_told_with_their_line(tmp_path, changes, told):
    file = tmp_path / "examples.jsonl"
    file.write_text("".join(json.dumps(e) + "\n" for e in (training_example(), training_example(**changes))))
    with pytest.raises(UserError, match=told) as error:
        records.read(records.TrainingExample, file)
    assert str(error.value).startswith(f"{file}, line 2: ")


def test_training_examples_come_back_as_they_were(tmp_path):
    pair = {"chosen": 0, "rejected": 1, "prompt": 1, "kind": "rank", "reference": [-1.5, -2.5]}
    chat = [[{"role": "system", "content": "Hm."}, {"role": "user", "content": "Why?"}], "plain"]
    made = records.TrainingExample.model_validate(training_example(pairs=[pair], weights=[1, -0.5, 0], prompts=chat))
    records.write([made], tmp_path / "examples.jsonl")
    assert records.read(records.TrainingExample, tmp_path / "examples.jsonl") == [made]
    assert made.pairs[0].reference == (-1.5, -2.5)


def test_prompts_of_other_queries_are_written_where_there_are_any(tmp_path):
    plain, joint = (
        records.TrainingExample.model_validate(training_example(**changes)) for changes in ({}, {"negatives": ["c"]})
    )
    records.write([plain, joint], tmp_path / "examples.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "examples.jsonl").open()]
    assert [line.get("negatives") for line in lines] == [None, ["c"]]
    assert list(lines[0]) == ["query_id", "set_id", "prompts", "responses", "labels", "weights", "pairs"]
    assert records.read(records.TrainingExample, tmp_path / "examples.jsonl") == [plain, joint]
