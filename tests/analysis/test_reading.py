"""The page of responses to read: which are chosen, what it says of them, and that no text in it is markup."""

import re
import subprocess

import pytest
import warm
from tabulated import SCRIPT, load, verdicts_of

from sami import records
from sami.analysis import reading
from sami.errors import UserError
from sami.records import Example, Query, Relevance


@pytest.fixture(scope="module")
def page(experiment) -> str:
    """The page of the made-up experiment, by the command of the documentation."""
    folder = experiment[1].parent
    command = [warm.interpreter(), "-m", "sami.analysis.reading", str(folder), "--count", "5"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def sections(page: str) -> list[str]:
    return page.split("\n## ")[1:]


def test_responses_are_chosen_at_equally_spaced_ranks():
    margins = {("q", "s", "c", n): margin for n, margin in enumerate([0.5, -1.0, 0.5, 2.0, 0.1, 7.0, 0.3])}
    numbers = [(rank, case[3]) for rank, case in reading.chosen(margins, 4)]
    assert numbers == [(1, 1), (3, 6), (5, 2), (7, 5)]  # of two that are equal, the one that is named later is behind
    assert [rank for rank, _ in reading.chosen(margins, 7)] == [1, 2, 3, 4, 5, 6, 7]
    assert [rank for rank, _ in reading.chosen(margins, 2)] == [1, 7]
    for count in (1, 8):
        with pytest.raises(UserError, match=f"--count {count}: expected 2 to 7"):
            reading.chosen(margins, count)


def test_page_says_what_the_records_say(experiment, page):
    flags, _ = experiment
    last = records.read(Relevance, next(file for file in flags["relevance"] if "iteration-3/" in file))
    lead = lambda record: (record.alone[0] - max(record.alone[1:])) / record.tokens  # noqa: E731
    ranked = sorted(map(lead, last))
    count = len(last)
    assert f"5 of the {count} held-out responses of iteration 3, to 12 queries of the task's\n`test`. They" in page
    queries = {query.id: query for query in records.read(Query, flags["queries"][0])}
    verdicts = {v.key: v for v in verdicts_of(flags, "iteration-3", "checks", "iteration-0")}
    examples = records.read(Example, next(file for file in flags["responses"] if "iteration-3/" in file))
    texts = {
        reading.plain(response.text): (example, number)
        for example in examples
        for number, response in enumerate(example.responses)
    }
    assert len(sections(page)) == 5
    for place, section in enumerate(sections(page)):
        rank = place * (count - 1) // 4 + 1
        assert section.startswith(f"{place + 1}. Rank {rank} of {count}\n")
        header, *rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
        assert header == ["iteration", "response", "checks", "model", "strict", "panel", "tokens", "identified",
                          "margin", "log-probability", "echo", "about"]  # fmt: skip
        assert [row[0] for row in rows[1:]] == ["0", "1", "2", "3"]
        assert rows[1][2:6] == ["-"] * 4  # the base model is not compared with itself
        shown = dict(zip(header, rows[-1], strict=True))
        example, number = texts[shown["response"]]
        constitution = example.constitution_ids[example.responses[number].constitution]
        record = next(r for r in last if (r.query_id, r.number) == (example.query_id, number))
        assert f"**Query**: {reading.plain(queries[example.query_id].text)}\n" in section
        assert lead(record) == ranked[rank - 1]
        assert float(shown["margin"]) == pytest.approx(lead(record), abs=0.006)
        assert float(shown["log-probability"]) == pytest.approx(record.alone[0] / record.tokens, abs=0.006)
        assert shown["identified"] == ("yes" if record.alone[0] > max(record.alone[1:]) else "no")
        assert shown["tokens"] == str(example.responses[number].tokens)
        choice = verdicts[example.query_id, example.set_id, constitution, number].choice
        assert shown["checks"] == {"first": "win", "second": "loss", "tie": "tie", "invalid": "invalid"}[choice]


def test_texts_are_no_markup(experiment):
    run = load(experiment[0])
    page = reading.page(run, "made-up", len(run.policies[3].relevance))
    assert SCRIPT not in page
    assert "**Query**: Why does &lt;script&gt;alert('x')&lt;/script&gt; &amp; a “river” meander?<br>Explain.\n" in page
    assert not re.search(r"<(?!br>)", page)
    assert reading.plain(" a|b\n# *c* [d](e) `f` \n") == r"a\|b<br>\# \*c\* \[d\](e) \`f\`"
    assert reading.plain("\n") == "(empty)"


def test_a_page_needs_relevance_and_tables(experiment, tmp_path):
    flags, _ = experiment
    with pytest.raises(UserError, match="made-up: relevance was not measured, by which responses are chosen"):
        reading.page(load(flags | {"relevance": []}), "made-up", 5)
    with pytest.raises(UserError, match="tables: .*expected a provenance record"):
        reading.load(tmp_path)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/provenance.json").write_text('{"arguments": {}, "inputs": {}}')
    with pytest.raises(UserError, match="tables: its record lacks or breaks 'queries'. Make the tables again"):
        reading.load(tmp_path)
