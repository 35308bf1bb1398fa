"""Reward models on a tiny Llama: scores of plain sequences, training with both losses, folders, and what is refused."""

import json
import shutil

import pytest
import torch
import training_run
from conftest import make_tiny_llama

from sami.distributed.processes import processes
from sami.errors import UserError
from sami.models.prepare import prepare
from sami.records import Comparison, Constitution, Query, Statement
from sami.rewards import training
from sami.rewards.candidates import Candidate, Means
from sami.rewards.kinds import logistic, values
from sami.rewards.learned import lessons, readings, score_comparisons, text
from sami.rewards.losses import masked_squared_error
from sami.rewards.reward_model import DESCRIPTION, HEAD, Lesson, Reading, RewardModel, scores
from sami.settings.models import Model
from sami.settings.rewards import HeadTraining, LearnedReward
from sami.settings.training import Engine

PROMPT = "Answer: {response}\nQuery: {query}\nWanted: {principles}"
READINGS = [
    Reading("query 'a'", "the cat sat on a mat", [" and slept", " until noon as rain fell", " all day"]),
    Reading("query 'b'", "rain fell", [" all day"]),
]
ENGINE = Engine(**{**training_run.ENGINE, "tokens_per_pass": 64})


@pytest.fixture
def group():
    with processes() as alone:
        yield alone


def new(tiny, group, outputs=("reward",), scoring="auto", seed=1) -> RewardModel:
    engine = ENGINE.model_copy(update={"scoring": scoring})
    return RewardModel.from_base(tiny, outputs, "float32", engine, seed, group)


def train(model, lessons, settings, tokens_per_pass, seed) -> list[float]:
    engine = ENGINE.model_copy(update={"tokens_per_pass": tokens_per_pass})
    return training.train(training.HeadLearner(model, lessons), settings, engine, seed)


def rate(**settings) -> HeadTraining:
    return HeadTraining(**{"learning_rate": 3e-3, "epochs": 20, "queries_per_step": 2} | settings)


def by_plain_sequences(model: RewardModel, read: list[Reading]) -> list[torch.Tensor]:
    """The head at the last token of each text by itself, by the library."""
    found = []
    for reading in read:
        rows = []
        for ending in reading.endings:
            first, behind = (
                model.tokenizer(part, add_special_tokens=special)["input_ids"]
                for part, special in ((reading.beginning, True), (ending, False))
            )
            states = model.scorer.model.base_model(torch.tensor([first + behind])).last_hidden_state
            rows.append(model.head(states[0, -1]))
        found.append(torch.stack(rows))
    return found


@pytest.mark.parametrize("scoring", ["shared", "cached", "padded"])
def test_scores_are_those_at_the_last_token_of_plain_sequences(tiny, group, scoring):
    model = new(tiny, group, ("one", "two"), scoring)
    with torch.no_grad():
        expected = by_plain_sequences(model, READINGS)
    for tokens in (1, 1000):
        found = scores(model, READINGS, tokens)
        assert [tuple(part.shape) for part in found] == [(3, 2), (1, 2)]
        for part, by_library in zip(found, expected, strict=True):
            assert torch.allclose(part, by_library, atol=1e-5)


def test_passes_change_no_gradient(tiny, group):
    """Steps in passes of one lesson each, and all in one, leave the same weights up to rounding."""
    trained = []
    for tokens in (1, 10_000):
        model = new(tiny, group)
        made = [Lesson([reading], lambda found: found.square().sum()) for reading in READINGS]
        losses = train(model, made, rate(epochs=3), tokens, seed=1)
        trained.append((losses, scores(model, READINGS, 1000)))
    assert trained[0][0] == pytest.approx(trained[1][0], rel=1e-4)
    for one, other in zip(trained[0][1], trained[1][1], strict=True):
        assert torch.allclose(one, other, atol=1e-3)


def test_values_are_learned_where_they_are_known(tiny, group):
    """Two attributes of four texts; a value that is not known is not pulled to anything."""
    wanted = torch.tensor([[0.0, 1.0], [1.0, float("nan")], [0.0, 1.0], [1.0, 0.0]])
    model = new(tiny, group, ("short", "warm"))
    read = [Reading("q", "the cat", [f" {word}" for word in ("sat", "slept", "fell", "all day")])]

    def loss(found):
        return masked_squared_error(found, wanted, ~wanted.isnan())

    losses = train(model, [Lesson(read, loss)], rate(epochs=80), 1000, seed=1)
    after = scores(model, read, 1000)[0]
    assert losses[-1] < 0.01 < losses[0]
    assert (after - wanted)[~wanted.isnan()].abs().max() < 0.25
    assert not after.isnan().any()


def comparison(query: str, chosen: str, rejected: str, wanted: bool = True, **told) -> Comparison:
    read = Statement(principle="p", wanted=wanted, text="all" if wanted else "none")
    return Comparison(
        query_id=query, set_id="s", query=f"{query}?", chosen=chosen, rejected=rejected, statements=[read], **told
    )


def both_ways(query: str, one: str, other: str, **told) -> list[Comparison]:
    """The first response is better where the principle is wanted, the other where it is negated."""
    return [comparison(query, one, other, **told), comparison(query, other, one, wanted=False, **told)]


def test_texts_are_parted_before_the_last_field_and_shared():
    statements = [Statement(principle=n, wanted=True, text=f"Be {n}.") for n in "ab"]
    assert text(PROMPT, "q {response}", "y", statements) == (
        "Answer: y\nQuery: q {response}\nWanted:",
        " Be a.\nBe b.",
    )
    assert text("Say: {query} -> {response}.", "q", "y", []) == ("Say: q ->", " y.")
    read, number = readings([("x", "1"), ("y", "1"), ("x", "2"), ("x", "1")], "here")
    assert read == [Reading("here", "x", ["1", "2"]), Reading("here", "y", ["1"])]
    assert number == {("x", "1"): 0, ("x", "2"): 1, ("y", "1"): 2}


def test_the_loss_of_a_lesson_by_hand():
    made = lessons([*both_ways("a", "cat", "mat"), comparison("b", "rain", "noon")], PROMPT)
    assert [sum(len(reading.endings) for reading in lesson.readings) for lesson in made] == [4, 2]
    first, second = made
    assert [reading.beginning[:12] for reading in first.readings] == ["Answer: cat\n", "Answer: mat\n"]
    found = torch.tensor([[1.0], [-2.0], [0.0], [0.5]])  # cat: all, none; mat: all, none
    expected = torch.log1p(torch.exp(torch.tensor([-(1.0 - 0.0), -(0.5 + 2.0)]))).mean()
    assert first.loss(found).item() == pytest.approx(expected.item())
    assert second.loss(torch.tensor([[3.0], [3.0]])).item() == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_a_model_learns_to_heed_what_it_reads(tiny, group):
    """The better response depends on the principle alone; afterwards a negation turns every choice round."""
    made = [c for k in range(8) for c in both_ways(f"q{k}", "all day " * (k % 3 + 1), "a cat slept")]
    model = new(tiny, group)
    losses = train(model, lessons(made, PROMPT), rate(epochs=15), 4096, seed=1)
    assert losses[-1] < 0.2 < losses[0]
    scored = score_comparisons(model, made, PROMPT, 4096, seed=1)
    assert all(s.chosen > s.rejected for s in scored)
    own = {(s.comparison.query_id, s.comparison.statements[0].wanted): s for s in scored}
    for s in scored:  # principles that were dealt out are the own ones, or the own ones negated
        twin = own[s.comparison.query_id, not s.comparison.statements[0].wanted]
        expected = [(s.chosen, s.rejected), (twin.rejected, twin.chosen)]
        assert any(s.shuffled == pytest.approx(one, abs=1e-4) for one in expected)
    assert any(s.shuffled[0] < s.shuffled[1] for s in scored)


def test_the_same_seed_gives_the_same_model_and_a_folder_holds_it(tiny, group, tmp_path):
    made = lessons([c for k in range(4) for c in both_ways(f"q{k}", "rain fell", "a cat")], PROMPT)
    folders = [tmp_path / name for name in ("one", "two")]
    found = []
    for folder in folders:
        model = new(tiny, group, seed=3)
        train(model, made, rate(epochs=2), 64, seed=3)
        model.save(folder)
        found.append(scores(model, READINGS, 1000))
    for file in ("model.safetensors", HEAD, DESCRIPTION):
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()
    assert not [path for path in folders[0].iterdir() if path.suffix in (".bin", ".pt", ".pkl")]
    loaded = RewardModel.load(folders[0], tiny, "auto", group)
    assert loaded.outputs == ["reward"]
    for one, other in zip(found[0], scores(loaded, READINGS, 1000), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(found[0][0], scores(new(tiny, group, seed=3), READINGS, 1000)[0])


@pytest.fixture
def folder(tiny, tmp_path):
    with processes() as alone:
        new(tiny, alone).save(tmp_path / "reward-model")
    return tmp_path / "reward-model"


REWARD = LearnedReward(kind="learned", labels="checks", prompt=PROMPT, learning_rate=1e-4)


WANTED = Constitution(
    id="c", set_id="s", writer="w", statements=[Statement(principle="p", wanted=True, text="all day")]
)


QUERY = Query(id="q", task="t", text="rain?")


def means(*of_model) -> Means:
    folders = dict(zip(("reward_model", "base_model", "engine"), of_model, strict=False))
    return Means({"salmon": REWARD}, **folders)


def candidates(*texts: str):
    return [Candidate(f"response {k}", each, WANTED, QUERY) for k, each in enumerate(texts)]


def test_rewards_are_the_logistic_function_of_scores(tiny, folder):
    told = candidates("cat", "", "cat", "all day")
    found = values(told, "salmon", means(folder, tiny, ENGINE))
    with processes() as alone:
        model = RewardModel.load(folder, tiny, "auto", alone)
        read = [
            Reading("", beginning, [ending])
            for beginning, ending in (text(PROMPT, c.query.text, c.text, c.constitution.statements) for c in told)
        ]
        expected = [float(each[0, 0]) for each in scores(model, read, 1)]
    assert [value.parts["score"] for value in found] == pytest.approx(expected, abs=1e-5)
    assert [value.reward for value in found] == pytest.approx([torch.tensor(e).sigmoid().item() for e in expected])
    assert found[0] == found[2]


@pytest.mark.parametrize(("score", "reward"), [(0.0, 0.5), (-1000.0, 0.0), (1000.0, 1.0), (2.0, 0.880797)])
def test_the_logistic_function_has_no_limits(score, reward):
    assert logistic(score) == pytest.approx(reward, abs=1e-6)


def test_a_reward_model_of_another_base_model_is_told(folder, tmp_path):
    other = tmp_path / "other"
    prepare("other", Model(source="path", path=str(make_tiny_llama(tmp_path / "source", seed=7))), other)
    with pytest.raises(UserError, match=r"reward-model: found a reward model that was trained from another base model"):
        values(candidates("cat"), "salmon", means(folder, other, ENGINE))


def test_a_learned_reward_without_a_model_is_told():
    with pytest.raises(UserError, match="found no reward model, expected its folder"):
        values(candidates("cat"), "salmon", means())


@pytest.mark.parametrize(
    ("file", "content", "part"),
    [
        (DESCRIPTION, "{}", "expected 'outputs', a list of names"),
        (DESCRIPTION, "[", "this is no JSON"),
        (HEAD, "x", "cannot be read as the head of a reward model"),
    ],
)
def test_broken_folders_are_told(tiny, folder, tmp_path, file, content, part):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / file).write_text(content)
    with processes() as alone, pytest.raises(UserError, match=part) as told:
        RewardModel.load(broken, tiny, "auto", alone)
    assert str(told.value).startswith(str(broken / file))


def test_a_head_with_other_outputs_is_told(tiny, folder, group):
    described = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**described, "outputs": ["a", "b"]}))
    with pytest.raises(UserError, match=r"cannot be read as the head .*expected its weights \(2, "):
        RewardModel.load(folder, tiny, "auto", group)


def test_a_text_beyond_the_context_is_told(tiny, group):
    with pytest.raises(UserError, match=r"^query 'a': the text that the reward model reads has \d+ tokens, and its"):
        scores(new(tiny, group), [Reading("query 'a'", "cat", [" mat" * 400])], 1000)


def test_training_that_diverges_is_told(tiny, group):
    made = [Lesson(READINGS[:1], lambda found: found.sum() * float("inf"))]
    with pytest.raises(UserError, match="step 1 of 1: the loss is -?inf .* Lower the 'learning_rate' by"):
        train(new(tiny, group), made, rate(epochs=1), 1000, seed=1)
