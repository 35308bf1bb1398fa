"""A judge as a reward: win shares by hand, who meets whom, panels, questions to an endpoint, and a local model."""

import json
from collections import Counter
from itertools import combinations

import pytest
from configured import message
from judge_server import judge_server, requests_of
from judged import JUDGE

from sami import spent
from sami.errors import UserError
from sami.judging import likelihood
from sami.judging.pairs import Pair
from sami.records import Check, Constitution, Query, Statement
from sami.rewards.candidates import Candidate, Means, Value
from sami.rewards.judged import pairs
from sami.rewards.kinds import values
from sami.settings.endpoints import Limits
from sami.settings.judges import ChecksJudge, EndpointJudge, LikelihoodJudge, PanelJudge
from sami.settings.rewards import ChecksReward, JudgeReward, SumReward
from sami.workflow.plan.rows import plan

SHORT = Check(measure="words", best=2, worst=6)  # degrees of 2, 3, 4, 5, 6 words: 1, 0.75, 0.5, 0.25, 0
STRICT, LOOSE = ChecksJudge(kind="checks"), ChecksJudge(kind="checks", tie_margin=0.3)


def candidate(text: str, query: str = "q", name: str = "c", check: Check | None = SHORT) -> Candidate:
    statement = Statement(principle="p", wanted=name == "c", text="Be brief.", check=check)
    constitution = Constitution(id=name, set_id="s", writer="w", statements=[statement])
    return Candidate("", text, constitution, Query(id=query, task="t", text=f"{query}?"))


def judged(candidates, judge, opponents: int | None = None, **means) -> list[Value]:
    rewards = {"r": JudgeReward(kind="judge", judge="j", opponents=opponents)}
    return values(candidates, "r", Means(rewards, {"j": judge}, **means))


def shares(*arguments, **options) -> list[float]:
    return [value.reward for value in judged(*arguments, **options)]


FOUR = ["a b", "a b c", "a b c d", "a b c"]


@pytest.mark.parametrize(
    ("judge", "expected"),
    [
        (STRICT, [1.0, 0.5, 0.0, 0.5]),  # the second and the fourth win once, lose once and are equal
        (LOOSE, [(0.5 + 1 + 0.5) / 3, 0.5, (0 + 0.5 + 0.5) / 3, 0.5]),
    ],
)
def test_shares_of_comparisons_that_are_won(judge, expected):
    found = judged([candidate(text) for text in FOUR], judge)
    assert [value.reward for value in found] == pytest.approx(expected)
    assert [value.parts for value in found] == [{"comparisons": 3.0, "invalid": 0.0}] * 4
    assert sum(expected) / 4 == pytest.approx(0.5)


def test_only_responses_to_one_query_for_one_constitution_meet():
    texts = ["a b c", "a b", "a b c d e", "a b c d", "a b c d e f", "a"]
    queries, names = "aabbaa", ["c", "c", "c", "c", "-c", "-c"]
    candidates = [candidate(*each) for each in zip(texts, queries, names, strict=True)]
    found = judged(candidates, STRICT)
    assert [value.reward for value in found] == [0, 1, 0, 1, 0, 1]
    assert {value.parts["comparisons"] for value in found} == {1.0}


def test_a_response_alone_meets_nobody():
    assert judged([candidate("a")], STRICT) == [Value(0.5, {"comparisons": 0.0, "invalid": 0.0})]


def test_verdicts_that_are_invalid_are_half_a_win_and_counted():
    found = judged([candidate(text, check=None) for text in FOUR], STRICT)
    assert [value.reward for value in found] == [0.5] * 4
    # Equal texts are a tie, about which nobody was asked.
    assert [value.parts["invalid"] for value in found] == [3.0, 2.0, 3.0, 2.0]


def test_the_majority_of_a_panel():
    members = {"strict": STRICT, "loose": LOOSE, "looser": ChecksJudge(kind="checks", tie_margin=0.6)}
    rewards = {"r": JudgeReward(kind="judge", judge="j")}
    means = Means(rewards, {"j": PanelJudge(kind="panel", members=list(members)), **members})
    found = values([candidate(text) for text in FOUR], "r", means)
    assert [value.reward for value in found] == [1.0, 0.5, 0.0, 0.5]  # who sees no difference has no vote


def test_a_sum_with_a_judge():
    rewards = {
        "r": JudgeReward(kind="judge", judge="j"),
        "checks": ChecksReward(kind="checks"),
        "sum": SumReward(kind="sum", weights={"r": 1, "checks": 3}),
    }
    found = values([candidate(text) for text in FOUR], "sum", Means(rewards, {"j": STRICT}))
    assert [value.reward for value in found] == pytest.approx([1.0, (0.5 + 3 * 0.75) / 4, 1.5 / 4, (0.5 + 2.25) / 4])


@pytest.mark.parametrize("count", [2, 3, 4, 7, 8])
@pytest.mark.parametrize("opponents", [None, 2, 4, 6, 8])
def test_all_meet_equally_many(count, opponents):
    found = list(pairs(count, opponents, "7-q-c"))
    assert len(set(found)) == len(found) == JudgeReward(kind="judge", judge="j", opponents=opponents).comparisons(count)
    assert all(first < second < count for first, second in found)
    met = Counter(number for pair in found for number in pair)
    assert set(met.values()) == {min(opponents or count, count - 1)}
    if opponents is None:
        assert found == list(combinations(range(count), 2))
    assert found == list(pairs(count, opponents, "7-q-c"))


def test_who_meets_whom_is_drawn_by_seed_query_and_constitution():
    drawn = {tuple(sorted(pairs(8, 2, seed))) for seed in ("1-q-c", "2-q-c", "1-r-c", "1-q--c")}
    assert len(drawn) == 4


def test_an_endpoint_is_asked_once_about_each_pair_and_never_about_equal_texts(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    log = tmp_path / "log"
    texts = ["a b c d", "a b", "a b c", "a b"]  # the server prefers the longer one
    candidates = [candidate(text) for text in texts]
    with judge_server(log) as url:
        judge = EndpointJudge(**JUDGE, base_url=url)
        limits = {"j": Limits(price={"input": 10.0, "output": 20.0}, max_cost=1)}
        means = {"answers": tmp_path / "answers.sqlite", "account": "e", "limits": limits}
        found = judged(candidates, judge, **means)
    assert [value.reward for value in found] == pytest.approx([1.0, (0 + 0 + 0.5) / 3, 2 / 3, 0.5 / 3])
    asked = {line["key"] for line in requests_of(log)}
    # Pairs 0-1, 0-2, 0-3, 1-2 and 2-3 in both orders; those with the same two texts have one answer.
    assert len(requests_of(log)) == len(asked) == 6
    monkeypatch.delenv("OPENAI_API_KEY")
    assert judged(candidates, judge, **means) == found  # all answers are kept: no server, no key
    means["limits"] = {"j": Limits(price={"input": 10.0, "output": 20.0}, max_cost=0.001)}
    with pytest.raises(UserError, match=r"limits.max_cost: .* have been spent on e/j"):
        judged([*candidates, candidate("a b c d e")], judge, **means)


def test_a_local_model_prefers_as_it_does_pair_by_pair(tiny):
    settings = LikelihoodJudge(
        kind="likelihood", model="m", prompt="{query} {constitution} A: {first} B: {second}", system="", batch_size=3
    )
    candidates = [candidate(text) for text in ("Boil it.", "I like eggs!", "1. Take an egg.", "No.")]
    spent.forget()
    found = shares(candidates, settings, models={"m": tiny})
    read = spent.spent()["scored"]
    won = [[] for _ in candidates]
    for a, b in combinations(range(4), 2):
        one = candidates[a].query, "s", candidates[a].constitution, 0, "", "", candidates[a].text, candidates[b].text
        (verdict,) = likelihood.judge([Pair(*one)], "j", settings, tiny)
        won[a].append(verdict.preference)
        won[b].append(1 - verdict.preference)
        read -= sum(answer.input_tokens for answer in verdict.answers)
    assert read == 0
    assert found == pytest.approx([sum(of) / 3 for of in won], abs=1e-6)
    assert len(set(found)) == 4


def test_a_model_that_nobody_named_is_told():
    settings = LikelihoodJudge(
        kind="likelihood", model="m", prompt="{query} {constitution} {first} {second}", system=""
    )
    with pytest.raises(UserError, match="likelihood"):
        judged([candidate("a"), candidate("b")], settings)


def using(reward: str, responses: int = 4, more: str = "") -> str:
    method = f"{{name: rest, reward: {reward}, thresholds: [0.5]}}"
    fixed = f"iterations: 1, training: {{objective: supervised}}, sampling: {{responses: {responses}}}"
    return f"experiments: {{quickstart: {{method: {method}, {fixed}{more}}}}}"


def test_a_judge_is_read_with_its_reward_and_prepared(project):
    project.write("config/rewards/local.yaml", "{kind: judge, judge: smollm2-likelihood}")
    project.write("config/rewards/mixed.yaml", "{kind: sum, weights: {local: 1, checks: 1}}")
    loaded = project.load(using("mixed"))
    assert list(loaded.reward_judges(loaded.rewards_of("quickstart"))) == ["smollm2-likelihood"]
    assert "config/judges/smollm2-likelihood.yaml" in loaded.users("quickstart")
    assert "smollm2-likelihood" not in loaded.experiments["quickstart"].evaluation.judges
    project.check(using("mixed"))
    project.write("config/rewards/panel.yaml", "{kind: judge, judge: panel}")
    panel = project.load(using("panel"))
    assert list(panel.reward_judges(panel.rewards_of("quickstart"))) == ["panel", "gpt-4o", "gpt-4o-letter", "checks"]


@pytest.mark.parametrize(
    ("reward", "parts"),
    [
        ({"judge": "gpt-5o"}, ["config/rewards/mine.yaml: judge: found", "Did you mean 'gpt-4o'?"]),
        (
            {"judge": "smollm2-served"},
            ["config/rewards/mine.yaml: judge: found 'smollm2-served', a judge that the workflow serves ('serve')",
             "Take one of kind likelihood"],
        ),
    ],
)  # fmt: skip
def test_judges_that_cannot_reward_are_told(project, reward, parts):
    project.write("config/rewards/mine.yaml", json.dumps({"kind": "judge", **reward}))
    told = message(project.load, using("mine"))
    for part in parts:
        assert part in told


def test_a_judge_without_its_key_is_told_before_anything_runs(project, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    best = "evaluation: {policies: {best: {policy: base, best_of: {responses: 2, reward: gpt-4o}}}}"
    for text in (using("gpt-4o"), f"experiments: {{quickstart: {{{best}}}}}"):
        told = message(project.check, text)
        assert told.startswith(
            "config/judges/gpt-4o.yaml: the environment variable OPENAI_API_KEY is not set; expected"
        )
        monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
        project.check(text)
        monkeypatch.delenv("OPENAI_API_KEY")
    for file in ("iteration-1/rewards.jsonl", "best/eval/rewards.jsonl"):
        project.write(f"results/quickstart/{file}", "")
    project.write("results/.format-version", "2\n")
    project.check(using("gpt-4o"))  # all is rewarded already
    project.check(f"experiments: {{quickstart: {{{best}}}}}")


def test_the_plan_counts_questions_and_dollars(project):
    def row(text, stage="score_rewards", of="iteration-1"):
        rows, notes = plan(project.load(text), ["quickstart"])
        (found,) = [row for row in rows if (row.stage, row.of) == (stage, of)]
        return found, " ".join(notes)

    queries = ", queries: {train: 16, eval: 8}"
    few, _ = row(using("gpt-4o", 8, queries))
    assert few.requests == 16 * 8 * 2  # 8 x 2 / 2 pairs a query, in both orders
    assert few.dollars == pytest.approx((few.prompt_tokens * 2.5 + few.new_tokens * 10) / 1e6)
    assert few.new_tokens == few.requests * 200
    project.write("config/rewards/gpt-4o.yaml", "{kind: judge, judge: gpt-4o}")
    every, notes = row(using("gpt-4o", 8, queries))
    assert every.requests == 16 * 28 * 2
    assert "limits.max_cost" not in notes
    _, notes = row(using("gpt-4o", 64, queries))
    assert "verdicts of gpt-4o may cost $" in notes
    project.write("config/rewards/gpt-4o.yaml", "{kind: judge, judge: panel, opponents: 2}")
    both, _ = row(using("gpt-4o", 8, queries))
    assert both.requests == 2 * few.requests  # two of its members cost money
    project.write("config/rewards/gpt-4o.yaml", "{kind: judge, judge: smollm2-likelihood, opponents: 2}")
    local, _ = row(using("gpt-4o", 8, queries))
    assert (local.requests, local.dollars) == (0, 0)
    assert local.prompt_tokens > 0
