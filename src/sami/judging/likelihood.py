"""A local model as a judge: how probable it finds A, against B, as the first token of its answer.

One pass over the prompt gives the preference as a number, where a generated answer would give a letter. So small models
serve as well, which seldom write a verdict that can be read, and nothing is drawn at random.

Which token says "A" depends on the tokenizer and on what stands before: "A" alone, or with the space or line break
before it. All tokens that are the letter but for such white space count together, as they do for endpoints
(`sami.judging.prompts.preference`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from sami.data.prompts import chat_tokens, plain_tokens
from sami.errors import UserError
from sami.judging.pairs import Pair, side, verdict
from sami.judging.prompts import ORDERS, Order, messages, preference_of_policy
from sami.models import folders, pretrained
from sami.progress import Progress
from sami.records import Answer, Verdict
from sami.settings.judges import LikelihoodJudge
from sami.spent import spend


def judge(pairs: Sequence[Pair], name: str, judge: LikelihoodJudge, folder: Path | None) -> list[Verdict]:
    """Verdicts on pairs, one each, in their order; every pair is shown in both orders.

    Args:
        pairs: what to judge.
        name: of the judge, kept in the records.
        judge: prompt, margin of ties and batch size. The batch size changes preferences by no more than rounding.
        folder: of the prepared model.

    Raises:
        UserError: the folder is no prepared model, its tokenizer has no token for a letter, or a prompt is longer than
            its context.
    """
    folder = folders.require(folder, "a judge of kind 'likelihood'")
    tokenizer, model = pretrained.load_tokenizer(folder), pretrained.load(folder)
    shown = [
        [render(messages(judge.prompt, judge.system, pair, order), tokenizer) for order in ORDERS] for pair in pairs
    ]
    _check_lengths(pairs, shown, pretrained.context_length(model.config), folder)
    orders_of = defaultdict(list)  # equal prompts are asked once, so that equal responses are an exact tie
    for prompts in shown:
        for order, prompt in zip(ORDERS, prompts, strict=True):
            orders_of[prompt].append(order)
    preferences = _preferences(model, tokenizer, orders_of, judge.batch_size)
    verdicts = []
    for pair, prompts in zip(pairs, shown, strict=True):
        answers = [
            _answer(order, preference_of_policy(preferences[prompt], order), len(prompt), judge.tie_margin)
            for order, prompt in zip(ORDERS, prompts, strict=True)
        ]
        verdicts.append(verdict(pair, name, answers, judge.tie_margin))
    return verdicts


def render(conversation: list[dict[str, str]], tokenizer: Any) -> tuple[int, ...]:
    """Token ids up to where the answer begins: through the chat template, or as plain text where there is none."""
    if tokenizer.chat_template:
        return tuple(chat_tokens(conversation, tokenizer, "the judge's 'system' and 'prompt'"))
    return tuple(plain_tokens("\n\n".join(message["content"] for message in conversation) + "\n", tokenizer))


def letter_tokens(tokenizer: Any, letter: str) -> list[int]:
    """Ids of all tokens that are the letter, with or without white space around it.

    Raises:
        UserError: there is none.
    """
    texts = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    found = [token for token, text in enumerate(texts) if text.strip() == letter]
    if not found:
        raise UserError(
            f"{tokenizer.name_or_path}: the tokenizer has no token for the letter {letter}, expected one for A and one "
            "for B, which a judge of kind 'likelihood' compares. Take another model."
        )
    return found


def _answer(order: Order, preference: float, tokens: int, margin: float) -> Answer:
    return Answer(order=order, choice=side(preference, margin), preference=preference, input_tokens=tokens)


def _check_lengths(pairs: Sequence[Pair], shown: Sequence[Sequence[tuple]], limit: int, folder: Path) -> None:
    """Raises UserError that names the first query whose prompt does not fit into the model's context."""
    for pair, prompts in zip(pairs, shown, strict=True):
        longest = max(map(len, prompts))
        if longest > limit:
            raise UserError(
                f"query '{pair.query.id}': the judge's prompt has {longest} tokens, more than the {limit} that "
                f"{folder} can attend to. Shorten the judge's 'prompt', lower evaluation.sampling.max_new_tokens, or "
                "take a judge with a longer context."
            )


@torch.inference_mode()
def _preferences(
    model: PreTrainedModel, tokenizer: Any, orders_of: Mapping[tuple[int, ...], Sequence[str]], batch_size: int
) -> dict[tuple[int, ...], float]:
    """For each prompt, P(A) / (P(A) + P(B)) of the token behind it.

    Long prompts go first, so that the largest batch shows at once whether memory suffices, and those in a batch have
    similar lengths.

    Args:
        orders_of: for each prompt, the orders of the pairs that it shows; only the progress bar depends on them.
    """
    letters = [torch.tensor(letter_tokens(tokenizer, letter), device=model.device) for letter in "AB"]
    prompts = sorted(orders_of, key=len, reverse=True)
    spend("scored", sum(map(len, prompts)))  # which a method pays for that learns from this judge's rewards
    preferences: dict[tuple[int, ...], float] = {}
    points, done = 0.0, 0
    with Progress(sum(map(len, orders_of.values())), "judging", "answers") as progress:
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            logits = _next_logits(model, batch, tokenizer.pad_token_id)
            a, b = (logits[:, ids].logsumexp(1) for ids in letters)
            preferences.update(zip(batch, torch.sigmoid(a - b).tolist(), strict=True))
            answered = [
                preference_of_policy(preferences[prompt], order) for prompt in batch for order in orders_of[prompt]
            ]
            points, done = points + sum(answered), done + len(answered)
            progress.update(len(answered), win_rate=points / done)
    return preferences


def _next_logits(model: PreTrainedModel, prompts: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
    """(B, V) logits of the token behind each prompt, in float64.

    Padding stands on the right, where no token that counts can attend to it, whatever the kind of positions.
    """
    width = max(map(len, prompts))
    tokens = torch.tensor([[*prompt, *[padding] * (width - len(prompt))] for prompt in prompts], device=model.device)
    last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=model.device)
    mask = torch.arange(width, device=model.device) <= last[:, None]
    kept, column = last.unique(return_inverse=True)  # the head is applied nowhere else
    logits = model(input_ids=tokens, attention_mask=mask.long(), logits_to_keep=kept, use_cache=False).logits
    return logits[torch.arange(len(prompts), device=model.device), column].double()
