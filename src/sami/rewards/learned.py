"""Learned rewards: what a reward model reads of a response, how it is trained on comparisons, and what it rewards.

The prompt of the reward says in which order the model reads query, response and principles. Its last field begins what
differs between readings that have the rest in common: with principles last, a response is encoded once for all sets of
principles that it is compared under.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sami.data.prompts import fill
from sami.distributed.processes import processes
from sami.records import Comparison, ScoredComparison, Statement
from sami.rewards.losses import pairwise_logistic
from sami.rewards.reward_model import Lesson, Reading, RewardModel, scores
from sami.settings.training import Engine

OUTPUT = "reward"  # name of the head's only output

Text = tuple[str, str]  # beginning and ending


def text(prompt: str, query: str, response: str, statements: Sequence[Statement]) -> Text:
    """What the model reads: a beginning that others may have, too, and an ending.

    A space between the two belongs to the ending, as tokenizers write it.
    """
    values = {"query": query, "response": response, "principles": "\n".join(s.text for s in statements)}
    last = max(values, key=lambda name: prompt.find(f"{{{name}}}"))
    place = len(prompt[: prompt.find(f"{{{last}}}")].rstrip(" "))
    beginning, ending = (fill(part, **values) for part in (prompt[:place], prompt[place:]))
    return beginning, ending


def readings(texts: Iterable[Text], where: str) -> tuple[list[Reading], dict[Text, int]]:
    """Readings that hold each of some texts once, and the number of each text among all endings, in order."""
    endings: dict[str, list[str]] = {}
    for beginning, ending in dict.fromkeys(texts):
        endings.setdefault(beginning, []).append(ending)
    places = [(beginning, ending) for beginning, of in endings.items() for ending in of]
    return [Reading(where, *parts) for parts in endings.items()], {text: n for n, text in enumerate(places)}


def pairs_of(comparisons: Sequence[Comparison], prompt: str) -> list[tuple[Text, Text]]:
    """What the model reads of the better and of the worse response of each comparison."""
    return [
        (text(prompt, c.query, c.chosen, c.statements), text(prompt, c.query, c.rejected, c.statements))
        for c in comparisons
    ]


def lessons(comparisons: Iterable[Comparison], prompt: str) -> list[Lesson]:
    """A lesson for each query: the mean pairwise loss of its comparisons."""
    by_query: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        by_query.setdefault(comparison.query_id, []).append(comparison)
    return [_lesson(query, of_query, prompt) for query, of_query in by_query.items()]


def _lesson(query_id: str, comparisons: Sequence[Comparison], prompt: str) -> Lesson:
    pairs = pairs_of(comparisons, prompt)
    read, number = readings((text for pair in pairs for text in pair), f"query '{query_id}'")
    chosen, rejected = (torch.tensor([number[pair[side]] for pair in pairs]) for side in (0, 1))

    def loss(found: torch.Tensor) -> torch.Tensor:
        single = found[:, 0]  # (E,)
        return pairwise_logistic(single[chosen.to(single.device)], single[rejected.to(single.device)])

    return Lesson(read, loss)


def score_texts(model: RewardModel, texts: Mapping[Text, str], tokens_per_pass: int) -> dict[Text, float]:
    """Scores of different texts, each with where it is from, for messages."""
    by_place: dict[str, list[Text]] = {}
    for each, where in texts.items():
        by_place.setdefault(where, []).append(each)
    made = [readings(of_place, where) for where, of_place in by_place.items()]
    found = iter(scores(model, [reading for read, _ in made for reading in read], tokens_per_pass))
    values: dict[Text, float] = {}
    for read, number in made:
        single = torch.cat([next(found) for _ in read])[:, 0].tolist()
        values |= {each: single[place] for each, place in number.items()}
    return values


def score_comparisons(
    model: RewardModel, comparisons: Sequence[Comparison], prompt: str, tokens_per_pass: int, seed: int
) -> list[ScoredComparison]:
    """What a model makes of comparisons, also with the principles of these dealt out anew by the seed."""
    dealt = [comparison.statements for comparison in comparisons]
    random.Random(f"reward-shuffled-{seed}").shuffle(dealt)
    others = [c.model_copy(update={"statements": of_other}) for c, of_other in zip(comparisons, dealt, strict=True)]
    own, shuffled = pairs_of(comparisons, prompt), pairs_of(others, prompt)
    where = {
        each: f"query '{comparison.query_id}'"
        for pairs in (own, shuffled)
        for comparison, pair in zip(comparisons, pairs, strict=True)
        for each in pair
    }
    values = score_texts(model, where, tokens_per_pass)
    return [
        ScoredComparison(
            comparison=comparison,
            chosen=values[pair[0]],
            rejected=values[pair[1]],
            shuffled=(values[other[0]], values[other[1]]) if comparison.statements else None,
        )
        for comparison, pair, other in zip(comparisons, own, shuffled, strict=True)
    ]


@dataclass(frozen=True)
class Answer:
    """A response with the query and the principles that the model reads with it; `where` it is from, for messages."""

    where: str
    query: str
    response: str
    statements: Sequence[Statement]


def response_scores(answers: Sequence[Answer], prompt: str, folder: Path, base: Path, engine: Engine) -> list[float]:
    """Scores of responses by a trained reward model, in their order.

    Args:
        prompt: of the reward.
        folder: of the reward model.
        base: the base model, of which that one must have been trained.
        engine: how passes are computed.

    Raises:
        UserError: as `RewardModel.load`; or a text is too long.
    """
    texts = [text(prompt, answer.query, answer.response, answer.statements) for answer in answers]
    with processes() as group:
        model = RewardModel.load(folder, base, engine.scoring, group)
        where = {each: answer.where for each, answer in zip(texts, answers, strict=True)}
        found = score_texts(model, where, engine.tokens_per_pass)
    return [found[each] for each in texts]
