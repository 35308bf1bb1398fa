"""Rewards of sampled responses, as records."""

from collections.abc import Iterable, Mapping, Sequence

from sami.errors import UserError
from sami.records import Constitution, Example, Query, Relevance, Reward
from sami.rewards.candidates import Candidate, Means
from sami.rewards.kinds import values


def reward_responses(
    examples: Sequence[Example],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    relevance: Iterable[Relevance],
    name: str,
    means: Means,
    own: bool = False,
) -> list[Reward]:
    """Rewards of every response, in order.

    Args:
        examples: of one policy.
        queries, constitutions: by id.
        relevance: of each response, where the reward reads it.
        name: of the reward.
        means: what it rewards with.
        own: whether each is rewarded for the constitution that it was written for, also where that is an opposite;
            else all are for the one of their set that wants every principle, since what is learned is one thing.

    Raises:
        UserError: a set has no constitution that wants every principle, a response lacks what the reward reads, or all
            rewards are equal.
    """
    told = {record.place: record for record in relevance}
    candidates, places = [], []
    for example in examples:
        wanted = None if own else _wanted(example, constitutions)
        for number, response in enumerate(example.responses):
            place = {"query_id": example.query_id, "set_id": example.set_id, "number": number, "policy": example.policy}
            where = f"query '{example.query_id}', set '{example.set_id}', response {number}"
            constitution = wanted or constitutions[example.constitution_ids[response.constitution]]
            query, belongs = queries[example.query_id], told.get(tuple(place.values()))
            candidates.append(Candidate(where, response.text, constitution, query, belongs))
            places.append(place)
    found = [
        Reward(**place, reward=value.reward, parts=value.parts)
        for place, value in zip(places, values(candidates, name, means), strict=True)
    ]
    _check_different(found, name)
    return found


def _wanted(example: Example, constitutions: Mapping[str, Constitution]) -> Constitution:
    """The constitution of an example's set that wants every principle."""
    for constitution in (constitutions[identifier] for identifier in example.constitution_ids):
        if constitution.positive:
            return constitution
    raise UserError(
        f"query '{example.query_id}', set '{example.set_id}': none of the constitutions "
        f"{', '.join(example.constitution_ids)} wants every principle, expected one, for which responses are rewarded. "
        "Build the constitutions again."
    )


def _check_different(found: Sequence[Reward], name: str) -> None:
    """Raises UserError where several responses all have the same reward, which prefers none of them."""
    different = {record.reward for record in found}
    if len(found) > 1 and len(different) == 1:
        raise UserError(
            f"all {len(found)} responses have the reward {different.pop():.3g} ('{name}'), expected different ones, "
            "since a constant tells no response from another. Take another reward, or principles that the policy "
            "follows neither always nor never."
        )
