"""DITTO (arXiv 2406.00888): a few demonstrations become pairs against all that policies sample to the same queries.

Iteration 1 is supervised fine-tuning on the demonstrations D_E. Each later iteration t samples from the policy before
it, and takes the ranking D_E > D_t > D_(t-1) > ... > D_2 for granted (Eq. 2; D_t are the responses for iteration t).
Pairs of it are of three kinds (section 3.2):

- `online`: a demonstration, preferred to a response for this iteration;
- `replay`: a demonstration, preferred to a response for an older one;
- `inter-model`: a response for a newer iteration, preferred to one for an older.

All online pairs are used. Of the others so many are drawn that the kinds have their shares, of all queries together;
before the second sampling there are none. An example has one prompt, the query alone, the responses that stand in a
pair, and the pairs.

Left out:

1. Drawing the pairs of each optimiser step anew: those of an iteration are drawn once, and epochs pass over them.
2. Sampling while training: each sampling is an iteration of its own, with a policy that is kept and evaluated.

Ground floor: no torch.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sami.data.prompts import fill, policy_prompt
from sami.errors import UserError
from sami.methods.responses import fault, paired_example, plain_example, training_responses
from sami.methods.sft import DEMONSTRATIONS
from sami.records import Example, Preference, Prompt, Query, TrainingExample, TrainingResponse
from sami.settings.methods import Shares
from sami.settings.tasks import Filters, Prompts

KINDS = ("online", "replay", "inter-model")


class Ranked(NamedTuple):
    """A response to a query, and its place in the ranking: the higher of two is preferred.

    rank: 0, 1, ... for samplings from the oldest to the current one; above them that of demonstrations.
    """

    response: TrainingResponse
    rank: int


class Pair(NamedTuple):
    """A pair of responses to one query, by their numbers among these."""

    query_id: str
    chosen: int
    rejected: int


class Pairs(NamedTuple):
    """What the responses up to one iteration give.

    examples: training examples, each with a pair at least.
    kinds: pairs in them, by kind.
    dropped: responses that are not used, by reason.
    ties: pairs of equal texts, of which neither can be preferred.
    """

    examples: list[TrainingExample]
    kinds: Counter[str]
    dropped: Counter[str]
    ties: int


def supervised_examples(
    queries: Sequence[Query], demonstrated: Mapping[str, Sequence[str]], prompts: Prompts, template: str
) -> list[TrainingExample]:
    """Training examples of the demonstrations themselves, for iteration 1: one for each query, with all its responses.

    Args:
        queries: of the demonstrations.
        demonstrated: query id -> its demonstrations.
        prompts: of the task.
        template: of training prompts, without a field for the constitution.
    """
    return [
        plain_example(query.id, None, _prompt(query, prompts, template), _demonstrations(demonstrated[query.id]))
        for query in queries
    ]


def pair_examples(
    queries: Sequence[Query],
    demonstrated: Mapping[str, Sequence[str]],
    samplings: Sequence[Sequence[Example]],
    prompts: Prompts,
    template: str,
    filters: Filters,
    shares: Shares,
    seed: int,
) -> Pairs:
    """Training examples with the pairs of one iteration, whose reference log-probabilities are still to be scored.

    A filter drops single responses, and with them their pairs. `filters.positive_ends_with` is for responses to a
    constitution, `filters.distinct` for contrasts of them; both mean nothing here.

    Args:
        queries, demonstrated, prompts, template: as above.
        samplings: the responses for each iteration, from the oldest that is replayed to the current one.
        filters: which responses are dropped.
        shares: of the kinds of pairs.
        seed: of the draws; another current policy has other draws.
    """
    ranked, dropped = _ranked(queries, demonstrated, samplings, filters)
    found: dict[str, list[Pair]] = {kind: [] for kind in KINDS}
    ties = 0
    for query in queries:
        for kind, pair in _pairs(query.id, ranked[query.id], current=len(samplings) - 1):
            responses = ranked[query.id]
            if responses[pair.chosen].response.text == responses[pair.rejected].response.text:
                ties += 1
            else:
                found[kind].append(pair)
    counts = wanted(len(found["online"]), shares)
    made: dict[str, list[Preference]] = {query.id: [] for query in queries}
    kinds: Counter[str] = Counter()
    for kind in KINDS:
        for pair in _drawn(found[kind], counts[kind], f"{kind}-{seed}-{samplings[-1][0].policy}"):
            made[pair.query_id].append(Preference(chosen=pair.chosen, rejected=pair.rejected, kind=kind))
            kinds[kind] += 1
    examples = [
        paired_example(
            query.id,
            None,
            _prompt(query, prompts, template),
            dict(enumerate(one.response for one in ranked[query.id])),
            made[query.id],
        )
        for query in queries
        if made[query.id]
    ]
    return Pairs(examples, kinds, dropped, ties)


def wanted(online: int, shares: Shares) -> dict[str, int]:
    """Kind -> number of pairs that have its share beside so many online ones, which are all used."""
    total = online / shares.online
    return {"online": online, "replay": round(total * shares.replay), "inter-model": round(total * shares.inter_model)}


def counts(made: Pairs, asked: int, policy: str) -> dict[str, Any]:
    """Counts of examples, responses and pairs. Raises UserError where no demonstration is in a pair.

    Args:
        made: of all queries.
        asked: how many queries there were.
        policy: whose responses are the current ones.
    """
    if not made.kinds["online"]:
        raise UserError(
            f"{policy}: no demonstration is in a pair with a response of this policy: found {made.ties} ties (pairs of "
            f"equal texts), and dropped responses: {dict(made.dropped) or 'none'}; expected responses that differ from "
            "the demonstrations. Raise sampling.temperature, or lower 'method.fine_tuning.epochs', against ties; else "
            "look at 'stop' and 'filters' of the task, or raise sampling.max_new_tokens."
        )
    pairs = {"pairs": made.kinds.total(), "kinds": {kind: made.kinds[kind] for kind in KINDS}, "ties": made.ties}
    return {"sampled": asked, "kept": len(made.examples), "dropped": dict(made.dropped), **pairs}


def _prompt(query: Query, prompts: Prompts, template: str) -> Prompt:
    return policy_prompt(fill(template, query=query.text), prompts)


def _demonstrations(texts: Sequence[str]) -> list[TrainingResponse]:
    return [TrainingResponse(text=text, ended=True, source=DEMONSTRATIONS) for text in texts]


def _ranked(
    queries: Sequence[Query],
    demonstrated: Mapping[str, Sequence[str]],
    samplings: Sequence[Sequence[Example]],
    filters: Filters,
) -> tuple[dict[str, list[Ranked]], Counter[str]]:
    """Query id -> its responses that can be used, demonstrations first; and counts of the others, by reason."""
    above = len(samplings)
    ranked = {q.id: [Ranked(response, above) for response in _demonstrations(demonstrated[q.id])] for q in queries}
    dropped: Counter[str] = Counter()
    for rank, sampling in enumerate(samplings):
        for example in sampling:
            for response in example.responses:
                reason = fault([response], [False], filters)
                if reason:
                    dropped[reason] += 1
                else:
                    (usable,) = training_responses([response], example.policy)
                    ranked[example.query_id].append(Ranked(usable, rank))
    return ranked, dropped


def _pairs(query_id: str, responses: Sequence[Ranked], current: int) -> Iterator[tuple[str, Pair]]:
    """(kind, pair) of all pairs of responses to one query of which one is above the other."""
    for i, chosen in enumerate(responses):
        for j, rejected in enumerate(responses):
            if chosen.rank > rejected.rank:
                demonstrated, newest = chosen.rank > current, rejected.rank == current
                kind = ("online" if newest else "replay") if demonstrated else "inter-model"
                yield kind, Pair(query_id, i, j)


def _drawn(pairs: Sequence[Pair], count: int, seed: str) -> list[Pair]:
    """So many of the pairs, drawn with a seed, in their order; all there are where they are fewer."""
    places = random.Random(seed).sample(range(len(pairs)), min(count, len(pairs)))
    return [pairs[place] for place in sorted(places)]
