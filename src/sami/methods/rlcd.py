"""RLCD (arXiv 2307.12950), direct: responses under contrasted constitutions become pairs, one of them preferred.

RLCD asks one model twice, under a prompt that wants a principle and under one that wants its opposite, and takes the
first response for the better one (section 3): a judgement that nobody makes. The policy learns the pairs under the
query alone, so that it does unasked what it did when it was asked. The responses are those that SAMI samples.

An example has one prompt, without a constitution, the responses that stand in a pair, and the pairs: each response
under the constitution that wants every principle, preferred to each under the others.

Left out:

1. The preference model that the authors train on the pairs (a learned reward, for other methods), and PPO against it.
   The objective `preference` fits the pairs with the policy's own log-ratios to the reference in place of a reward
   (arXiv 2305.18290, section 4), with neither a second model nor sampling while it trains.
2. Affixes of the assistant's turn, as "(harmless, helpful response)": polarity stands in the constitution, where a task
   puts it.
3. Drawing an unusable response anew, up to five times in all: its pairs are left out.

Ground floor: no torch.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sami.data.prompts import example_prompts
from sami.errors import UserError
from sami.methods.responses import paired_example, training_responses, usable
from sami.records import Constitution, Example, Preference, Prompt, Query, Response, TrainingExample
from sami.settings.methods import Rlcd
from sami.settings.tasks import Filters, Prompts

CUT_OFF = "cut off by the limit of tokens"

Places = tuple[int, int]  # of the two responses of a pair in their example


class Pairs(NamedTuple):
    """What the responses of one iteration give.

    examples: training examples, each with a pair at least.
    dropped: responses that are not used, by reason.
    ties: pairs of equal texts, of which neither can be preferred.
    """

    examples: list[TrainingExample]
    dropped: Counter[str]
    ties: int


def pair_examples(
    examples: Iterable[Example],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    prompts: Prompts,
    template: str,
    filters: Filters,
    settings: Rlcd,
    seed: int,
) -> Pairs:
    """Training examples with the pairs of one iteration, whose reference log-probabilities are still to be scored.

    A filter drops single responses, and with them their pairs; an example without any is left out. `filters.distinct`
    means nothing here: equal responses are no pair anyway.

    Args:
        examples: sampled from one policy, under sets of constitutions.
        queries, constitutions: by id.
        prompts: of the task.
        template: of training prompts, without a field for the constitution.
        filters: which responses are dropped.
        settings: which response of a pair is chosen, and what becomes of unfinished ones.
        seed: of shuffled labels.

    Raises:
        UserError: an example names a query or constitution that is not there.
    """
    kept: list[TrainingExample] = []
    dropped: Counter[str] = Counter()
    ties = 0

    def cut_off(response: Response, positive: bool) -> str | None:
        return CUT_OFF if settings.unfinished == "drop" and response.finish == "length" else None

    for example in examples:
        prompt = example_prompts(example, queries, constitutions, prompts, template)[0]
        left = usable(example, constitutions, filters, dropped, cut_off)
        wanted, others = ([place for place, positive in left if positive is side] for side in (True, False))
        both = list(itertools.product(wanted, others))
        pairs = [pair for pair in both if len({example.responses[place].text for place in pair}) == 2]
        ties += len(both) - len(pairs)
        if pairs:
            kept.append(_example(example, prompt, labelled(pairs, settings, seed, example.query_id), settings.labels))
    return Pairs(kept, dropped, ties)


def labelled(pairs: Sequence[Places], settings: Rlcd, seed: int, query_id: str) -> list[Places]:
    """Places of chosen and rejected responses, in this order, as `settings.labels` says.

    Args:
        pairs: of one query, the response under the constitution that wants every principle first.
        settings: see there.
        seed: of shuffled labels, a draw a pair.
        query_id: another query has other draws.
    """
    draw = random.Random(f"labels-{seed}-{query_id}")
    swapped = {"contrast": lambda: False, "reversed": lambda: True, "shuffled": lambda: draw.random() < 0.5}
    return [pair[::-1] if swapped[settings.labels]() else pair for pair in pairs]


def counts(made: Pairs, sampled: int, policy: str) -> dict[str, Any]:
    """Counts of examples, responses and pairs. Raises UserError where no pair is left to train on.

    Args:
        made: of all examples.
        sampled: how many examples there were.
        policy: whose responses they are.
    """
    if not made.examples:
        raise UserError(
            f"{policy}: none of {sampled} examples has a pair to learn from: found {made.ties} ties (pairs of equal "
            f"texts), and dropped responses: {dict(made.dropped) or 'none'}; expected responses that differ under a "
            "constitution and its opposite. Raise sampling.temperature or sampling.responses against ties; else look "
            "at 'filters' of the task, raise sampling.max_new_tokens, or set 'method.unfinished' to keep."
        )
    pairs = sum(len(example.pairs) for example in made.examples)
    found = {"sampled": sampled, "kept": len(made.examples), "dropped": dict(made.dropped)}
    return {**found, "pairs": pairs, "ties": made.ties}


def _example(example: Example, prompt: Prompt, pairs: Sequence[Places], kind: str) -> TrainingExample:
    used = sorted(set(itertools.chain.from_iterable(pairs)))
    made = training_responses([example.responses[place] for place in used], example.policy)
    preferred = [Preference(chosen=chosen, rejected=rejected, kind=kind) for chosen, rejected in pairs]
    return paired_example(example.query_id, example.set_id, prompt, dict(zip(used, made, strict=True)), preferred)
