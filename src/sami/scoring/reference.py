"""Pairs under the reference model: the log-probabilities that a preference loss compares the policy's with.

One sum a response is all that the loss needs of the reference (arXiv 2305.18290, Eq. 7), so it is computed before
training, once, and kept beside the pair; a KL term, which takes whole distributions, has `sami.training.reference`.

The tokens, the end token and the precision are those of training. Where the policy still is the reference, as before
the first step, both give a response the same log-probability, up to rounding.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sami.distributed.processes import Processes
from sami.errors import UserError, within
from sami.models import pretrained
from sami.records import TrainingExample
from sami.scoring.load import load_scorer
from sami.scoring.passes import matrices
from sami.scoring.tokens import tokenize_training
from sami.settings.training import Engine


class Part(NamedTuple):
    """What the pairs of an example under one of its prompts ask for.

    example, prompt: their numbers. places: of the responses in the example.
    alone: that prompt and these responses as an example of their own.
    """

    example: int
    prompt: int
    places: list[int]
    alone: TrainingExample


def parts(examples: Sequence[TrainingExample]) -> Iterator[Part]:
    """The prompts under which pairs stand, each with its responses; what stands in no pair is not scored."""
    for number, example in enumerate(examples):
        for prompt in sorted({pair.prompt for pair in example.pairs}):
            under = [pair for pair in example.pairs if pair.prompt == prompt]
            places = sorted({place for pair in under for place in (pair.chosen, pair.rejected)})
            alone = TrainingExample(
                query_id=example.query_id,
                prompts=[example.prompts[prompt]],
                responses=[example.responses[place] for place in places],
                labels=[0] * len(places),
            )
            yield Part(number, prompt, places, alone)


def score_pairs(
    folder: Path,
    examples: Sequence[TrainingExample],
    where: str,
    precision: str,
    end_token: bool,
    engine: Engine,
    group: Processes,
) -> list[TrainingExample]:
    """The examples, in which each pair has its log-probabilities under the reference model; every process has them all.

    What a pair had of them before is replaced. An example without pairs stays as it is.

    Args:
        folder: of the prepared reference model, which is divided among the processes.
        where: the file of the examples, for messages.
        precision: of weights and passes, that of training.
        end_token: score the end token of responses that ended by themselves, too, as training does.

    Raises:
        UserError: there is no pair at all; and see `tokenize_training` and `Scorer.select_layout`.
    """
    found = list(parts(examples))
    if not found:
        raise UserError(
            f"{where}: none of {len(examples)} training examples has 'pairs', expected pairs of responses for the "
            "reference model to score. Make the examples with a method that makes pairs."
        )
    tokenizer = pretrained.load_tokenizer(folder)
    scorer = load_scorer(folder, group, precision, engine.scoring)
    context = pretrained.context_length(scorer.model.config)
    with within(where):
        items = tokenize_training([part.alone for part in found], tokenizer, context=context, end_token=end_token)
    scored = matrices(scorer, items, engine.tokens_per_pass, group, "scoring pairs by the reference model")
    sums = {
        (part.example, part.prompt, place): value
        for part, ((row,), _) in zip(found, scored, strict=True)  # one prompt, so one row of sums
        for place, value in zip(part.places, row, strict=False)  # and zeros, where others of its pass have more
    }
    return [_with_reference(number, example, sums) for number, example in enumerate(examples)]


def _with_reference(number: int, example: TrainingExample, sums: dict[tuple[int, int, int], float]) -> TrainingExample:
    pairs = [
        pair.model_copy(
            update={"reference": tuple(sums[number, pair.prompt, place] for place in (pair.chosen, pair.rejected))}
        )
        for pair in example.pairs
    ]
    return example.model_copy(update={"pairs": pairs})
