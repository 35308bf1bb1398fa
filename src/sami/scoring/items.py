"""Examples as token ids, ready to be laid out."""

from typing import Any

from sami.errors import UserError
from sami.prompts import example_prompts
from sami.records import Constitution, Example, Query
from sami.scoring.layouts import Item
from sami.settings import Prompts


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
        end_token: append the end token to responses that the policy ended itself. The paper leaves it out.

    Raises:
        UserError: an example names a query or constitution that is not there, a response is empty, a prompt with a
            response exceeds the context, or the examples differ in C or R.
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
        responses = []
        for response in example.responses:
            ids = tokenizer(response.text, add_special_tokens=False)["input_ids"]
            responses.append(ids + [tokenizer.eos_token_id] * (end_token and response.finish == "end"))
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
