"""Text and JSON files as editors and other programs leave them: read as they were meant, or one error with the line."""

import gzip
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sami import records
from sami.errors import UserError
from sami.json_files import parse_json, read_json, read_json_lines, read_text, whole
from sami.settings.yaml_files import read_yaml

GOOD = '{"id": "é", "task": "t", "text": "x"}\n'


def lines(path: Path, content: str | bytes) -> list[dict]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [value for _, value in read_json_lines(path)]


def test_byte_order_marks_are_no_text(tmp_path):
    marked = "\ufeff" + GOOD
    assert lines(tmp_path / "a.jsonl", marked) == lines(tmp_path / "b.jsonl", GOOD)
    assert lines(tmp_path / "a.jsonl.gz", gzip.compress(marked.encode())) == [json.loads(GOOD)]
    assert lines(tmp_path / "two-files-in-one.jsonl", marked * 2) == [json.loads(GOOD)] * 2
    assert lines(tmp_path / "empty.jsonl", "\ufeff") == []
    (tmp_path / "a.json").write_text(marked, encoding="utf-8")
    assert read_json(tmp_path / "a.json") == json.loads(GOOD)
    (tmp_path / "a.yaml").write_text("\ufeffkey: \ufeff\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml").data == {"key": "\ufeff"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_named(tmp_path, encoding):
    content = GOOD.encode(encoding)
    told = rf"found text in {encoding.upper()}, expected UTF-8\. Save the file as UTF-8\.$"
    with pytest.raises(UserError, match=r"a\.jsonl: " + told):
        lines(tmp_path / "a.jsonl", content)
    with pytest.raises(UserError, match=r"a\.jsonl\.gz: " + told):
        lines(tmp_path / "a.jsonl.gz", gzip.compress(content))
    for read in (read_json, read_yaml):
        with pytest.raises(UserError, match=r"a\.jsonl: " + told):
            read(tmp_path / "a.jsonl")


def test_the_line_of_a_byte_that_is_no_utf8(tmp_path):
    content = GOOD.encode() * 5 + GOOD.encode("latin-1") + GOOD.encode() * 5
    with pytest.raises(UserError, match=r"a\.jsonl, line 6: not UTF-8 text \(found the byte 0xe9\)"):
        lines(tmp_path / "a.jsonl", content)
    with pytest.raises(UserError, match=r"a\.jsonl, line 6: not UTF-8 text \(found the byte 0xe9\)"):
        read_text(tmp_path / "a.jsonl")


def test_half_a_character_is_read_as_one_that_can_be_written(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    content = r'{"id": "a\ud83d", "task": "t", "text": "\ude00 \ud83d\ude00 \\ud83d", "meta": {"\uD83D": ["\ud83d"]}}'
    (tmp_path / "q.jsonl").write_text(f"{GOOD}{content}\n{content}\n")
    _, query, _ = records.read(records.Query, tmp_path / "q.jsonl")
    assert (query.id, query.text) == ("a\ufffd", "\ufffd 😀 " + r"\ud83d")
    assert query.meta == {"\ufffd": ["\ufffd"]}
    records.write([query], tmp_path / "again.jsonl")
    assert records.read(records.Query, tmp_path / "again.jsonl") == [query]
    assert [record.getMessage().split(": ")[0] for record in caplog.records] == [f"{tmp_path}/q.jsonl, line 2"]


def test_characters_written_as_two_escapes_in_yaml(tmp_path):
    (tmp_path / "a.yaml").write_text(r'{"\ud83d\ude00": ["\ud83d\ude00", "cut \ud83d"]}')
    assert read_yaml(tmp_path / "a.yaml").data == {"😀": ["😀", "cut \ufffd"]}


@given(st.text())
def test_whole_texts_stay_as_they_are(text):
    assert whole({text: [text]}) == {text: [text]}


def test_nan_is_null():
    assert parse_json('{"a": NaN, "b": [NaN, -Infinity]}', "a.json") == {"a": None, "b": [None, float("-inf")]}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', r"the key 'c' stands twice in one object"),
        ('{"a": ' + "1" * 5000 + "}", "Exceeds the limit"),
        ("[" * 100_000, "maximum recursion depth"),
        ('{"a": 1,}', "at column"),
    ],
)
def test_what_is_no_json_is_named_with_its_line(tmp_path, line, told):
    with pytest.raises(UserError, match=rf"a\.jsonl, line 2: not valid JSON \(.*{told}"):
        lines(tmp_path / "a.jsonl", GOOD + line)
    (tmp_path / "a.json").write_text("\n" + line)
    with pytest.raises(UserError, match=rf"a\.json.*: not valid JSON \(.*{told}"):
        read_json(tmp_path / "a.json")


def test_what_cannot_be_opened(tmp_path):
    for read in (read_text, lambda path: list(read_json_lines(path))):
        with pytest.raises(UserError, match="no such file"):
            read(tmp_path / "absent")
        with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
            read(tmp_path)
