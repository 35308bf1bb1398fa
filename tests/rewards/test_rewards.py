"""Rewards of responses: values by hand, their records, the files that describe them, and what is wrong with these."""

import json

import pytest
from configured import message
from conftest import ROOT

from sami.errors import UserError
from sami.records import Check, Constitution, Example, Query, Relevance, Response, Statement
from sami.rewards.candidates import Candidate, Means, Value
from sami.rewards.kinds import KINDS, values
from sami.rewards.responses import reward_responses
from sami.settings.rewards import REWARDS, ChecksReward, JudgeReward, RelevanceReward, SumReward
from sami.workflow.configuration import load_reward

SHORT = Check(measure="words", best=2, worst=6)
LOUD = Check(measure="matches", pattern="!", best=1, worst=0)


LEARNED = {"kind": "learned", "labels": "checks", "prompt": "P: {query} {response} {principles}", "learning_rate": 1e-5}


def constitution(name: str, wanted: bool, *checks: Check | None) -> Constitution:
    statements = [
        Statement(principle=f"p{k}", wanted=wanted, text=f"Do {k}.", check=check) for k, check in enumerate(checks)
    ]
    return Constitution(id=name, set_id="s", writer="w", statements=statements)


CONSTITUTIONS = {"c": constitution("c", True, SHORT, LOUD), "-c": constitution("-c", False, LOUD)}
QUERY = Query(id="q", task="t", text="What?")
ALL = {
    "checks": ChecksReward(kind="checks"),
    "relevance": RelevanceReward(kind="relevance", others=2, full_margin=0.5),
    "both": SumReward(kind="sum", weights={"checks": 3, "relevance": 1}),
}


def candidate(text: str, told: Relevance | None = None) -> Candidate:
    return Candidate("", text, CONSTITUTIONS["c"], QUERY, told)


def rewarded(examples, constitutions, told, name: str, **options):
    return reward_responses(examples, {"q": QUERY}, constitutions, told, name, Means(ALL), **options)


def relevance(sums: list[float], tokens: int, number: int = 0, policy: str = "iteration-0") -> Relevance:
    return Relevance(
        query_id="q",
        set_id="s",
        number=number,
        policy=policy,
        scorer="m",
        candidates=[f"q{k}" for k in range(len(sums))],
        alone=sums,
        tokens=tokens,
    )


def example(*texts: str, labels=None) -> Example:
    responses = [
        Response(text=text, constitution=label, tokens=1, finish="end")
        for text, label in zip(texts, labels or [0] * len(texts), strict=True)
    ]
    return Example(
        query_id="q",
        set_id="s",
        constitution_ids=["c", "-c"],
        order=[0, 1],
        responses=responses,
        policy="iteration-0",
    )


def test_checks_are_the_mean_degree():
    texts = {  # two words are best and six worst; one mark is best
        "Yes !": (1.0, 1.0),
        "one two three four": (0.5, 0.0),
        "one two three four !": (0.25, 1.0),
        "a b c d e f g": (0.0, 0.0),
        "": (0.0, 0.0),
    }
    found = values([candidate(text) for text in texts], "checks", Means(ALL))
    assert found == [Value((p0 + p1) / 2, {"p0": p0, "p1": p1}) for p0, p1 in texts.values()]


def test_relevance_is_the_margin_up_to_a_full_one():
    told = {  # log-probabilities under the own query and two others, tokens: margin a token, reward with 0.5 as full
        ((-4.0, -5.0, -9.0), 4): (0.25, 0.5),
        ((-4.0, -4.0, -9.0), 4): (0.0, 0.0),
        ((-4.0, -2.0, -9.0), 4): (-0.5, 0.0),
        ((-4.0, -6.0, -9.0), 4): (0.5, 1.0),
        ((-4.0, -14.0, -24.0), 4): (2.5, 1.0),
        ((0.0, 0.0, 0.0), 0): (0.0, 0.0),
    }
    candidates = [candidate("x", relevance(list(sums), tokens)) for sums, tokens in told]
    found = values(candidates, "relevance", Means(ALL))
    assert found == [Value(reward, {"margin": margin}) for margin, reward in told.values()]


def test_a_sum_weighs_its_members_and_stays_below_one():
    half, full = relevance([-4.0, -5.0], 4), relevance([0.0, -9.0], 1)
    candidates = [candidate("one two three four", half), candidate("Yes !", full)]
    assert values(candidates, "both", Means(ALL)) == [
        Value((3 * 0.25 + 1 * 0.5) / 4, {"checks": 0.25, "relevance": 0.5}),
        Value(1.0, {"checks": 1.0, "relevance": 1.0}),
    ]
    tenths = SumReward(kind="sum", weights={"checks": 0.1, "relevance": 0.7})
    assert values(candidates[1:], "tenths", Means(ALL | {"tenths": tenths}))[0].reward == 1.0


def test_responses_are_rewarded_for_what_is_wanted_whatever_they_were_drawn_under():
    sampled = example("Yes !", "one two three four", labels=[0, 1])
    other = sampled.model_copy(update={"constitution_ids": ["-c", "c"]})
    for one in (sampled, other):
        found = rewarded([one], CONSTITUTIONS, [], "checks")
        assert [(r.query_id, r.set_id, r.number, r.policy, r.reward) for r in found] == [
            ("q", "s", 0, "iteration-0", 1.0),
            ("q", "s", 1, "iteration-0", 0.25),
        ]
        assert found[1].parts == {"p0": 0.5, "p1": 0.0}


def test_candidates_are_rewarded_for_what_they_were_drawn_under():
    sampled = example("Yes !", "one two three four !", "none", labels=[0, 1, 1])
    found = rewarded([sampled], CONSTITUTIONS, [], "checks", own=True)
    assert [r.reward for r in found] == [1.0, 1.0, 0.0]  # the opposite wants marks alone
    assert [r.parts for r in found[:2]] == [{"p0": 1.0, "p1": 1.0}, {"-p0": 1.0}]


def test_relevance_goes_by_the_number_of_the_response():
    told = [relevance([0.0, -0.25], 1, number=1), relevance([0.0, -0.5], 1, number=0)]
    found = rewarded([example("a", "b")], CONSTITUTIONS, told, "relevance")
    assert [r.reward for r in found] == [1.0, 0.5]


@pytest.mark.parametrize("told", [[], [relevance([0.0, -1.0], 1)], [relevance([0.0, -1.0], 1, 1, "iteration-1")] * 2])
def test_responses_without_relevance_are_told(told):
    with pytest.raises(UserError, match="^query 'q', set 's', response [01]: found no relevance of the response, exp"):
        rewarded([example("a", "b")], CONSTITUTIONS, told, "both")


def test_a_statement_without_a_check_is_named():
    bare = {"c": constitution("c", True, SHORT, None)}
    one = example("a", "b").model_copy(update={"constitution_ids": ["c"]})
    with pytest.raises(UserError, match="^constitution 'c': the statement 'Do 1.' of the principle 'p1' has no check"):
        rewarded([one], bare, [], "checks")


def test_a_set_without_a_wanted_constitution_is_told():
    one = example("a", "b").model_copy(update={"constitution_ids": ["-c"]})
    with pytest.raises(UserError, match="query 'q', set 's': none of the constitutions -c wants every principle"):
        rewarded([one], CONSTITUTIONS, [], "checks")


def test_a_constant_reward_is_told():
    with pytest.raises(UserError, match=r"all 3 responses have the reward 0.5 \('checks'\), expected different ones"):
        rewarded([example("a b", "c d", "e")], CONSTITUTIONS, [], "checks")


def test_every_kind_has_a_name_and_a_way_to_reward():
    assert list(REWARDS) == ["checks", "relevance", "judge", "learned", "sum"]
    assert set(KINDS) == set(REWARDS.values())


def test_what_a_reward_needs():
    assert [reward.members for reward in ALL.values()] == [[], [], ["checks", "relevance"]]
    assert [reward.reads_checks for reward in ALL.values()] == [True, False, False]
    assert [reward.relevance_others for reward in ALL.values()] == [None, 2, None]
    assert [reward.asked_judge for reward in ALL.values()] == [None] * 3
    judged = JudgeReward(kind="judge", judge="checks")
    assert (judged.asked_judge, judged.members, judged.reads_checks) == ("checks", [], False)


def test_shipped_rewards_load():
    files = sorted((ROOT / "config/rewards").glob("*.yaml"))
    assert {load_reward(file).kind for file in files} == set(REWARDS)


@pytest.mark.parametrize(
    ("reward", "part"),
    [
        ({"kind": "luck"}, 'kind: found "luck" (text), expected one of: checks, relevance, judge, learned, sum'),
        ({"kind": "checks", "weight": 1}, "weight: found the unknown key 'weight'"),
        ({"kind": "relevance", "others": 3}, "full_margin"),
        ({"kind": "relevance", "others": 0, "full_margin": 1}, "others: found 0"),
        ({"kind": "relevance", "others": 3, "full_margin": 0}, "full_margin: found 0"),
        ({"kind": "judge"}, "judge"),
        ({"kind": "judge", "judge": "checks", "opponents": 3}, "'opponents' is 3, expected an even number"),
        ({"kind": "judge", "judge": "checks", "opponents": 0}, "opponents: found 0"),
        ({"kind": "sum", "weights": {"checks": 1}}, "weights"),
        (
            LEARNED | {"prompt": "P: {query}"},
            "'prompt' has the fields {query}, expected each of {response}, {query}",
        ),
        (LEARNED | {"labels": "contrast"}, "{principles}, expected each of {response}, {query} once and no others"),
        (LEARNED | {"prompt": "P: {query} {principles} {response}"}, "'prompt' has {principles} before another field"),
        (LEARNED | {"prompt": " {query} {response} {principles}"}, "'prompt' begins with a field, which may be empty"),
        (
            LEARNED | {"prompt": "P: {query} {query} {response} {principles}"},
            "'prompt' has the fields {query}, {q",
        ),
        (LEARNED | {"flipped": 0.5}, "flipped: found 0.5"),
        (LEARNED | {"held_out": 0}, "held_out: found 0"),
        ({"kind": "sum", "weights": {"checks": 1, "relevance": 0}}, "weights.relevance: found 0"),
    ],
)
def test_reward_files_with_faults(project, reward, part):
    told = message(load_reward, project.write("reward.yaml", json.dumps(reward)))
    assert told.startswith("reward.yaml")
    assert part in told


def using(reward: str) -> str:
    method = f"{{name: rest, reward: {reward}, thresholds: [0.5]}}"
    more = "training: {objective: supervised}, sampling: {responses: 4}"
    return f"experiments: {{quickstart: {{method: {method}, {more}}}}}"


def test_a_reward_is_read_with_its_members(project):
    loaded = project.load(using("checks-and-relevance"))
    assert list(loaded.rewards_of("quickstart")) == ["checks-and-relevance", "checks", "relevance"]
    assert loaded.training_relevance("quickstart") == 3
    assert project.load(using("checks")).training_relevance("quickstart") is None
    assert project.load().rewards_of("quickstart") == {}


@pytest.mark.parametrize(
    ("name", "written", "parts"),
    [
        (
            "a",
            {"kind": "sum", "weights": {"salmon-checks": 1, "contrast": 1}},
            ["rewards/a.yaml: weights: found 2 learned rewards (salmon-checks, contrast), expected one at most"],
        ),
        ("cheks", {}, ["mine.yaml, line 1: experiments.quickstart.method.reward: found", "Did you mean 'checks'?"]),
        ("a", {"kind": "sum", "weights": {"checks": 1, "b": 1}}, ["config/rewards/a.yaml: weights: found", "files"]),
        (
            "a",
            {"kind": "sum", "weights": {"checks": 1, "checks-and-relevance": 1}},
            ["config/rewards/a.yaml: weights: 'checks-and-relevance' is itself made of others"],
        ),
        (
            "a",
            {"kind": "sum", "weights": {"relevance": 1, "more": 1}},
            ["rewards/a.yaml: weights: found rewards with different 'others' (3 of 'relevance' and 5 of 'more')"],
        ),
    ],
)
def test_wrong_names_of_rewards_are_told(project, name, written, parts):
    project.write("config/rewards/more.yaml", "{kind: relevance, others: 5, full_margin: 1}")
    if written:
        project.write(f"config/rewards/{name}.yaml", json.dumps(written))
    told = message(project.load, using(name))
    for part in parts:
        assert part in told


def test_what_a_reward_reads_is_told_before_anything_runs(project):
    project.check(using("checks"))
    project.check(using("checks-and-relevance"))
    file = project.root / "config/constitutions/everyday.yaml"
    text = file.read_text()
    check = "      check: {measure: words, best: 10, worst: 35}\n"
    assert check in text
    file.write_text(text.replace(check, ""))
    for reward in ("checks", "checks-and-relevance", "salmon-checks"):
        told = message(project.check, using(reward))
        assert told.startswith("config/constitutions/everyday.yaml: 'short': found no check of the principle, expected")
        assert told.endswith("set 'method.reward' to another (experiment 'quickstart').")
    told = message(project.check, using("contrast"))
    assert told.startswith("mine.yaml, line 1: experiments.quickstart.method.reward: found 'contrast', which learns")
    one = using("relevance").replace("sampling:", "queries: {train: 1}, sampling:")
    told = message(project.check, one)
    assert told.startswith("mine.yaml, line 1: experiments.quickstart.queries.train: found 1, expected at least 2")
    assert told.endswith("set 'method.reward' to one that reads no relevance.")


def keeping_best(reward: str, more: str = "") -> str:
    best = f"{{policy: base, best_of: {{responses: 8, reward: {reward}}}}}"
    return f"experiments: {{quickstart: {{evaluation: {{policies: {{best: {best}}}{more}}}}}}}"


def test_what_the_reward_of_the_best_reads_is_told_before_anything_runs(project):
    project.check(keeping_best("checks-and-relevance"))
    file = project.root / "config/constitutions/everyday.yaml"
    text = file.read_text()
    opposite = "      check: {measure: words, best: 35, worst: 10}\n"
    assert opposite in text
    file.write_text(text.replace(opposite, ""))
    told = message(project.check, keeping_best("checks"))
    assert told.startswith("config/constitutions/everyday.yaml: 'short': found no check of the opposite, expected one")
    assert told.endswith("set 'evaluation.policies.best.best_of.reward' to another (experiment 'quickstart').")
    project.check(keeping_best("checks", ", constitution: left-out"))  # nothing is rewarded for an opposite
    project.check(using("checks"))
    one = keeping_best("relevance", ", relevance: null").replace("quickstart: {", "quickstart: {queries: {eval: 1}, ")
    told = message(project.check, one)
    assert told.startswith("mine.yaml, line 1: experiments.quickstart.queries.eval: found 1, expected at least 2")
    assert told.endswith("set 'evaluation.policies.best.best_of.reward' to one that reads no relevance.")


def test_the_best_by_a_learned_reward_wants_the_model_that_the_method_trains(project):
    told = message(project.check, keeping_best("salmon-checks"))
    assert told.startswith("mine.yaml, line 1: experiments.quickstart.evaluation.policies.best.best_of.reward: found ")
    assert "'salmon-checks', a learned reward, expected one of another kind, since the method 'sami' trains no" in told
    salmon = (
        "method: {name: salmon, reward: salmon-checks}, training: {objective: preference}, sampling: {responses: 4}"
    )

    def trained(reward: str) -> str:
        return keeping_best(reward).replace("quickstart: {", f"quickstart: {{{salmon}, ")

    told = message(project.check, trained("contrast"))
    assert "'contrast', a learned reward, expected 'salmon-checks', whose reward model the method trains. Name" in told
    # It reads principles in words, so that their opposites need no checks.
    file = project.root / "config/constitutions/everyday.yaml"
    opposite = (
        "      text: Answer at length, in several sentences.\n      check: {measure: words, best: 35, worst: 10}\n"
    )
    file.write_text(file.read_text().replace(opposite, opposite.partition("      check")[0]))
    project.write("config/rewards/both.yaml", "{kind: sum, weights: {salmon-checks: 1, relevance: 1}}")
    for reward in ("salmon-checks", "both"):
        project.check(trained(reward))
    assert "found no check of the opposite" in message(project.check, trained("checks"))
