"""SteerLM (arXiv 2310.05344): every response is learned, behind a label of how far it has each of some attributes.

Responses are graded on several attributes, and the policy learns p(response | query, label) (step 3 of section 3):
good and bad responses alike, which the label tells apart. Afterwards one asks for the values that one wants. Here
attributes are principles. A label is a string such as "short:4,warm:0": name and value of each attribute, as in the
authors' code (NVIDIA/NeMo-Aligner, `encode_labels`). A value that is not known is not in the string.

An example is one response with one prompt, which holds the query and the label. The responses for iteration 1 are those
that SAMI samples, under all constitutions of a set, so that all values occur. For iteration t = 2, 3, ... policy t - 1
is asked for labels that occurred in iteration 1 (bootstrapping, step 4); its responses are labelled anew, and policy t
learns them behind what they are, not behind what was asked for. None is filtered out by its label.

Left out:

1. The grades of people; in their place stand the degrees of the principles' checks, as labels of all responses, or of
   those that an attribute model (step 1, `sami.rewards.attribute_model`) learns from.
2. SteerLM 2.0 (arXiv 2406.08673), which weights responses by how probable their labels are.

Ground floor: no torch.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median_low
from typing import Any, NamedTuple

from sami.data.labels import BETWEEN, Values, Words, attributes_prompt
from sami.errors import UserError
from sami.methods.responses import plain_example, told, training_responses, usable
from sami.records import Check, Constitution, Example, Label, Principle, Query, Response, TrainingExample
from sami.settings.methods import AttributeModel, SteerLM
from sami.settings.tasks import Filters, Prompts

LABEL_AGAIN = "Label these responses again."


class Question(NamedTuple):
    """A label that a policy is asked for: the attribute that is varied, its value, and the values of all."""

    attribute: str
    value: int
    asked: dict[str, int]


def attributes(principles: Iterable[Principle], settings: SteerLM) -> dict[str, Check]:
    """Attribute -> the check that says how far a response has it, in the order of label strings.

    Args:
        principles: of the experiment; those without a check are none.
        settings: which of them are attributes.

    Raises:
        UserError: the settings name something else, nothing is left, or a name cannot stand in a label string.
    """
    checks = {principle.id: principle.check for principle in principles if principle.check is not None}
    try:
        names = settings.labelled(checks)
    except ValueError as error:
        raise UserError(f"{error}. Write a check, or name other attributes.") from None
    for name in names:
        if set(BETWEEN) & set(name):
            raise UserError(
                f"found the attribute {name!r}, expected a name without colon and comma, which set names and values "
                "apart in a label string ('short:4,warm:0'). Rename the principle."
            )
    return {name: checks[name] for name in names}


def value_of(degree: float, levels: int) -> int:
    """Value from 0 to levels - 1 that a degree from 0 to 1 is nearest to; from the middle to the even one (as NeMo)."""
    return round(degree * (levels - 1))


def nearest_value(score: float, levels: int) -> int:
    """Value from 0 to levels - 1 that is nearest to a score on their scale; from the middle the even one (as NeMo)."""
    return round(min(max(score, 0), levels - 1))


def labelled_queries(examples: Iterable[Example], settings: AttributeModel, seed: int) -> set[str]:
    """Ids of the queries whose responses the attribute model learns from, with their labels.

    Args:
        examples: of the iteration that it learns from.
        settings: which share.
        seed: of the draw.

    Raises:
        UserError: there would be none, or no other.
    """
    queries = list(dict.fromkeys(example.query_id for example in examples))
    try:
        count = settings.labelled_of(len(queries))
    except ValueError as error:
        raise UserError(f"{error}.") from None
    return set(random.Random(f"labelled-{seed}").sample(queries, count))


def labelled_examples(
    examples: Iterable[Example],
    labels: Iterable[Label],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    prompts: Prompts,
    template: str,
    filters: Filters,
    shuffle_by: int | None = None,
    words: Words | None = None,
) -> tuple[list[TrainingExample], Counter[str]]:
    """Training examples, one a response, and counts, by reason, of the responses that are not used.

    A filter drops single responses. `filters.distinct` means nothing here: equal responses have equal labels.

    Args:
        examples: sampled from one policy.
        labels: of every response.
        queries, constitutions: by id.
        prompts: of the task.
        template: of training prompts, with the fields {query} and {attributes}.
        filters: which responses are dropped.
        shuffle_by: seed by which the labels of the responses that are left are dealt out among them; None for own ones.
        words: for values, of the attributes that have some.

    Raises:
        UserError: there is no label of a response.
    """
    known = {label.place: label.values for label in labels}
    kept: list[tuple[Example, Response, Values]] = []
    dropped: Counter[str] = Counter()
    for example in examples:
        for number, _ in usable(example, constitutions, filters, dropped):
            values = told(known, example, number, "label", LABEL_AGAIN)
            kept.append((example, example.responses[number], values))
    dealt = [values for _, _, values in kept]
    if shuffle_by is not None:
        random.Random(f"labels-{shuffle_by}").shuffle(dealt)
    made = [
        plain_example(
            example.query_id,
            example.set_id,
            attributes_prompt(queries[example.query_id].text, values, prompts, template, words),
            training_responses([response], example.policy),
        )
        for (example, response, _), values in zip(kept, dealt, strict=True)
    ]
    return made, dropped


def occurrences(labels: Iterable[Label], levels: int) -> dict[str, list[int]]:
    """Attribute -> number of responses with value 0, 1, ..., levels - 1: one that never occurs cannot be learned."""
    found: dict[str, list[int]] = {}
    for label in labels:
        for name, value in label.values.items():
            found.setdefault(name, [0] * levels)[value] += 1
    return found


def as_asked(examples: Iterable[Example], labels: Iterable[Label]) -> dict[str, int]:
    """Attribute -> number of responses that have the very value that they were asked for; none where none was asked."""
    known = {label.place: label.values for label in labels}
    found: dict[str, int] = {}
    for example in examples:
        for number, response in enumerate(example.responses):
            values = told(known, example, number, "label", LABEL_AGAIN)
            for name, value in (response.asked or {}).items():
                found[name] = found.get(name, 0) + (values.get(name) == value)
    return found


def typical(labels: Iterable[Label]) -> dict[str, int]:
    """Attribute -> the median of its known values; of two in the middle the lower, which occurs."""
    values: dict[str, list[int]] = {}
    for label in labels:
        for name, value in label.values.items():
            values.setdefault(name, []).append(value)
    return {name: median_low(of) for name, of in values.items()}


def questions(usual: Values, names: Sequence[str], settings: SteerLM) -> list[Question]:
    """Labels that a query is asked with: each value of each attribute in turn.

    Args:
        usual: attribute -> the value that it has while another one is varied.
        names: attributes, in the order of label strings.
        settings: how many values there are, and whether the others are asked for their usual value, or not at all.
    """
    others = usual if settings.steering.others == "typical" else {}
    return [
        Question(name, value, {n: value if n == name else others[n] for n in names if n == name or n in others})
        for name in names
        for value in range(settings.levels)
    ]


def counts(
    kept: Sequence[TrainingExample],
    sampled: int,
    dropped: Mapping[str, int],
    found: Mapping[str, list[int]],
    as_asked: Mapping[str, int],
    policy: str,
) -> dict[str, Any]:
    """Counts of responses, sampled, kept and dropped for which reason, and of values.

    Args:
        kept: training examples.
        sampled: how many responses there were before.
        dropped: by reason.
        found: attribute -> number of responses with each value.
        as_asked: attribute -> number of responses with the value that was asked for, where labels were.
        policy: whose responses they are.

    Raises:
        UserError: none is left to train on.
    """
    if not kept:
        raise UserError(
            f"{policy}: none of {sampled} responses is left after clean-up and filters (dropped: {dict(dropped)}). "
            "Look at 'stop', 'filters' and the prompt templates of the task, or raise sampling.max_new_tokens."
        )
    counted = {"sampled": sampled, "kept": len(kept), "dropped": dict(dropped), "values": dict(found)}
    return counted | ({"as_asked": dict(as_asked)} if as_asked else {})
