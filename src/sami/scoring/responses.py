"""Scores of sampled responses by one model, as records."""

import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sami.distributed.processes import Processes
from sami.errors import within
from sami.models import pretrained
from sami.models.folders import specification
from sami.records import Constitution, Example, Query, Scores
from sami.scoring.load import load_scorer
from sami.scoring.passes import matrices
from sami.scoring.tokens import tokenize
from sami.settings.tasks import Prompts
from sami.settings.training import Engine


class Source(NamedTuple):
    """Responses of a policy. `where`: the files that they and what they name are from, for messages."""

    policy: str
    examples: Sequence[Example]
    where: str


class Texts(NamedTuple):
    """Texts by the ids in examples, and how prompts are made of them."""

    queries: dict[str, Query]
    constitutions: dict[str, Constitution]
    prompts: Prompts


def score(
    folder: Path, scorer_name: str, sources: Sequence[Source], texts: Texts, engine: Engine, group: Processes
) -> Iterator[Scores]:
    """Yields the scores of one model on the responses of each source, in order; every process has them all.

    Args:
        folder: of the prepared model, which is divided among the processes.
        scorer_name: its name, kept in the records.

    Raises:
        UserError: see `tokenize` and `Scorer.select_layout`.
    """
    scores_of = scorer_of(folder, scorer_name, texts, engine, group)
    for source in sources:
        yield from scores_of(source, f"scoring {source.policy} by {scorer_name}")


def scorer_of(
    folder: Path, scorer_name: str, texts: Texts, engine: Engine, group: Processes
) -> Callable[[Source, str], list[Scores]]:
    """The same for a caller that does not know yet what it will want scored: the model is loaded once.

    Returns:
        a function of responses and of what the bar of progress says.
    """
    gc.collect()  # a model that was scored before may be held by a circle of references
    tokenizer = pretrained.load_tokenizer(folder)
    scorer = load_scorer(folder, group, specification(folder)["dtype"], engine.scoring)
    context = pretrained.context_length(scorer.model.config)

    def scores_of(source: Source, doing: str) -> list[Scores]:
        # An empty response has no log-probability; its example stands in the verdicts and the counts, not here.
        examples = [e for e in source.examples if all(response.text for response in e.responses)]
        with within(source.where):
            items = tokenize(examples, *texts, tokenizer, context=context)
        found = matrices(scorer, items, engine.tokens_per_pass, group, doing)
        return [
            Scores(
                query_id=example.query_id,
                set_id=example.set_id,
                scorer=scorer_name,
                responses_of=source.policy,
                labels=item.labels,
                mean=means,
                sum=sums,
                tokens=[len(response) for response in item.responses],
            )
            for example, item, (sums, means) in zip(examples, items, found, strict=True)
        ]

    return scores_of
