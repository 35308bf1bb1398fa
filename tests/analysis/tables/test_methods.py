"""Methods side by side: arms, differences, costs, and what does not belong together."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
from tabulated import command, make_tables, row_of, verdicts_of, write_experiment

from sami import records
from sami.analysis.figures import methods as figures
from sami.analysis.statistics.bootstrap import bootstrap_over_seeds
from sami.analysis.tables import files
from sami.lineage import Cost, cost
from sami.records import Query

SEEDS = (1, 5)
EXPERIMENTS = {"sami": "steerability", "sft": "steerability", "rlcd": "internalising"}
DRAWS = {"samples": 300, "confidence": 0.9, "seed": 4}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(experiment, seed) -> flags of a made-up run, with its folder of tables and the record of its last policy."""
    folder = tmp_path_factory.mktemp("methods")
    found = {}
    for name in EXPERIMENTS:
        for seed in SEEDS:
            own = folder / f"{name}-{seed}"
            flags = write_experiment(own, 8, 2, judges=["checks", "model"], seed=f"-{name}-{seed}")
            model = write_lineage(own / "made", trained=100 * seed)
            found[name, seed] = flags | {"tables": [str(make_tables(flags, own / "tables"))], "models": [model]}
    return found


def write_lineage(folder, trained: int) -> str:
    """A model and the responses that it was trained on, of which there are records alone."""

    def record(path, tokens: dict, inputs: list, seconds: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"command": [str(path)], "inputs": {"some": dict.fromkeys(inputs, "")}, "wall_seconds": seconds}
        path.write_text(json.dumps(content | ({"tokens": tokens} if tokens else {})))

    responses, examples, model = folder / "responses.jsonl", folder / "examples.jsonl", folder / "model"
    record(folder / "responses.jsonl.provenance.json", {"sampled": 40}, [], 30)
    record(folder / "examples.jsonl.provenance.json", {}, [str(responses)], 1000)  # no model ran
    record(model / "provenance.json", {"trained": trained, "scored": 7}, [str(examples), str(responses)], 60)
    return str(model)


def flags_of(runs, output) -> dict[str, list[str]]:
    names = list(dict.fromkeys(name for name, _ in runs))
    flags = {"experiments": names, "methods": names, "questions": [EXPERIMENTS[name] for name in names]}
    flags |= {key: [str(value)] for key, value in DRAWS.items()} | {"output": [str(output)]}
    flags["seeds"] = [str(seed) for seed in dict.fromkeys(seed for _, seed in runs)]
    return flags | {key: [run[key][0] for run in runs.values()] for key in ("queries", "tables", "models")}


@pytest.fixture(scope="module")
def compared(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "tables"
    done = command("compare_methods", flags_of(runs, folder))
    assert done.returncode == 0, done.stderr
    return folder


def test_arms(compared):
    told, unasked = (files.read(compared, name) for name in ("steerability", "internalising"))
    # Other policies than trained ones stand behind the first experiment that evaluates them, and nowhere else.
    assert list(told["arm"]) == ["sami", "base", "instruct", "sft"]
    assert list(unasked["arm"]) == ["rlcd", "base", "instruct"]
    assert list(told["policy"]) == ["iteration-2", "iteration-0", "instruct", "iteration-2"]
    assert set(told["judge"]) == {"checks"}
    assert set(told["other_judge"]) == {"model"}


def test_a_difference_is_paired_by_seed_and_query(runs, compared):
    values = {}
    for name in ("sami", "sft"):
        for seed in SEEDS:
            own = values.setdefault((name, seed), {})
            for verdict in verdicts_of(runs[name, seed], "iteration-2", "checks", "iteration-0"):
                own.setdefault(verdict.query_id, []).append(verdict.preference)
    pairs = {
        seed: {q: [np.mean(of) - np.mean(values["sami", seed][q])] for q, of in values["sft", seed].items()}
        for seed in SEEDS
    }
    row = row_of(files.read(compared, "steerability"), arm="sft")
    expected = bootstrap_over_seeds(pairs, **DRAWS)
    found = row[["difference", "difference_low", "difference_high"]].tolist()
    assert found == pytest.approx(list(expected), abs=6e-5)
    assert row["p_holm"] == pytest.approx(min(1, 2 * row["p"])) or row["p_holm"] >= row["p"]  # of two differences
    assert math.isnan(row_of(files.read(compared, "steerability"), arm="sami")["difference"])


def test_costs_are_means_over_seeds_of_all_that_led_to_a_policy(runs, compared):
    row = row_of(files.read(compared, "steerability"), arm="sami")
    trained = np.mean([100 * seed for seed in SEEDS])
    assert (row["sampled_tokens"], row["scored_tokens"], row["trained_tokens"]) == (40, 7, trained)
    assert row["forward_tokens"] == 40 + 7 + 3 * trained
    assert row["minutes"] == 1.5  # building examples runs no model
    assert row_of(files.read(compared, "steerability"), arm="instruct")["forward_tokens"] == 0
    assert cost(runs["sami", 1]["models"][0]) == Cost({"sampled": 40, "scored": 7, "trained": 100}, 90)


def test_a_budget_that_is_not_known_is_empty(runs, tmp_path):
    some = {key: run for key, run in runs.items() if key[0] == "sft"}
    some["sft", 1] = some["sft", 1] | {"models": [write_lineage(tmp_path / "made", trained=1)]}
    (tmp_path / "made/responses.jsonl.provenance.json").unlink()
    done = command("compare_methods", flags_of(some, tmp_path / "tables"))
    assert done.returncode == 0, done.stderr
    assert (
        f"is not known: {tmp_path}/made/responses.jsonl: neither the file nor its provenance record is there"
        in done.stderr
    )
    row = row_of(files.read(tmp_path / "tables", "steerability"), arm="sft")
    assert math.isnan(row["forward_tokens"])
    assert not math.isnan(row["win_rate"])
    assert files.read(tmp_path / "tables", "internalising").empty


def test_figures_have_a_point_an_arm(compared):
    tables = [files.read(compared, name) for name in ("steerability", "internalising")]
    figure = figures.quality(*tables, "made-up")
    judged = [table[table["win_rate"].notna()] for table in tables]
    for axes, table in zip(figure.axes, judged, strict=True):
        drawn = [container[0].get_xydata()[0].tolist() for container in axes.containers]
        expected = table[["forward_tokens", "win_rate"]].to_numpy() / [1000, 1]
        assert drawn == [pytest.approx(point) for point in expected.tolist()]
        assert [text.get_text() for text in axes.texts] == list(table["arm"])
        hollow = [container[0].get_markerfacecolor() == "white" for container in axes.containers]
        assert hollow == table["method"].isna().tolist()
    one = figures.quality_and_relevance(tables[0], tables[1][:0])
    assert len(one.axes) == 1
    assert "not measured" in figures.quality(tables[0][:0], tables[1][:0]).axes[0].texts[0].get_text()


def test_names_of_points_that_lie_together_stand_apart(compared):
    tables = [files.read(compared, name) for name in ("steerability", "internalising")]
    figure = figures.quality_and_relevance(*(table.assign(margin=1.0, win_rate=0.6) for table in tables))
    names = [axes.texts for axes in figure.axes]
    assert [len(of) for of in names] == [len(table) for table in tables]
    assert max(map(len, names)) > 2
    for of in names:
        boxes = [text.get_window_extent() for text in of]
        assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_runs_that_do_not_belong_together_are_refused(runs, tmp_path):
    def said(flags) -> str:
        done = command("compare_methods", flags)
        assert done.returncode == 2
        return done.stderr

    flags = flags_of(runs, tmp_path / "tables")
    told = said(flags | {"tables": flags["tables"][1:]})
    assert "--tables: found 5, expected 6: one for each of the 3 experiments and 2 seeds" in told
    other = dict(runs)
    folder = tmp_path / "other"
    changed = [query.model_copy(update={"text": f"{query.text}?"}) for query in
               records.read(Query, runs["rlcd", 1]["queries"][0])]  # fmt: skip
    folder.mkdir()
    records.write(changed, folder / "queries.jsonl")
    for seed in SEEDS:
        other["rlcd", seed] = runs["rlcd", seed] | {"queries": [str(folder / "queries.jsonl")]}
    assert f"{folder}/queries.jsonl: found other held-out queries than in" in said(flags_of(other, tmp_path / "tables"))
