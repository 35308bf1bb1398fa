"""Supervised fine-tuning: responses become training examples as they are, one example for each query.

- On demonstrations: the reference answers of the training queries (behavioural cloning; LIMA, arXiv 2305.11206).
- On the policy's own responses under the constitution that wants every principle (self-training, arXiv 1909.13788).
  With the constitution left out of the training prompts this is context distillation (arXiv 2112.00861): the policy
  learns to respond without the constitution as it does with it. RLCD (arXiv 2307.12950) has it as a baseline.

An example has one prompt and the responses to it, of which the objective `supervised` raises the likelihood.

Left out: LIMA's schedule, dropout and choice of a checkpoint by hand, since a method makes examples and `training` is
optimisation; self-training's second pass over true pairs, since there are none beside the policy's responses; the
distributions over the whole vocabulary that 2112.00861 distils, in place of which, as in RLCD, stand sampled responses.

Ground floor: no torch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sami.data.constitutions import by_set, empty_examples
from sami.data.prompts import example_prompts, fill, policy_prompt
from sami.errors import UserError
from sami.methods.responses import plain_example, training_responses, usable
from sami.records import Constitution, Example, Prompt, Query, Response, TrainingExample, TrainingResponse
from sami.settings.tasks import Filters, Prompts

DEMONSTRATIONS = "demonstrations"  # source of reference answers
NO_REFERENCE = "no reference answer"
NOT_POSITIVE = "not under the constitution that wants every principle"


def own_examples(
    examples: Iterable[Example],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    prompts: Prompts,
    template: str,
    filters: Filters,
) -> tuple[list[TrainingExample], Counter[str]]:
    """Training examples of a policy's own responses, and counts, by reason, of the responses that are not used.

    A filter drops single responses, as there is no contrast to lose; an example without any is left out. Examples can
    so have different numbers of responses. `filters.distinct` means nothing here: equal responses are what is likely.

    Args:
        examples: sampled from one policy.
        queries, constitutions: by id.
        prompts: of the task.
        template: of training prompts, with a field for the constitution or without.
        filters: which responses are dropped.

    Raises:
        UserError: an example names a query or constitution that is not there.
    """
    kept: list[TrainingExample] = []
    dropped: Counter[str] = Counter()
    for example in examples:
        prompt = _positive_prompt(example, queries, constitutions, prompts, template)
        left = usable(example, constitutions, filters, dropped, _not_positive)
        if left:
            made = training_responses([example.responses[number] for number, _ in left], example.policy)
            kept.append(plain_example(example.query_id, example.set_id, prompt, made))
    return kept, dropped


def demonstrations(
    queries: Sequence[Query],
    constitutions: Sequence[Constitution],
    prompts: Prompts,
    template: str,
    seed: int,
    shuffle: bool,
) -> tuple[list[TrainingExample], Counter[str]]:
    """Training examples of the reference answers of queries, and a count of the queries that have none.

    Filters mend what a policy does wrong; what people wrote stays as it is, but for white space around it.

    Args:
        queries: of one iteration.
        constitutions: in sets; not needed where the template has no field for them. A query is given the set, and its
            statements the order, that sampling would give it.
        prompts: of the task.
        template: of training prompts.
        seed: of sets and order.
        shuffle: whether to shuffle the statements.

    Raises:
        UserError: no query has a reference answer.
    """
    answers = [(query.reference or "").strip() for query in queries]
    answered = [query for query, answer in zip(queries, answers, strict=True) if answer]
    if not answered:
        raise UserError(
            f"none of {len(queries)} training queries has a reference answer, expected demonstrations to learn from. "
            "Name the field that holds them in the task ('train.reference_field'), or set 'method.responses' to own."
        )
    kept = [
        plain_example(query.id, set_id, prompt, [TrainingResponse(text=answer, ended=True, source=DEMONSTRATIONS)])
        for query, answer, (set_id, prompt) in zip(
            answered,
            filter(None, answers),
            _prompts(answered, constitutions, prompts, template, seed, shuffle),
            strict=True,
        )
    ]
    missing = len(queries) - len(answered)
    return kept, Counter({NO_REFERENCE: missing} if missing else {})


def _prompts(
    queries: Sequence[Query],
    constitutions: Sequence[Constitution],
    prompts: Prompts,
    template: str,
    seed: int,
    shuffle: bool,
) -> list[tuple[str | None, Prompt]]:
    """Set of constitutions, if the template has a field for one, and training prompt of each query."""
    if "{constitution}" not in template:
        return [(None, policy_prompt(fill(template, query=query.text), prompts)) for query in queries]
    names, by_query = [query.id for query in queries], {query.id: query for query in queries}
    by_id = {constitution.id: constitution for constitution in constitutions}
    asked = empty_examples(names, by_set(list(constitutions)), 1, DEMONSTRATIONS, seed, shuffle, positive=True)
    return [(one.set_id, _positive_prompt(one, by_query, by_id, prompts, template)) for one in asked]


def _positive_prompt(
    example: Example,
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    prompts: Prompts,
    template: str,
) -> Prompt:
    """Training prompt under the first constitution of the set, which wants every principle."""
    return example_prompts(example, queries, constitutions, prompts, template)[0]


def _not_positive(response: Response, positive: bool) -> str | None:
    return None if positive else NOT_POSITIVE
