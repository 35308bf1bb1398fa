"""Attribute models: how far responses have each attribute, as a reward model with an output for each has learned it.

This is SteerLM's step 1 (arXiv 2310.05344, section 3) in the form of the authors' code: a linear head on the last token
and the squared error of the values that are known (NVIDIA/NeMo-Aligner, `megatron_gpt_regression_reward_model.py`),
where the paper has the model write the label as text. Predictions are clipped to the values that there are and rounded
(`attribute_annotate.py`).

Dimensions: R responses to a query, T different ones, A attributes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from sami.data.labels import Values
from sami.methods.steerlm import nearest_value
from sami.records import Example, Label, Query
from sami.rewards.learned import readings, text
from sami.rewards.losses import masked_squared_error
from sami.rewards.reward_model import Lesson, Reading, RewardModel, scores


def means(labels: Sequence[Label], names: Sequence[str]) -> list[float]:
    """Mean known value of each attribute, at which its output starts, so that no step is spent on finding it."""
    known = [[label.values[name] for label in labels if name in label.values] for name in names]
    return [sum(values) / max(1, len(values)) for values in known]


def lessons(
    examples: Iterable[Example],
    labels: Iterable[Label],
    queries: Mapping[str, Query],
    names: Sequence[str],
    prompt: str,
) -> list[Lesson]:
    """A lesson for each example: the squared error of the known values of its responses.

    Args:
        examples: with responses that have a label each.
        labels: of these, perhaps among others.
        queries: by id.
        names: of the attributes, in the order of the model's outputs.
        prompt: what the model reads, with the fields {query} and {response}.
    """
    known = {label.place: label.values for label in labels}
    made = []
    for example in examples:
        places = [(*example.key, number, example.policy) for number in range(len(example.responses))]
        made.append(_lesson(*_read(example, queries, prompt), [known[place] for place in places], names))
    return made


def _lesson(read: list[Reading], rows: list[int], values: Sequence[Values], names: Sequence[str]) -> Lesson:
    wanted = torch.tensor([[float(of.get(name, 0)) for name in names] for of in values])  # (R, A)
    known = torch.tensor([[name in of for name in names] for of in values])

    def loss(found: torch.Tensor) -> torch.Tensor:  # (T, A)
        return masked_squared_error(found[rows], wanted.to(found.device), known.to(found.device))

    return Lesson(read, loss)


def _read(example: Example, queries: Mapping[str, Query], prompt: str) -> tuple[list[Reading], list[int]]:
    """What the model reads of the responses of an example, equal ones once, and the row of its scores for each."""
    query = queries[example.query_id].text
    texts = [text(prompt, query, response.text, ()) for response in example.responses]
    read, row = readings(texts, f"query '{example.query_id}'")
    return read, [row[each] for each in texts]


def predicted(
    model: RewardModel,
    examples: Sequence[Example],
    queries: Mapping[str, Query],
    prompt: str,
    levels: int,
    tokens_per_pass: int,
) -> Iterator[Label]:
    """Yields the label that a model predicts of each response, in order.

    Args:
        prompt: as for `lessons`.
        levels: number of values, 0 to levels - 1.
        tokens_per_pass: see `sami.rewards.reward_model.scores`.
    """
    reads = [_read(example, queries, prompt) for example in examples]
    found = iter(scores(model, [each for read, _ in reads for each in read], tokens_per_pass))
    for example, (read, rows) in zip(examples, reads, strict=True):
        of_texts = torch.cat([next(found) for _ in read]).tolist()  # (T, A)
        for number, row in enumerate(rows):
            values = {name: nearest_value(s, levels) for name, s in zip(model.outputs, of_texts[row], strict=True)}
            place = {"query_id": example.query_id, "set_id": example.set_id, "number": number}
            yield Label(**place, policy=example.policy, values=values)
