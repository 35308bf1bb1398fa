"""Prompts: how a constitution and a query become the text that a policy continues."""

from collections.abc import Sequence
from typing import Any

from sami.records import Constitution, Example, Query
from sami.settings import Prompts


def constitution_text(constitution: Constitution, order: Sequence[int], prompts: Prompts) -> str:
    """The constitution's statements in the given order, each in the `statement` template, joined by the separator."""
    statements = (constitution.statements[index].text for index in order)
    return prompts.separator.join(
        prompts.statement.replace("{statement}", text).replace("{number}", str(number))
        for number, text in enumerate(statements, 1)
    )


def fill(template: str, constitution: str, query: str) -> str:
    """Puts both texts into a template. Braces inside the texts are left alone: they are data."""
    before, after = template.split("{constitution}", 1)
    return before.replace("{query}", query) + constitution + after.replace("{query}", query)


def render(text: str, prompts: Prompts, tokenizer: Any) -> list[int]:
    """Token ids of a prompt: through the tokenizer's chat template, up to where the answer begins, or as plain text."""
    if prompts.style == "plain":
        return tokenizer(text)["input_ids"]
    messages = [{"role": "user", "content": text}]
    if prompts.system is not None:
        messages.insert(0, {"role": "system", "content": prompts.system})
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(rendered, add_special_tokens=False)["input_ids"]


def example_prompts(
    example: Example,
    query: Query,
    constitutions: dict[str, Constitution],
    prompts: Prompts,
    tokenizer: Any,
    template: str,
) -> list[list[int]]:
    """Token ids of the C prompts of one example, one under each of its constitutions."""
    return [
        render(
            fill(template, constitution_text(constitutions[identifier], example.order, prompts), query.text),
            prompts,
            tokenizer,
        )
        for identifier in example.constitution_ids
    ]
