"""Label strings: values of attributes as prompts hold them, and those that a policy is asked for.

A label string is "short:4,warm:0": name and value of each attribute, in an order that is the same everywhere. Where
attributes have words for their values it is "very short, cold".

Ground floor: no torch.
"""

import random
from collections.abc import Iterable, Mapping, Sequence

from sami.data.prompts import fill, policy_prompt
from sami.errors import UserError
from sami.records import Constitution, Example, Label, Prompt
from sami.settings.tasks import Prompts

BETWEEN = ":,"  # what a label string sets names and values apart with

Values = Mapping[str, int]  # attribute -> its value, in the order of label strings


Words = Mapping[str, Sequence[str]]  # attribute -> words for its values 0, 1, ...


def label_string(values: Values, words: Words | None = None) -> str:
    """Values as prompts hold them, joined by commas, in their order: name:value, or the word for the value."""
    if not words:
        return ",".join(f"{name}:{value}" for name, value in values.items())
    return ", ".join(words[name][value] if name in words else f"{name}:{value}" for name, value in values.items())


def attributes_prompt(
    query: str, values: Values, prompts: Prompts, template: str, words: Words | None = None
) -> Prompt:
    """Prompt that puts a query with a label.

    Args:
        query: its text.
        values: that are asked for.
        prompts: of the task.
        template: with the fields {query} and {attributes}, and {turn} where the model's own turn begins.
        words: for values, of the attributes that have some.
    """
    asked, _, begun = template.partition("{turn}")
    fields = {"query": query, "attributes": label_string(values, words)}
    return policy_prompt(fill(asked, **fields), prompts, fill(begun, **fields))


def seen(labels: Iterable[Label], fixed: Values) -> list[dict[str, int]]:
    """The different values of all attributes together that occur in labels and have those that are fixed.

    What has never occurred together would be extrapolation (SteerLM, section 3, step 4).

    Raises:
        UserError: none has.
    """
    every = {label_string(label.values): label.values for label in labels}
    found = [values for values in every.values() if fixed.items() <= values.items()]
    if not found:
        raise UserError(
            f"found no response with {label_string(fixed)} among {len(every)} different labels, expected one at least, "
            "since policies are asked for what occurs. Change 'method.asked', or draw more responses."
        )
    return found


def for_constitution(constitution: Constitution, wanted: Values) -> dict[str, int]:
    """The values that a constitution stands for: those of the principles it wants, and 0 of those it negates.

    Attributes that it says nothing of are left out.

    Args:
        constitution: what is to be followed.
        wanted: of each attribute the value that stands for its principle.

    Raises:
        UserError: none of its principles is an attribute.
    """
    sides = {statement.principle: statement.wanted for statement in constitution.statements}
    found = {name: value if sides[name] else 0 for name, value in wanted.items() if name in sides}
    if not found:
        raise UserError(
            f"constitution '{constitution.id}': none of its principles is an attribute ({', '.join(wanted)}), expected "
            "one at least, whose value can be asked for. Take other principles, or set 'evaluation.constitution' to "
            "in-prompt."
        )
    return found


def ask_for_constitutions(
    examples: Iterable[Example], constitutions: Mapping[str, Constitution], wanted: Values
) -> list[Example]:
    """Examples whose responses are drawn under the labels that stand for their constitutions.

    Raises:
        UserError: see `for_constitution`.
    """
    return [
        example.model_copy(
            update={
                "responses": [
                    response.model_copy(update={"asked": for_constitution(constitutions[identifier], wanted)})
                    for response in example.responses
                    for identifier in [example.constitution_ids[response.constitution]]
                ]
            }
        )
        for example in examples
    ]


def ask(examples: Iterable[Example], known: list[dict[str, int]], seed: int) -> list[Example]:
    """Examples whose responses are drawn under a label each, in place of a constitution.

    Args:
        examples: whose responses are still to be drawn.
        known: the labels, of which each is as likely as another.
        seed: of the draws, by query, set and number of the response.
    """
    asked = []
    for example in examples:
        draws = [random.Random(f"asked-{seed}-{example.query_id}-{example.set_id}-{j}")
                 for j in range(len(example.responses))]  # fmt: skip
        responses = [
            response.model_copy(update={"constitution": 0, "asked": draw.choice(known)})
            for response, draw in zip(example.responses, draws, strict=True)
        ]
        asked.append(example.model_copy(update={"responses": responses}))
    return asked
