"""The question without the constitution in the workflow: what is sampled and judged, and what falls away cleanly."""

import csv

import pytest
from workflow_project import TINY, Project

from sami.records import Constitution, Example, Relevance, Verdict, read

SFT = {"method": "sft", "training": {**TINY["defaults"]["training"], "objective": "supervised"}}
PROMPTED = {"prompted": {"model": "tiny", "constitution": "in-prompt"}}
EXPERIMENTS = {
    "asked": SFT,
    "unasked": SFT
    | {"evaluation": {"constitution": "left-out", "comparators": ["base", "prompted"], "policies": PROMPTED}},
    "sami": {"evaluation": {"constitution": "left-out"}},
}
POLICIES = ["iteration-0", "iteration-1", "prompted"]


@pytest.fixture(scope="module")
def finished(tiny_source, tmp_path_factory):
    """A project in which one policy was asked both questions, and another the second alone."""
    content = {
        "run": [*EXPERIMENTS],
        "compare": {"both": ["unasked", "sami"]},
        "defaults": TINY["defaults"] | {"iterations": 1, "constitutions": {"max_sets": 2}},
        "experiments": EXPERIMENTS,
    }
    project = Project(tmp_path_factory.mktemp("left-out"), tiny_source, content)
    project.printed = project.run()
    return project


@pytest.fixture
def results(finished):
    return finished.folder / "results"


def rows(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_query_has_one_response_for_what_is_wanted(results):
    known = {c.id: c for c in read(Constitution, results / "unasked/constitutions.jsonl")}
    for policy in POLICIES:
        examples = read(Example, results / f"unasked/{policy}/eval/responses.jsonl")
        assert len({example.query_id for example in examples}) == len(examples) == 4
        for example in examples:
            (response,) = example.responses
            assert known[example.constitution_ids[response.constitution]].positive
            assert len(example.constitution_ids) == 2  # echo still knows the other constitution of the set
    asked = read(Example, results / "asked/iteration-1/eval/responses.jsonl")
    assert {len(example.responses) for example in asked} == {2}
    verdicts = read(Verdict, results / "unasked/iteration-1/eval/verdicts-checks-vs-prompted.jsonl")
    assert len(verdicts) == 4
    assert all(known[verdict.constitution_id].positive for verdict in verdicts)


def test_policies_are_trained_once_for_both_questions(results):
    first, second = (results / f"{name}/iteration-1" for name in ("asked", "unasked"))
    assert (first / "model/model.safetensors").samefile(second / "model/model.safetensors")
    assert (first / "training.jsonl").read_bytes() == (second / "training.jsonl").read_bytes()
    assert not (results / "unasked/logs/train-1.log").exists()
    assert (results / "sami/logs/train-1.log").exists()
    # The page names the training, not the copy.
    page = (results / "unasked/report.html").read_text()
    assert "Settings of train<" in page
    assert "share_results" not in page


def test_what_needs_contrasted_constitutions_is_left_out(results):
    assert (results / "asked/figures/bound.png").exists()
    assert (results / "asked/iteration-1/eval/scores.jsonl").exists()
    for name in ("unasked", "sami"):
        assert not list((results / name).glob("*/eval/scores.jsonl"))
        assert not (results / name / "figures/bound.png").exists()
        assert (results / name / "figures/training.png").exists()
        assert rows(results / name / "tables/information.csv") == []
        for row in rows(results / name / "tables/summary.csv"):
            assert row["bound_nats"] == row["row_accuracy"] == ""
            assert row["identified"] and row["echo"] and row["response_tokens"]  # noqa: PT018
        for table in ("summary", "degeneration", "relevance", "lengths", "adherence", "win_rates"):
            printed = (results / name / f"tables/{table}.md").read_text()
            assert "nan" not in printed
            assert "bound" not in printed or table == "relevance"  # that on I(Y; X)
            assert "log-probability, own" not in printed
        assert {row["context"] for row in rows(results / name / "tables/relevance.csv")} == {"alone"}
        assert {row["polarity"] for row in rows(results / name / "tables/adherence.csv")} == {"wanted"}
        assert {row["polarity"] for row in rows(results / name / "tables/lengths.csv")} == {"positive"}
    relevance = read(Relevance, results / "unasked/prompted/eval/relevance.jsonl")
    assert {record.with_constitution for record in relevance} == {None}


def test_win_rates_against_the_base_model_with_and_without_the_constitution(results):
    found = [(row["policy"], row["comparator"]) for row in rows(results / "unasked/tables/win_rates.csv")]
    assert found == [
        ("iteration-1", "iteration-0"),
        ("prompted", "iteration-0"),
        ("iteration-0", "prompted"),
        ("iteration-1", "prompted"),
    ]


def test_experiments_with_one_question_are_compared(results):
    found = rows(results / "both/tables/comparison.csv")
    against_base = [row for row in found if row["comparator"] == "iteration-0" and row["policy"] == "iteration-1"]
    assert [(row["experiment"], row["shared_pairs"]) for row in against_base] == [("unasked", ""), ("sami", "4")]
    assert {row["bound_nats"] for row in found} == {""}
    assert "bound" not in (results / "both/tables/comparison.md").read_text()
    for figure in ("comparison", "frontier"):
        assert (results / f"both/figures/{figure}.png").stat().st_size > 5000


def test_the_terminal_shows_no_empty_column_and_nothing_is_left_to_do(finished):
    shown = finished.printed.split("results/unasked/tables/summary.csv\n\n")[1].split("results/")[0]
    assert "bound" not in shown
    assert "prompted" in shown
    assert "Nothing to be done" in finished.run()
