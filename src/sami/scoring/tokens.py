"""Examples as token ids, ready to be laid out."""

from typing import Any

from sami.data.prompts import example_prompts
from sami.errors import UserError
from sami.records import Constitution, Example, Query, Response
from sami.scoring.layout import Item
from sami.settings.tasks import Prompts


def response_tokens(response: Response, tokenizer: Any, end_token: bool, query_id: str) -> list[int]:
    """Token ids of a response to be scored: those that were drawn; where they are unknown, those of its text.

    The text alone does not tell them. It has no white space around it, but behind "Answer:" many tokenizers write a
    space and a word as one token; and a model may spell a word in other tokens than its tokenizer would.

    Args:
        end_token: with the end token, where the policy drew one.
        query_id: for the error.

    Raises:
        UserError: the tokens are those of another text.
    """
    ended = response.finish == "end"
    if response.token_ids is None:
        ids = tokenizer(response.text, add_special_tokens=False)["input_ids"]
        return ids + [tokenizer.eos_token_id] * (end_token and ended)
    ids = response.token_ids[:-1] if ended else response.token_ids
    if response.text not in tokenizer.decode(ids, skip_special_tokens=True):
        raise UserError(
            f"query '{query_id}': found the tokens of {tokenizer.decode(ids)!r:.100} with the response "
            f"{response.text!r:.100}, expected those that were drawn for it. Another model has drawn them, or the text "
            "was changed: sample the responses again, or delete 'token_ids' there."
        )
    return response.token_ids if end_token else ids


def tokenize(
    examples: list[Example],
    queries: dict[str, Query],
    constitutions: dict[str, Constitution],
    prompts: Prompts,
    tokenizer: Any,
    *,
    context: int,
    end_token: bool = False,
) -> list[Item]:
    """Token ids of the training prompts and the responses.

    Args:
        context: the most tokens that a prompt and a response may have together.
        end_token: score the end token of responses that the policy ended itself, too. The paper leaves it out.

    Raises:
        UserError: an example names a query or constitution that is not there, a response is empty or has the tokens of
            another text, a prompt with a response exceeds the context, or the examples differ in C or R.
    """
    items = []
    for example in examples:
        if example.query_id not in queries or not set(example.constitution_ids) <= constitutions.keys():
            raise UserError(
                f"an example names query '{example.query_id}' and constitutions {example.constitution_ids}, which are "
                "not all in the queries and constitutions given. Sample the responses again."
            )
        query = queries[example.query_id]
        prompt_ids = example_prompts(example, query, constitutions, prompts, tokenizer, prompts.training)
        responses = [response_tokens(response, tokenizer, end_token, query.id) for response in example.responses]
        needed = max(map(len, prompt_ids)) + max(map(len, responses))
        if needed > context:
            raise UserError(
                f"query '{query.id}': its prompt and response have {needed} tokens, more than the model's context of "
                f"{context}. Shorten the query or the prompt template, or lower sampling.max_new_tokens."
            )
        shape = len(prompt_ids), len(responses)
        first = (len(items[0].prompts), len(items[0].responses)) if items else shape
        if shape != first:
            raise UserError(
                f"query '{query.id}': {shape[0]} constitutions and {shape[1]} responses, but the examples before have "
                f"{first[0]} and {first[1]}. Sample all responses with the same settings."
            )
        items.append(Item(query.id, prompt_ids, responses, example.labels))
    return items
