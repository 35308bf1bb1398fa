"""Tables and figure of steering, on a few made-up responses, against numbers by hand and slow computations."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from sami import records
from sami.analysis.figures.steering import steering as figure_of
from sami.analysis.statistics.win_rates import wilson_by_query
from sami.analysis.tables import build
from sami.analysis.tables.catalogue import TABLES
from sami.analysis.tables.rows import Estimator
from sami.analysis.tables.steering import load
from sami.errors import UserError
from sami.records import Steered

ESTIMATOR = Estimator(samples=300, confidence=0.9, seed=1)
QUERIES = ("a", "b", "c")


def steered(policy: str, obeys: bool, queries=QUERIES) -> list[Steered]:
    """Responses of a policy that does what is asked of "short", and drags "warm" the other way; "poem" is always 0."""
    found = []
    for number, query in enumerate(queries):
        for attribute in ("short", "warm", "poem"):
            for value in (0, 1, 2):
                asked = {"short": 1, "warm": 1, "poem": 0} | {attribute: value}
                short = (value / 2 if attribute == "short" else 0.5) if obeys else (number + value) % 3 / 2
                degrees = {"short": short, "warm": 1 - short if number else 0.0, "poem": 0.0}
                found.append(
                    Steered(
                        query_id=query, policy=policy, attribute=attribute, value=value, asked=asked, text="x",
                        tokens=1, degrees=degrees,
                    )
                )  # fmt: skip
    return found


def table(name: str, of_policies):
    return build.frame(TABLES[name], build.rows_of(TABLES[name], of_policies, ESTIMATOR))


@pytest.fixture(scope="module")
def policies():
    return {"iteration-0": steered("iteration-0", False), "iteration-1": steered("iteration-1", True)}


def test_achieved_degrees_by_hand(policies):
    shown = table("steering", policies)
    assert len(shown) == 2 * 3 * 3
    of_last = shown[(shown["policy"] == "iteration-1") & (shown["attribute"] == "short")]
    assert of_last["value"].tolist() == [0, 1, 2]
    assert of_last["wanted"].tolist() == of_last["degree"].tolist() == [0, 0.5, 1]
    assert of_last[["n_queries", "n_responses"]].to_numpy().tolist() == [[3, 3]] * 3
    assert of_last["iteration"].tolist() == [1, 1, 1]
    expected = wilson_by_query({name: [0.5] for name in QUERIES}, 0.9)
    assert of_last.iloc[1][["degree", "degree_low", "degree_high"]].tolist() == pytest.approx(list(expected))
    of_warm = shown[(shown["policy"] == "iteration-1") & (shown["attribute"] == "warm")]
    assert of_warm["degree"].tolist() == pytest.approx([1 / 3] * 3)


def test_the_leakage_matrix(policies):
    shown = table("steering_summary", policies).drop(columns="iteration")
    shown = shown.set_index(["policy", "attribute", "measured"])
    assert len(shown) == 2 * 3 * 3
    own, dragged = (shown.loc["iteration-1", "short", measured] for measured in ("short", "warm"))
    assert own[["correlation", "correlation_low", "correlation_high"]].tolist() == pytest.approx([1] * 3)
    assert own[["difference", "difference_low", "difference_high"]].tolist() == pytest.approx([1] * 3)
    asked = [0, 1, 2] * 3
    assert dragged["correlation"] == pytest.approx(spearmanr(asked, [0, 0, 0, 1, 0.5, 0, 1, 0.5, 0]).statistic)
    assert dragged["correlation_low"] < dragged["correlation"] < dragged["correlation_high"] <= 0
    assert dragged["difference"] == pytest.approx(-2 / 3)
    flat = shown.loc["iteration-1", "short", "poem"]
    assert math.isnan(flat["correlation"])
    assert flat["difference"] == 0
    assert math.isnan(shown.loc["iteration-1", "warm", "short"]["correlation"])  # 0.5 whatever is asked
    base = shown.loc["iteration-0", "short", "short"]
    assert base["correlation"] == pytest.approx(0)
    assert base["correlation_low"] < 0 < base["correlation_high"]
    assert base["n_responses"] == 9


def test_the_figure_shows_base_and_last_policy_and_the_matrix(policies):
    drawn = figure_of(table("steering", policies), table("steering_summary", policies), "made up")
    base, last, matrix = drawn.axes
    for axes, policy in ((base, "iteration-0"), (last, "iteration-1")):
        lines = {c.get_label(): c.lines[0] for c in axes.containers}
        assert list(lines) == ["short", "warm", "poem"]
        shown = table("steering", policies)
        for attribute, line in lines.items():
            rows = shown[(shown["policy"] == policy) & (shown["attribute"] == attribute)]
            assert line.get_xdata().tolist() == rows["wanted"].tolist()
            assert line.get_ydata().tolist() == rows["degree"].tolist()
    (image,) = matrix.images
    values = np.asarray(image.get_array().filled(np.nan))
    assert values.shape == (3, 3)
    assert values[0, 0] == pytest.approx(1)
    assert np.isnan(values[0, 2])
    texts = [text.get_text() for text in matrix.texts]
    assert texts[0] == "1.00"
    assert texts[2] == "-"
    assert [label.get_text() for label in matrix.get_yticklabels()] == ["short", "warm", "poem"]


def test_files_that_do_not_go_together_are_told(tmp_path):
    files = {}
    for name, found in (
        ("base", steered("iteration-0", False)),
        ("last", steered("iteration-1", True)),
        ("fewer", steered("iteration-1", True, QUERIES[:2])),
    ):
        files[name] = tmp_path / f"{name}.jsonl"
        records.write(found, files[name])
    names = ["iteration-0", "iteration-1"]
    loaded = load(names, [files["base"], files["last"]])
    assert {name: len(of) for name, of in loaded.items()} == dict.fromkeys(names, 27)
    with pytest.raises(UserError, match="--policies: found iteration-0, expected one name of its own for each of the"):
        load(["iteration-0"], [files["base"], files["last"]])
    with pytest.raises(UserError, match=r"base\.jsonl: found responses of the policy 'iteration-0', expected those of"):
        load(names, [files["base"], files["base"]])
    with pytest.raises(UserError, match=r"fewer\.jsonl: found other questions than in .*base\.jsonl"):
        load(names, [files["base"], files["fewer"]])
