"""Identification by another model: margins and verdicts by hand, and a tiny model against texts one by one."""

import pytest
import torch
from training_run import ENGINE, PROMPTS

from sami.analysis.tables.identification import identification, load
from sami.analysis.tables.rows import Estimator
from sami.distributed.processes import processes
from sami.errors import UserError
from sami.judging.identification import choose, judge
from sami.judging.pairs import Pair
from sami.models import pretrained
from sami.records import Constitution, Example, Query, Recognised, Response, Statement, write
from sami.scoring.identification import recognise
from sami.scoring.responses import Source, Texts
from sami.settings.judges import IdentificationJudge
from sami.settings.training import Engine


def told(policy: str, query: str, number: int, own: int, means: list[float] | None) -> Recognised:
    return Recognised(query_id=query, set_id="s", number=number, policy=policy, scorer="m", own=own, means=means)


def test_margins_by_hand():
    assert told("p", "q", 0, 0, [-1.0, -1.5, -1.2]).margin == pytest.approx(0.2)
    assert told("p", "q", 0, 2, [-1.0, -1.5, -1.2]).margin == pytest.approx(-0.2)
    assert told("p", "q", 0, 1, None).margin is None
    for own, means in ((0, [-1.0]), (2, [-1.0, -2.0])):
        with pytest.raises(ValueError, match="one for each constitution of a set, two at least"):
            told("p", "q", 0, own, means)


@pytest.mark.parametrize(
    ("first", "second", "tie", "said"),
    [(0.2, 0.1, 0.0, "first"), (0.1, 0.2, 0.0, "second"), (0.1, 0.1, 0.0, "tie"), (0.2, 0.1, 0.11, "tie"),
     (None, -9.0, 0.0, "second"), (-9.0, None, 99.0, "first"), (None, None, 0.0, "tie")],
)  # fmt: skip
def test_the_larger_margin_wins(first, second, tie, said):
    assert choose(first, second, tie) == said


def test_verdicts_on_pairs():
    statement = Statement(principle="c", wanted=True, text="Be.")
    constitution = Constitution(id="c", set_id="s", writer="w", statements=[statement])
    pairs = [
        Pair(Query(id=query, task="t", text="?"), "s", constitution, number, "new", "base", "a", "b")
        for query in ("q0", "q1")
        for number in (0, 1)
    ]
    new = [told("new", p.query.id, p.number, 0, [0.0, -0.4]) for p in pairs]
    gaps = [0.1, 0.0, -0.1, 0.5]
    base = [told("base", p.query.id, p.number, 0, [0.0, -0.4 + gap]) for p, gap in zip(pairs, gaps, strict=True)]
    settings = IdentificationJudge(kind="identification", model="m")
    verdicts = judge(pairs, "j", settings, new, base, ("new.jsonl", "base.jsonl"))
    assert [verdict.choice for verdict in verdicts] == ["first", "tie", "second", "first"]
    assert verdicts[0].answers[0].raw == "0.4000 0.3000"
    assert {verdict.judge for verdict in verdicts} == {"j"}
    with pytest.raises(UserError, match=r"base.jsonl: query 'q1', set 's': found no response 1 of the policy 'base'"):
        judge(pairs, "j", settings, new, base[:-1], ("new.jsonl", "base.jsonl"))


def example(query: str, *texts: str) -> Example:
    responses = [
        Response(text=text, constitution=n % 2, tokens=1, finish="end", token_ids=[9999, 3])  # of another tokenizer
        for n, text in enumerate(texts)
    ]
    return Example(
        query_id=query, set_id="s", constitution_ids=["c", "-c"], order=[0], responses=responses, policy="p"
    )  # fmt: skip


SIDES = {"c": "Speak of cats.", "-c": "Speak of dogs."}
CONSTITUTIONS = {
    name: Constitution(
        id=name, set_id="s", writer="w", statements=[Statement(principle="c", wanted=name == "c", text=text)]
    )
    for name, text in SIDES.items()
}
QUERIES = {f"q{n}": Query(id=f"q{n}", task="t", text=f"What of {n}?") for n in range(3)}


def recognised(model, *examples: Example) -> list[Recognised]:
    with processes() as alone:
        texts = Texts(QUERIES, CONSTITUTIONS, PROMPTS)
        return recognise(model, "m", Source("p", examples, "file"), texts, Engine(**ENGINE), alone)


def test_log_probabilities_of_texts_one_by_one(tiny):
    found = recognised(tiny, example("q0", "A cat sat.", "The dog"), example("q1", "", "Dogs"), example("q2", "", ""))
    assert [(r.query_id, r.number, r.own) for r in found] == [(f"q{q}", n, n) for q in range(3) for n in (0, 1)]
    assert [r.means is None for r in found] == [False, False, True, False, True, True]
    model, tokenizer = pretrained.load(tiny), pretrained.load_tokenizer(tiny)
    for record, text in ((found[0], "A cat sat."), (found[1], "The dog"), (found[3], "Dogs")):
        for mean, side in zip(record.means, SIDES.values(), strict=True):
            prompt = tokenizer(f"{side}\n{QUERIES[record.query_id].text}\n")["input_ids"]
            response = tokenizer(text)["input_ids"]
            with torch.no_grad():
                logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
            expected = logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).mean()
            assert mean == pytest.approx(float(expected), abs=1e-4)


def test_the_table_by_hand(tmp_path):
    new = [told("iteration-1", f"q{n}", 0, 0, [0.0, -0.5]) for n in range(8)]
    base = [told("iteration-0", f"q{n}", 0, 0, [0.0, 0.5 - n % 2]) for n in range(7)]
    base.append(told("iteration-0", "q7", 0, 0, None))
    write(new, tmp_path / "new.jsonl")
    write(base, tmp_path / "base.jsonl")
    files = [tmp_path / "base.jsonl", tmp_path / "new.jsonl"]
    names = ["iteration-0", "iteration-1"]
    of_base, of_new = identification(load(["j"], names, files), Estimator(500, 0.95, 1))
    assert (of_base["policy"], of_new["iteration"], of_new["judge"]) == ("iteration-0", 1, "j")
    assert of_base["recognised"] == pytest.approx(3 / 8)  # the empty one is not
    assert of_base["recognised_low"] < 0.5 < of_base["recognised_high"]
    assert (of_new["recognised"], of_new["recognised_difference"]) == (1.0, pytest.approx(5 / 8))
    assert of_new["recognised_margin"] == pytest.approx(0.5)
    assert of_new["margin_difference"] == pytest.approx(0.5 - (3 * 0.5 - 4 * 0.5) / 7)
    assert of_base["recognised_difference"] != of_base["recognised_difference"]  # NaN: it is compared with itself
    assert (of_new["n_queries"], of_new["n_responses"]) == (8, 8)
    with pytest.raises(UserError, match=r"new.jsonl: found responses of the policy 'iteration-1', expected those of"):
        load(["j"], names, files[::-1])
    with pytest.raises(UserError, match="--recognised: found 2 files, expected 4"):
        load(["j", "k"], names, files)
