"""Prompts: how a constitution and a query become the text that a policy continues, and a text its tokens."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sami.errors import UserError
from sami.records import Constitution, Example, Message, Prompt, Query
from sami.settings.base import Settings
from sami.settings.tasks import Prompts


class Conversation(Settings):
    """Messages that a model will be asked, in the chat template of its tokenizer.

    settings: which keys of which file the messages follow from.
    messages: mappings with `role` and `content`; of the contents, templates where they stand for texts.
    required: whether the model needs a chat template for it; where not, the texts alone will do.
    """

    settings: str
    messages: list[dict[str, str]]
    required: bool = False


def fill(template: str, **values: str) -> str:
    """Replaces the fields {name} of a template, in one pass: braces inside the values mean nothing, they are data."""
    return re.sub(rf"{{({'|'.join(values)})}}", lambda field: values[field[1]], template)


def constitution_text(constitution: Constitution, order: Sequence[int], prompts: Prompts) -> str:
    """The constitution's statements in the given order, each in the `statement` template, joined by the separator."""
    statements = (constitution.statements[index].text for index in order)
    return prompts.separator.join(
        fill(prompts.statement, statement=text, number=str(number)) for number, text in enumerate(statements, 1)
    )


def policy_prompt(text: str, prompts: Prompts, begun: str = "") -> Prompt:
    """What a policy is asked: the text to continue, or the conversation that it stands in.

    Args:
        text: of the person's turn.
        prompts: of the task.
        begun: how the policy's own turn begins; its response continues that.
    """
    if prompts.style == "plain":
        return text + begun
    turns = chat_messages(text, prompts.system) + ([{"role": "assistant", "content": begun}] if begun else [])
    return [Message(**turn) for turn in turns]


def prompt_tokens(prompt: Prompt, tokenizer: Any) -> list[int]:
    """Token ids of a policy's prompt, up to where the response begins: behind what the assistant's last turn has begun.

    Raises:
        UserError: it is a conversation, and the model has no chat template, or it refuses the messages.
    """
    if isinstance(prompt, str):
        return plain_tokens(prompt, tokenizer)
    messages = [message.model_dump() for message in prompt]
    begun = messages.pop()["content"] if messages[-1]["role"] == "assistant" else ""
    asked = chat_tokens(messages, tokenizer, "the task's prompts ('style' and 'system')")
    return asked + tokenizer(begun, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def render(text: str, prompts: Prompts, tokenizer: Any) -> list[int]:
    """Token ids of the prompt that a text becomes; see `policy_prompt` and `prompt_tokens`."""
    return prompt_tokens(policy_prompt(text, prompts), tokenizer)


def chat_messages(text: str, system: str | None) -> list[dict[str, str]]:
    """A conversation of one question, behind a system message where there is one."""
    asked = [{"role": "user", "content": text}]
    return asked if system is None else [{"role": "system", "content": system}, *asked]


def plain_tokens(text: str, tokenizer: Any) -> list[int]:
    """Token ids of a text that a model is to continue, with what the tokenizer puts before it, but nothing behind it.

    Some tokenizers put their end token behind every text, and what a model writes behind that is no continuation.
    """
    bare, whole = (tokenizer(text, add_special_tokens=special)["input_ids"] for special in (False, True))
    for start in reversed(range(len(whole) - len(bare) + 1)):
        if whole[start : start + len(bare)] == bare:
            return whole[: start + len(bare)]
    return whole


def chat_tokens(messages: list[dict[str, str]], tokenizer: Any, settings: str, where: str | None = None) -> list[int]:
    """Token ids of a conversation in the model's chat template, up to where its answer begins.

    What looks like a control token inside a message is text: only the template writes control tokens.

    Args:
        messages: mappings with `role` and `content`.
        tokenizer: made by `sami.models.pretrained.load_tokenizer`.
        settings: those that the messages follow from, for the error.
        where: the model, for the error (default: its folder).

    Raises:
        UserError: there is no chat template, or it refuses the messages.
    """
    where = where or f"model {tokenizer.name_or_path}"
    if not tokenizer.chat_template:
        raise UserError(
            f"{where}: the tokenizer has no chat template, which {settings} ask for; expected a model that was tuned "
            "for chats. Set 'style' to plain for a base model, or take its instruction-tuned sibling."
        )
    try:
        return tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True
        )
    except Exception as error:  # a template is a program of the model's authors and may fail in any way
        roles = ", ".join(message["role"] for message in messages)
        system = any(message["role"] == "system" for message in messages)
        mend = "Set 'system' to null, and put its text into the user's prompt" if system else "Change them"
        raise UserError(
            f"{where}: its chat template refuses messages of the roles {roles} "
            f"({type(error).__name__}: {' '.join(str(error).split()):.200}). They follow from {settings}. "
            f"{mend}, or take another model."
        ) from None


def example_prompts(
    example: Example,
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    prompts: Prompts,
    template: str,
) -> list[Prompt]:
    """The C prompts of one example, one under each of its constitutions.

    Args:
        queries, constitutions: by id.
        template: with fields for both, or for the query alone: the prompts are then equal.

    Raises:
        UserError: the example names a query or constitution that is not there.
    """
    if example.query_id not in queries or not set(example.constitution_ids) <= constitutions.keys():
        raise UserError(
            f"an example names query '{example.query_id}' and constitutions {example.constitution_ids}, which are "
            "not all in the queries and constitutions given. Sample the responses again."
        )
    query = queries[example.query_id]
    texts = [
        constitution_text(constitutions[identifier], example.order, prompts) for identifier in example.constitution_ids
    ]
    return [policy_prompt(fill(template, constitution=text, query=query.text), prompts) for text in texts]
