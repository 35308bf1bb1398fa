"""Queries, constitutions and responses that are not of one run: each is named."""

import pytest

from sami import records
from sami.data.joined import check_known, read_by_id, read_examples
from sami.errors import UserError
from sami.records import Constitution, Example, Query, Response, Statement

QUERIES = [Query(id=name, task="t", text=f"What of {name}?") for name in ("q1", "q2")]
STATEMENT = Statement(principle="p", wanted=True, text="Be brief.")
CONSTITUTIONS = [Constitution(id=name, set_id="s", writer="w", statements=[STATEMENT]) for name in ("c1", "c2")]


def example(query_id: str = "q1", **changes) -> Example:
    response = Response(text="Yes.", constitution=0, tokens=2, finish="end")
    usual = {"set_id": "s", "constitution_ids": ["c1", "c2"], "order": [0], "policy": "iteration-1"}
    return Example(query_id=query_id, responses=[response], **usual | changes)


@pytest.fixture
def read(tmp_path):
    """A function that writes examples and reads them back with the queries and constitutions of the run."""
    records.write(QUERIES, tmp_path / "queries.jsonl")
    records.write(CONSTITUTIONS[:1], tmp_path / "constitutions.jsonl")
    records.write(CONSTITUTIONS[1:], tmp_path / "more.jsonl")
    queries = read_by_id(Query, tmp_path / "queries.jsonl")
    constitutions = read_by_id(Constitution, tmp_path / "constitutions.jsonl", tmp_path / "more.jsonl")

    def read(*examples: Example, policy: str | None = None) -> list[Example]:
        records.write(examples, tmp_path / "responses.jsonl")
        return read_examples(tmp_path / "responses.jsonl", queries, constitutions, policy)

    return read


def test_a_run_is_read_as_it_was_written(read):
    assert read(example("q1"), example("q2"), policy="iteration-1") == [example("q1"), example("q2")]


@pytest.mark.parametrize(
    ("examples", "told"),
    [
        ([example(), example()], "found 2 examples of query 'q1' and set 's', expected one; ids must be unique"),
        ([example(), example("q3")], "query 'q3', set 's': the query or one of the constitutions c1, c2 is not in the"),
        ([example(constitution_ids=["c1", "c3"])], "constitutions c1, c3 is not in the files of --queries and --const"),
        ([example(policy="instruct")], "found responses of the policy 'instruct', expected those of 'iteration-1'"),
    ],
)
def test_what_is_of_another_run_is_named(read, examples, told):
    with pytest.raises(UserError, match=rf"responses\.jsonl: .*{told}"):
        read(*examples, policy="iteration-1")


def test_the_files_and_what_to_do_can_be_named():
    with pytest.raises(UserError, match=r"file: query 'q1', .* is not in a, b, which are of another run\. Copy them\."):
        check_known([example()], "file", {}, {}, ["a", "b"], "Copy them.")


def test_an_id_stands_for_one_record(tmp_path):
    records.write([*QUERIES, QUERIES[0]], tmp_path / "queries.jsonl")
    with pytest.raises(UserError, match=r"queries\.jsonl: found two records with the id 'q1', expected one"):
        read_by_id(Query, tmp_path / "queries.jsonl")


def test_a_constitution_may_stand_in_several_sets_but_with_one_text(tmp_path):
    other = CONSTITUTIONS[0].model_copy(update={"set_id": "other"})
    records.write([CONSTITUTIONS[0], other], tmp_path / "constitutions.jsonl")
    assert read_by_id(Constitution, tmp_path / "constitutions.jsonl") == {"c1": other}
    changed = other.model_copy(update={"statements": [STATEMENT.model_copy(update={"text": "Be long."})]})
    records.write([CONSTITUTIONS[0], changed], tmp_path / "constitutions.jsonl")
    with pytest.raises(UserError, match="found two records with the id 'c1', expected one"):
        read_by_id(Constitution, tmp_path / "constitutions.jsonl")
