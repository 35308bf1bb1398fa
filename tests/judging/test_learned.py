"""A reward model as a judge, on a tiny Llama: against scores of texts one by one, and what it reads."""

from dataclasses import replace

import pytest
import training_run
from conftest import make_tiny_llama

from sami.distributed.processes import processes
from sami.errors import UserError
from sami.judging.learned import higher, judge
from sami.judging.pairs import Pair
from sami.models.prepare import prepare
from sami.records import Constitution, Query, Statement
from sami.rewards.reward_model import Reading, RewardModel, scores
from sami.settings.judges import LearnedJudge
from sami.settings.models import Model
from sami.settings.rewards import LearnedReward
from sami.settings.training import Engine

REWARD = LearnedReward(
    kind="learned", labels="checks", prompt="Said: {response}\nTo: {query}\nWanted: {principles}", learning_rate=1e-4
)
JUDGE = LearnedJudge(kind="learned")
BRIEF, RHYME = "Answer in one short sentence.", "Write a poem."
RESPONSES = [("Boil it.", "I like eggs! My mother made them."), ("", "1. Take an egg."), ("Same.", "Same.")]


def pair(number: int, first: str, second: str, *words: str) -> Pair:
    statements = [Statement(principle="p", wanted=True, text=text) for text in words]
    constitution = Constitution(id="c", set_id="s", writer="human", statements=statements)
    query = Query(id=f"q{number}", task="t", text="How is an egg boiled?" * (number + 1))
    return Pair(query, "s", constitution, 0, "iteration-1", "iteration-0", first, second)


PAIRS = [pair(n, *texts, BRIEF, RHYME) for n, texts in enumerate(RESPONSES)]


@pytest.fixture(scope="module")
def verdicts(tiny, tmp_path_factory):
    """Function: verdicts on pairs by a reward model of the tiny model, whose folder is its attribute."""
    folder = tmp_path_factory.mktemp("judge") / "reward-model"
    engine = Engine(**{**training_run.ENGINE, "tokens_per_pass": 64})
    with processes() as alone:
        RewardModel.from_base(tiny, ["reward"], "float32", engine, 3, alone).save(folder)

    def made(pairs=PAIRS, settings=JUDGE, reward=REWARD, base=tiny):
        return list(judge(pairs, "j", settings, reward, folder, base, engine))

    made.folder = folder
    return made


def score(folder, base, query: str, response: str, *words: str) -> float:
    """The score of a text by itself."""
    ending = "\n".join(words)
    with processes() as alone:
        model = RewardModel.load(folder, base, "auto", alone)
        beginning = f"Said: {response}\nTo: {query}\nWanted:"
        return float(scores(model, [Reading("", beginning, [f" {ending}"])], 1)[0][0, 0])


def test_the_higher_score_wins(tiny, verdicts):
    found = verdicts()
    for pair, verdict in zip(PAIRS, found, strict=True):
        first, second = (
            score(verdicts.folder, tiny, pair.query.text, t, BRIEF, RHYME) for t in (pair.first, pair.second)
        )
        told = verdict.answers[0].raw.split()
        assert (float(told[1]), float(told[3])) == pytest.approx((first, second), abs=1e-5)
        expected = "tie" if pair.first == pair.second else "first" if first > second else "second"
        assert (verdict.choice, verdict.answers[0].choice) == (expected, expected)
        assert verdict.preference == {"first": 1.0, "tie": 0.5, "second": 0.0}[expected]
        assert (verdict.judge, verdict.first, verdict.second) == ("j", pair.first, pair.second)
        assert [answer.order for answer in verdict.answers] == ["policy-first"]
    assert found[2].choice == "tie"
    assert {verdict.choice for verdict in found[:2]} <= {"first", "second"}


def test_swapped_responses_have_the_contrary_verdict(verdicts):
    mirrored = {"first": "second", "second": "first", "tie": "tie"}
    back = verdicts([replace(pair, first=pair.second, second=pair.first) for pair in PAIRS])
    assert [verdict.choice for verdict in back] == [mirrored[verdict.choice] for verdict in verdicts()]


def test_named_principles_are_read_in_place_of_the_constitution(verdicts):
    def told(pairs, **settings):
        return [v.answers[0].raw for v in verdicts(pairs, LearnedJudge(kind="learned", **settings))]

    brief, rhyme = ([pair(n, *texts, words) for n, texts in enumerate(RESPONSES)] for words in (BRIEF, RHYME))
    assert told(PAIRS, principles=[BRIEF]) == told(rhyme, principles=[BRIEF]) == told(brief)
    assert told(PAIRS, principles=[BRIEF, RHYME]) == told(PAIRS)
    assert told(brief) != told(rhyme)


def test_a_reward_model_without_principles_reads_none(verdicts):
    reward = LearnedReward(
        kind="learned", labels="contrast", prompt="Said: {response}\nTo: {query}", learning_rate=1e-4
    )
    one, other = (verdicts([pair(0, *RESPONSES[0], words)], reward=reward) for words in (BRIEF, RHYME))
    assert [v.answers[0].raw for v in one] == [v.answers[0].raw for v in other]


def test_a_reward_model_of_another_base_model_is_told(verdicts, tmp_path):
    other = tmp_path / "other"
    prepare("other", Model(source="path", path=str(make_tiny_llama(tmp_path / "source", seed=7))), other)
    with pytest.raises(UserError, match="found a reward model that was trained from another base model"):
        verdicts(base=other)


@pytest.mark.parametrize(
    ("first", "second", "choice"), [(0.1, 0.0, "first"), (-2.0, -1.0, "second"), (1.5, 1.5, "tie")]
)
def test_which_score_is_higher(first, second, choice):
    assert higher(first, second) == choice
