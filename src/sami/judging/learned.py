"""A reward model as a judge: of two responses the one that it scores higher, for the principles that it reads.

A score is about one response, so it depends on no order, and there is one answer about a pair. Equal texts have one
score, and so are a tie.

Left out: a preference that is graded by the difference of scores. The scale of scores is whatever training has made of
it, and how good a reward model is (`sami.rewards.measures`) is told by which of two scores is higher.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sami.judging.pairs import POINTS, Pair, verdict
from sami.records import Answer, Choice, Statement, Verdict
from sami.rewards.learned import Answer as Candidate
from sami.rewards.learned import response_scores
from sami.settings.judges import LearnedJudge
from sami.settings.rewards import LearnedReward
from sami.settings.training import Engine


def judge(
    pairs: Sequence[Pair],
    name: str,
    settings: LearnedJudge,
    reward: LearnedReward,
    folder: Path,
    base: Path,
    engine: Engine,
) -> Iterator[Verdict]:
    """Yields verdicts on pairs, one each, in their order; both scores stand in the answer's `raw`.

    Args:
        name: of the judge, kept in the records.
        settings: principles that are read.
        reward: for which the model was trained; its prompt is what the model reads.
        folder, base, engine: as for `response_scores`.

    Raises:
        UserError: see `response_scores`.
    """
    chosen = [Statement(principle=words, wanted=True, text=words) for words in settings.principles or ()]
    candidates = [
        Candidate(f"query '{pair.query.id}'", pair.query.text, text, chosen or pair.constitution.statements)
        for pair in pairs
        for text in (pair.first, pair.second)
    ]
    found = response_scores(candidates, reward.prompt, folder, base, engine)
    for pair, first, second in zip(pairs, found[::2], found[1::2], strict=True):
        said = higher(first, second)
        told = f"score {first:.6g} against {second:.6g}"
        yield verdict(pair, name, [Answer(order="policy-first", choice=said, preference=POINTS[said], raw=told)])


def higher(first: float, second: float) -> Choice:
    """Which of two scores is higher; "tie" where they are equal."""
    return "tie" if first == second else "first" if first > second else "second"
