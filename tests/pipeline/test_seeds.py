"""Several seeds in the workflow: a run for each, their results joined, and nothing made again for another seed."""

import csv
import re

import pytest
from workflow_project import TINY, Project

ONE_ITERATION = {"iterations": 1, "queries": {"train": 4}, "constitutions": {"max_sets": 1}}


def with_seeds(*seeds: int, **more) -> dict:
    return TINY | {"experiments": {"quickstart": {"model": "tiny", "seeds": [*seeds], **ONE_ITERATION, **more}}}


@pytest.fixture(scope="module")
def finished(tiny_source, tmp_path_factory):
    """A project whose two seeds have run to their end, and what was printed."""
    project = Project(tmp_path_factory.mktemp("seeds"), tiny_source, with_seeds(1, 5))
    project.printed = project.run()
    return project


def counts(printed: str) -> dict[str, int]:
    """Rule -> jobs, of a dry run."""
    table = printed.split("Job stats:")[1].split("total")[0]
    return {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}


def rows(path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_jobs_of_two_arms_with_three_seeds(tmp_path, tiny_source):
    """Weights are prepared once; the base model's evaluation is made once a seed, whatever number of arms there is."""
    arms = {"a": {"seeds": [1, 2, 3], "iterations": 2}, "b": {"seeds": [1, 2, 3], "iterations": 2,
                                                            "training": {"epochs": 2}}}  # fmt: skip
    project = Project(tmp_path / "arms", tiny_source, TINY | {"run": ["a", "b"], "experiments": arms})
    runs, policies, trained = 6, 3, 2
    found = counts(project.run("--dry-run"))
    assert found["prepare_model"] == 1
    for rule in ("build_queries", "write_principles", "build_constitutions", "tabulate", "build_report"):
        assert found[rule] == runs, rule
    for rule in ("build_sami_examples", "train", "judge_responses"):
        assert found[rule] == runs * trained, rule
    assert found["sample_responses"] == runs * trained - 3  # as are its responses for the first training
    for rule in ("sample_evaluation", "score_responses"):
        assert found[rule] == runs * policies - 3, rule  # the base model's of b are those of a
    assert (found["join_seeds"], found["plot_seeds"], found["all"]) == (2, 2, 1)
    assert counts(project.run("--dry-run", "a"))["join_seeds"] == 1
    assert "join_seeds" not in counts(project.run("--dry-run", "a-seed-2"))
    alone = project.dry_run("results/b-seed-3/iteration-1/model")
    assert {path.split("/")[0] for rule, path in alone if rule in ("train", "build_sami_examples")} == {"b-seed-3"}
    assert {path.split("/")[0] for rule, path in alone if rule == "sample_responses"} == {"a-seed-3"}
    printed = project.run("plan")
    assert all(f"## {arm}-seed-{seed}\n" in printed for arm in "ab" for seed in (1, 2, 3))


def test_results_of_all_seeds_are_joined(finished):
    folder = finished.folder / "results"
    seeds, joined = (rows(folder / f"quickstart/tables/{name}.csv") for name in ("seeds", "joined"))
    assert [(row["seed"], row["policy"]) for row in seeds] == [
        (seed, policy) for seed in "15" for policy in ("iteration-0", "iteration-1")
    ]
    assert [(row["policy"], row["n_seeds"], row["n_queries"]) for row in joined] == [
        ("iteration-0", "2", "4"), ("iteration-1", "2", "4"),
    ]  # fmt: skip
    for name in ("bound_nats", "response_tokens", "degenerate_share"):
        of_runs = [rows(folder / f"quickstart-seed-{seed}/tables/summary.csv")[1][name] for seed in "15"]
        assert [row[name] for row in seeds if row["policy"] == "iteration-1"] == of_runs
        assert float(joined[1][name]) == pytest.approx(sum(map(float, of_runs)) / 2, abs=1e-4)
    for kind in ("pdf", "png"):
        assert (folder / f"quickstart/figures/seeds.{kind}").stat().st_size > 5000
    assert not (folder / "quickstart/report.html").exists()


def test_each_seed_has_all_that_an_experiment_has(finished):
    folder = finished.folder / "results"
    responses = [folder / f"quickstart-seed-{seed}/iteration-1/responses.jsonl" for seed in (1, 5)]
    assert responses[0].read_bytes() != responses[1].read_bytes()
    held_out = [folder / f"quickstart-seed-{seed}/queries/eval.jsonl" for seed in (1, 5)]
    assert held_out[0].read_bytes() == held_out[1].read_bytes()  # crossed with the seeds
    for seed in (1, 5):
        assert (folder / f"quickstart-seed-{seed}/report.html").stat().st_size > 10_000


def test_the_joined_table_is_printed_alone(finished):
    path = "results/quickstart/tables/joined.csv"
    assert path in finished.printed
    first, second = finished.printed.split(f"{path}\n\n")[1].split("\n\n")[:2]  # too wide for one block
    for heading, _, *lines in (first.splitlines(), second.splitlines()[:4]):
        assert heading.split()[0] == "iteration"
        assert [line.split()[0] for line in lines] == ["0", "1"]
    assert second.splitlines()[0].endswith("queries  seeds")
    assert "quickstart-seed-1/tables/summary.csv\n\n" not in finished.printed


def test_nothing_is_left_to_do_and_another_seed_makes_its_own_run_alone(finished, monkeypatch):
    assert "Nothing to be done" in finished.run()
    monkeypatch.setattr(finished, "overrides", finished.write("three.yaml", with_seeds(1, 5, 7)))
    planned = finished.dry_run()
    assert {path.split("/")[0] for rule, path in planned if rule != "all"} == {"quickstart-seed-7", "quickstart"}
    assert not any(rule == "prepare_model" for rule, _ in planned)
    assert {rule for rule, path in planned if path.startswith("quickstart/")} == {"join_seeds", "plot_seeds"}
    finished.write("three.yaml", with_seeds(1, 5, evaluation={"bootstrap_samples": 100}))
    planned = finished.dry_run()
    rules = {"join_seeds", "plot_seeds", "tabulate", "plot_figures", "build_report"}
    assert {rule for rule, _ in planned} == rules


def test_paths_that_runs_have_are_told(finished):
    printed = finished.run("results/quickstart/iteration-1/model", expect=1)
    assert "its runs have iterations, one a seed: quickstart-seed-1, quickstart-seed-5" in printed
