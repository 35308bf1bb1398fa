"""Rows of JSON and Parquet files: whatever the path, and whatever the types, they are JSON or one clear error."""

import datetime
import decimal
import gzip
import http.server
import json
import threading

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from sami.data.data_files import is_data_file, plain_row, rows
from sami.errors import UserError

ROWS = [{"id": "a", "n": 1}, {"id": "b", "n": None}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CONTENT = {
    ".jsonl": LINES,
    ".jsonl.gz": gzip.compress(LINES, mtime=0),
    ".json": json.dumps(ROWS, indent=1).encode("utf-8-sig"),
    "-lines.json": LINES,
    ".json.gz": gzip.compress(json.dumps(ROWS).encode()),
    ".JSONL": LINES,
}


def write(folder):
    for suffix, content in CONTENT.items():
        (folder / f"rows{suffix}").write_bytes(content)
    parquet.write_table(pa.Table.from_pylist(ROWS), folder / "rows.parquet")
    return [f"rows{suffix}" for suffix in (*CONTENT, ".parquet")]


@pytest.mark.parametrize("name", ["data [v2]", "*?", "a 'quoted' \"one\" & more", "#1 %20 {x}", ".hidden"])
def test_a_path_is_a_path(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    files = write(tmp_path / name)
    for path in [f"{name}/{file}" for file in files] + [f"file://{tmp_path}/{name}/{file}" for file in files]:
        monkeypatch.chdir(tmp_path)
        assert [row for _, row in rows(path)] == ROWS
    monkeypatch.chdir(tmp_path / name)
    for file in files:
        assert [row for _, row in rows(file)] == ROWS
        assert is_data_file(file)


def test_files_on_the_web(tmp_path):
    files = write(tmp_path)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0].removeprefix("/")
            if path not in files:
                return self.send_error(404)
            content = (tmp_path / path).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", len(content) + (9 if self.path.endswith("?cut") else 0))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        for file in files:
            assert [row for _, row in rows(f"{address}/{file}?download=true")] == ROWS
        for path, told in (("none.jsonl", "found the answer 404"), ("rows.jsonl?cut", "the connection broke off")):
            with pytest.raises(UserError, match=told):
                next(rows(f"{address}/{path}"))
        server.shutdown()


def table(**columns):
    return pa.table({"id": ["a", "b"], **columns})


def test_types_of_parquet_become_json(tmp_path):
    day, moment = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12, 30)
    columns = {
        "day": ([day, None], ["2024-02-29", None]),
        "moment": (pa.array([moment, None], pa.timestamp("ns")), ["2024-02-29T12:30:00", None]),
        "zone": (pa.array([moment, None], pa.timestamp("us", "Asia/Tokyo")), ["2024-02-29T21:30:00+09:00", None]),
        "time": ([datetime.time(7), None], ["07:00:00", None]),
        "span": ([datetime.timedelta(days=1, seconds=5), None], ["P1DT5S", None]),
        "price": ([decimal.Decimal("1.50"), None], ["1.50", None]),
        "bytes": ([b"caf\xc3\xa9", b"\x00\xff"], ["café", "AP8="]),
        "struct": ([{"a": [{"b": day}]}, None], [{"a": [{"b": "2024-02-29"}]}, None]),
        "list": ([[1, None], []], [[1, None], []]),
        "map": (pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())), [{"k": 1}, None]),
        "category": (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        "large": (pa.array(["x", None], pa.large_string()), ["x", None]),
        "whole": (pa.array([2**64 - 1, None], pa.uint64()), [2**64 - 1, None]),
        "half": (np.array([1.5, 2], np.float16), [1.5, 2.0]),
        "nan": ([float("nan"), 1.0], [None, 1.0]),
        "nothing": (pa.nulls(2), [None, None]),
    }
    parquet.write_table(table(**{name: given for name, (given, _) in columns.items()}), tmp_path / "t.parquet")
    found = [row for _, row in rows(tmp_path / "t.parquet")]
    for name, (_, expected) in columns.items():
        assert [row[name] for row in found] == expected, name
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_value_that_is_no_json_is_named(tmp_path):
    file = tmp_path / "t.parquet"
    parquet.write_table(table(when=pa.array([0, 253_402_300_800], pa.timestamp("s"))), file)
    with pytest.raises(UserError, match=r"t\.parquet, row 2: column 'when': cannot be read as JSON \(.*out of range"):
        list(rows(file))
    buffers = [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"a\xff")]
    parquet.write_table(table(text=pa.Array.from_buffers(pa.string(), 2, buffers)), file)
    with pytest.raises(UserError, match=r"row 2: column 'text': cannot be read as JSON \('utf-8' codec can't"):
        list(rows(file))
    with pytest.raises(UserError, match=r"^here: column 'picture': cannot be read as JSON"):
        plain_row({"picture": object()}, "here")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.parquet", b"", "cannot be read"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\n", "cannot be read"),
        ("a.json", b"[1]", "row 1: found 1 .a whole number., expected an object"),
        ("a.json", b'[{"a": 1},\n{"a": 2]', "line 2: not valid JSON"),
        ("a.json", b'{"data":\n []}', "line 1: not valid JSON .* expected one JSON object a line .or, in a"),
        ("a.json.gz", gzip.compress(LINES * 99, mtime=0)[:40], "cannot be read .Compressed file ended"),
    ],
)
def test_damaged_files_are_one_error(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"^{tmp_path}/{name}.*{told}"):
        list(rows(tmp_path / name))


def test_a_column_twice_and_missing_files(tmp_path):
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"])] * 2, ["id", "id"]), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet: found the column 'id' twice"):
        list(rows(tmp_path / "t.parquet"))
    for path in ("absent.parquet", "absent.json", "file:///absent.jsonl"):
        with pytest.raises(UserError, match="no such file"):
            list(rows(path))
