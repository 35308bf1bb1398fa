"""Prompts and responses as token ids, ready to be laid out."""

from collections.abc import Sequence
from typing import Any

from sami.data.prompts import example_prompts, prompt_tokens
from sami.errors import UserError
from sami.records import Constitution, Example, Prompt, Query, Response, TrainingExample, TrainingResponse
from sami.scoring.layout import Item
from sami.settings.tasks import Prompts


def response_tokens(response: Response | TrainingResponse, tokenizer: Any, end_token: bool, query_id: str) -> list[int]:
    """Token ids of a response to be scored: those that were drawn; where they are unknown, those of its text.

    The text alone does not tell them. It has no white space around it, but behind "Answer:" many tokenizers write a
    space and a word as one token; and a model may spell a word in other tokens than its tokenizer would.

    Args:
        end_token: with the end token, where the policy drew one.
        query_id: for the error.

    Raises:
        UserError: the tokens are those of another text.
    """
    if response.token_ids is None:
        ids = tokenizer(response.text, add_special_tokens=False)["input_ids"]
        return ids + [tokenizer.eos_token_id] * (end_token and response.ended)
    ids = response.token_ids[:-1] if response.ended else response.token_ids
    if response.text not in tokenizer.decode(ids, skip_special_tokens=True):
        raise UserError(
            f"query '{query_id}': found the tokens of {tokenizer.decode(ids)!r:.100} with the response "
            f"{response.text!r:.100}, expected those that were drawn for it. Another model has drawn them, or the text "
            "was changed: sample the responses again, or delete 'token_ids' there."
        )
    return response.token_ids if end_token else ids


def tokenize(
    examples: Sequence[Example],
    queries: dict[str, Query],
    constitutions: dict[str, Constitution],
    prompts: Prompts,
    tokenizer: Any,
    *,
    context: int,
) -> list[Item]:
    """Token ids of sampled examples: their responses under the training prompts of all their constitutions.

    Args:
        context: the most tokens that a prompt and a response may have together.

    Raises:
        UserError: an example names a query or constitution that is not there, a response is empty or has the tokens of
            another text, a prompt with a response exceeds the context, or the examples differ in C or R.
    """
    items: list[Item] = []
    for example in examples:
        texts = example_prompts(example, queries, constitutions, prompts, prompts.training)
        items.append(item_of(example.query_id, texts, example.responses, example.labels, tokenizer, context, False))
    check_shapes(items)
    return items


def tokenize_training(
    examples: Sequence[TrainingExample], tokenizer: Any, *, context: int, end_token: bool
) -> list[Item]:
    """Token ids of training examples: their prompts, behind them those of other queries, and their responses.

    Args:
        context: the most tokens that a prompt and a response may have together.
        end_token: score the end token of responses that ended by themselves, too. SAMI's authors leave it out.

    Raises:
        UserError: a response has the tokens of another text, or a prompt with a response exceeds the context.
    """
    options = tokenizer, context, end_token
    return [item_of(e.query_id, [*e.prompts, *e.negatives], e.responses, e.labels, *options) for e in examples]


def check_shapes(items: Sequence[Item]) -> None:
    """Raises UserError where examples differ in their numbers of prompts and responses, C and R."""
    for item in items:
        first, shape = ((len(i.prompts), len(i.responses)) for i in (items[0], item))
        if shape != first:
            raise UserError(
                f"query '{item.name}': {shape[0]} constitutions and {shape[1]} responses, but the examples before have "
                f"{first[0]} and {first[1]}. Sample all responses with the same settings."
            )


def item_of(
    query_id: str,
    prompts: Sequence[Prompt],
    responses: Sequence[Response | TrainingResponse],
    labels: list[int],
    tokenizer: Any,
    context: int,
    end_token: bool,
) -> Item:
    """Token ids of some prompts and responses.

    Raises:
        UserError: a response has the tokens of another text, or a prompt with a response exceeds the context.
    """
    prompt_ids = [prompt_tokens(prompt, tokenizer) for prompt in prompts]
    response_ids = [response_tokens(response, tokenizer, end_token, query_id) for response in responses]
    needed = max(map(len, prompt_ids)) + max(map(len, response_ids))
    if needed > context:
        raise UserError(
            f"query '{query_id}': its prompt and response have {needed} tokens, more than the model's context of "
            f"{context}. Shorten the query or the prompt template, or lower sampling.max_new_tokens."
        )
    return Item(query_id, prompt_ids, response_ids, labels)
