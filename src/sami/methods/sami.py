"""SAMI (arXiv 2404.14313): responses under contrasted constitutions become one training example for each query.

The prompts of an example are the training prompts of its C constitutions, its responses the R that were drawn under
them, and the label of a response is the constitution that it was written for (section 3). An example is used only if a
contrast can be learned from it; the filters are those of the authors' code. A further one, which is not theirs, is by
relevance: it leaves out examples with a response that does not belong to its query.

For the objective `sami-joint` an example also has the prompts of other queries of the iteration, under the same
constitutions. For the objective `supervised`, the control without a contrast, an example keeps the prompt that wants
every principle and the responses written for it.

Left out: nothing of the paper. Differences from the authors' code are in docs/methods.md.

Ground floor: no torch.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sami.data.prompts import example_prompts
from sami.data.queries import other_queries
from sami.errors import UserError
from sami.methods.responses import fault, margin, training_responses
from sami.records import Constitution, Example, Query, Relevance, TrainingExample
from sami.settings.methods import RelevanceFilter
from sami.settings.tasks import Filters, Prompts

NO_POSITIVE = "no response under the constitution that wants every principle"
IRRELEVANT = "a response that does not belong to its query"


def reason_to_drop(example: Example, constitutions: Mapping[str, Constitution], filters: Filters) -> str | None:
    """Why an example is not used for training, or None where it is.

    A response is empty; it holds a forbidden mark (an unfilled template, say); one under a constitution that negates
    nothing does not end as demanded; or two responses written for different constitutions are equal, so that nothing
    can be learned from the contrast.

    Args:
        example: with its responses.
        constitutions: by id.
        filters: of the task.
    """
    positive = [constitutions[example.constitution_ids[label]].positive for label in example.labels]
    reason = fault(example.responses, positive, filters)
    texts = {response.text for response in example.responses}
    if reason is None and filters.distinct and len({(r.text, r.constitution) for r in example.responses}) > len(texts):
        return "equal responses"
    return reason


def training_examples(
    examples: Iterable[Example],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    prompts: Prompts,
    filters: Filters,
    objective: str,
    others: Mapping[str, Sequence[Query]] | None = None,
) -> tuple[list[TrainingExample], Counter[str]]:
    """Training examples of one iteration, and counts, by reason, of the examples that are not used.

    Args:
        examples: sampled from one policy, under sets of constitutions.
        queries, constitutions: by id.
        prompts: of the task.
        filters: which examples are dropped.
        objective: name of the objective that they are for.
        others: query id -> other queries with whose prompts it is contrasted (default: none).
    """
    kept: list[TrainingExample] = []
    dropped: Counter[str] = Counter()
    for example in examples:
        texts = example_prompts(example, queries, constitutions, prompts, prompts.training)
        reason = reason_to_drop(example, constitutions, filters)
        if reason is None and objective == "supervised" and 0 not in example.labels:
            reason = NO_POSITIVE
        if reason:
            dropped[reason] += 1
            continue
        made = TrainingExample(
            query_id=example.query_id,
            set_id=example.set_id,
            prompts=texts,
            negatives=[
                prompt
                for other in (others or {}).get(example.query_id, ())
                for prompt in example_prompts(_about(example, other), queries, constitutions, prompts, prompts.training)
            ],
            responses=training_responses(example.responses, example.policy),
            labels=example.labels,
        )
        kept.append(_positive(made) if objective == "supervised" else made)
    return kept, dropped


def relevant_examples(
    examples: Sequence[TrainingExample], relevance: Iterable[Relevance], rule: RelevanceFilter
) -> tuple[list[TrainingExample], Counter[str]]:
    """The training examples that a rule keeps, and a count of the others.

    Args:
        examples: of one iteration, that all other filters have left; a share is one of these.
        relevance: of every response of each example, at least.
        rule: by the smallest margin of an example's responses.

    Raises:
        UserError: there is no relevance of an example's responses.
    """
    smallest: dict[tuple[str, str | None, str], float] = {}
    for record in relevance:
        name = record.query_id, record.set_id, record.policy
        smallest[name] = min(smallest.get(name, math.inf), margin(record))
    names = [(example.query_id, example.set_id, example.responses[0].source) for example in examples]
    for query, set_id, policy in names:
        if (query, set_id, policy) not in smallest:
            raise UserError(
                f"query '{query}', set '{set_id}': found no relevance of its responses by '{policy}', expected a "
                "record of each. Score the relevance of these responses again."
            )
    margins = [smallest[name] for name in names]
    least = _quantile(margins, rule.drop) if rule.least_margin is None else rule.least_margin
    kept = [example for example, found in zip(examples, margins, strict=True) if found >= least]
    irrelevant = len(examples) - len(kept)
    return kept, Counter({IRRELEVANT: irrelevant} if irrelevant else {})


def _quantile(margins: Sequence[float], share: float | None) -> float:
    """The smallest margin that stays where a share of them, rounded down, is dropped; no share is none of them."""
    first = int((share or 0) * len(margins) + 1e-9)  # 0.29 * 100 is a bit less than 29
    return sorted([*margins, math.inf])[first]  # infinity where there is no margin at all


def contrasted_queries(
    examples: Iterable[Example], queries: Mapping[str, Query], count: int, seed: int
) -> dict[str, list[Query]]:
    """Query id -> `count` other queries with whose prompts an example is contrasted, drawn among those of all examples.

    Args:
        examples: sampled for one iteration, before any is dropped.
        queries: by id.
        count: how many, for each query.
        seed: of the draw.

    Raises:
        UserError: there are too few queries with different texts.
    """
    own = [queries[name] for name in dict.fromkeys(example.query_id for example in examples)]
    found = {query.id: other_queries(query, own, count, seed) for query in own}
    for name, others in found.items():
        if len(others) < count:
            raise UserError(
                f"query '{name}': found {len(others)} other queries with another text in the iteration, expected "
                f"{count} ('other_queries' of 'training.objective'). Lower it, or raise 'queries.train'."
            )
    return found


def _about(example: Example, query: Query) -> Example:
    """An example as if it were of another query: under the same constitutions, statements in the same order."""
    return example.model_copy(update={"query_id": query.id})


def _positive(example: TrainingExample) -> TrainingExample:
    """The part of an example under its first constitution, which wants every principle."""
    own = [response for response, label in zip(example.responses, example.labels, strict=True) if label == 0]
    return example.model_copy(update={"prompts": example.prompts[:1], "responses": own, "labels": [0] * len(own)})
