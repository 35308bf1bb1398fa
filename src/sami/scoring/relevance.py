"""Relevance: how likely each response is under its own query and under others, by one model, as records.

A response that belongs to its query is likelier there than elsewhere. The model is never the policy that is measured,
which could talk itself up, but one for all policies: the base model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sami.data.prompts import constitution_text, fill, policy_prompt
from sami.data.queries import other_queries
from sami.distributed.processes import Processes
from sami.errors import UserError, within
from sami.models import pretrained
from sami.models.folders import specification
from sami.records import CONTEXTS, Context, Example, Prompt, Query, Relevance, Response
from sami.scoring.layout import Item
from sami.scoring.load import load_scorer
from sami.scoring.passes import matrices
from sami.scoring.responses import Source, Texts
from sami.scoring.tokens import item_of
from sami.settings.training import Engine


@dataclass(frozen=True)
class Contest:
    """Some responses of an example, and prompts of K + 1 queries, the example's own first, under which they are scored.

    numbers: of the responses in the example.
    context: field of the record that the log-probabilities belong to.
    """

    example: Example
    numbers: list[int]
    context: Context
    prompts: list[Prompt]

    def item(self, tokenizer: Any, context: int) -> Item:
        """Its tokens; see `sami.scoring.tokens.item_of`."""
        responses = [_readable(self.example.responses[number], tokenizer) for number in self.numbers]
        labels = [0] * len(responses)  # all answer the first query
        return item_of(self.example.query_id, self.prompts, responses, labels, tokenizer, context, end_token=False)


def _readable(response: Response, tokenizer: Any) -> Response:
    """A response without the tokens that were drawn for it, where these are another tokenizer's.

    The model that tells relevance need not be of the family of the policy, and then reads the text.
    """
    ids = response.token_ids
    if ids and (max(ids) >= len(tokenizer) or response.text not in tokenizer.decode(ids, skip_special_tokens=True)):
        return response.model_copy(update={"token_ids": None})
    return response


def candidates(
    examples: Iterable[Example], queries: Mapping[str, Query], others: int, seed: int
) -> dict[str, list[Query]]:
    """Query id -> the K + 1 queries that compete for its responses, its own first.

    Args:
        examples: of one policy. The others are drawn among their queries.
        queries: by id.
        others: K; where there are fewer other queries, all of them.
        seed: of the draw.

    Raises:
        UserError: the examples have a single query.
    """
    answered = [queries[name] for name in dict.fromkeys(example.query_id for example in examples)]
    found = {query.id: [query, *other_queries(query, answered, others, seed)] for query in answered}
    for name, competing in found.items():
        if len(competing) == 1:
            raise UserError(
                f"query '{name}': found no query with another text, expected two at least, since relevance is about "
                "which query a response belongs to. Raise the number of queries."
            )
    return found


def contests(
    examples: Iterable[Example], competing: Mapping[str, list[Query]], texts: Texts, contexts: Sequence[Context]
) -> Iterator[Contest]:
    """Contests of the responses that are not empty: under the queries alone, with each constitution, or both.

    Raises:
        UserError: the task has no prompt without a constitution.
    """
    alone = texts.prompts.without_constitution
    if alone is None:
        raise UserError(
            "the task's 'prompts.without_constitution' is null, expected the prompt with the query alone. Write it."
        )
    for example in examples:
        queries = competing[example.query_id]

        def prompts(template: str, queries: list[Query] = queries, **fields: str) -> list[Prompt]:
            return [policy_prompt(fill(template, query=q.text, **fields), texts.prompts) for q in queries]

        filled = [number for number, response in enumerate(example.responses) if response.text]
        if filled and "alone" in contexts:
            yield Contest(example, filled, "alone", prompts(alone))
        for label in sorted({example.labels[n] for n in filled}) if "with_constitution" in contexts else ():
            constitution = texts.constitutions[example.constitution_ids[label]]
            text = constitution_text(constitution, example.order, texts.prompts)
            written = [number for number in filled if example.labels[number] == label]
            yield Contest(example, written, "with_constitution", prompts(texts.prompts.training, constitution=text))


def relevance(
    folder: Path,
    scorer_name: str,
    source: Source,
    texts: Texts,
    others: int,
    seed: int,
    engine: Engine,
    group: Processes,
    contexts: Sequence[Context] = CONTEXTS,
) -> list[Relevance]:
    """Relevance of every response of a policy, in order; every process has all of them.

    Args:
        folder: of the prepared model whose probabilities they are, divided among the processes.
        scorer_name: its name, kept in the records.
        others, seed: see `candidates`.
        contexts: fields of the records to fill; the second costs as much as the first.

    Raises:
        UserError: see `candidates`, `contests`, `sami.scoring.tokens.item_of` and `Scorer.select_layout`.
    """
    policy, examples, where = source
    with within(where):
        competing = candidates(examples, texts.queries, others, seed)
        found = list(contests(examples, competing, texts, contexts))
        tokenizer = pretrained.load_tokenizer(folder)
        scorer = load_scorer(folder, group, specification(folder)["dtype"], engine.scoring)
        context = pretrained.context_length(scorer.model.config)
        items = [contest.item(tokenizer, context) for contest in found]
    results = matrices(scorer, items, engine.tokens_per_pass, group, f"relevance of {policy} by {scorer_name}")
    scored: dict[tuple[str, str, int], dict[str, Any]] = {}
    for contest, item, (sums, _) in zip(found, items, results, strict=True):
        for place, number in enumerate(contest.numbers):
            fields = scored.setdefault((*contest.example.key, number), {"tokens": len(item.responses[place])})
            fields[contest.context] = [row[place] for row in sums]  # sums is (K + 1, responses of the contest)
    return [
        _record(example, number, competing[example.query_id], scorer_name, scored.get((*example.key, number)), contexts)
        for example in examples
        for number in range(len(example.responses))
    ]


def _record(
    example: Example,
    number: int,
    queries: list[Query],
    scorer_name: str,
    scored: dict[str, Any] | None,
    contexts: Sequence[Context],
) -> Relevance:
    """The record of one response; without scores where it is empty, so of probability 1 under each query."""
    nothing = {"tokens": 0} | {context: [0.0] * len(queries) for context in contexts}
    return Relevance(
        query_id=example.query_id,
        set_id=example.set_id,
        number=number,
        policy=example.policy,
        scorer=scorer_name,
        candidates=[query.id for query in queries],
        **(scored or nothing),
    )
