"""SALMON (arXiv 2310.05910), with preference training in place of PPO: a query's best and worst response are a pair.

SALMON trains a reward model that reads principles (`sami.rewards`), and raises its score under chosen principles by
PPO. Here a reward scores several of the policy's own responses to each query, for the constitution that wants every
principle, and the response with the highest is preferred to the one with the lowest: the pair that iterative DPO takes
(arXiv 2406.08673, section 4.3). The policy learns the pairs against a reference, by the objective `preference`. Any
reward will do; a learned one that reads principles makes it SALMON's.

Left out: PPO, and with it what its reward adds (length, unfinished responses, a KL term at each token), principles
that are drawn anew for each response, supervised training of the first policy (Self-Align), and pretraining of the
reward model on preferences of people.

Ground floor: no torch.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from sami.data.prompts import example_prompts
from sami.errors import UserError
from sami.methods.responses import paired_example, told, training_responses, usable
from sami.records import Constitution, Example, Preference, Prompt, Query, Reward, TrainingExample
from sami.settings.tasks import Filters, Prompts

KIND = "best-worst"


class Ranked(NamedTuple):
    """The pairs of one iteration.

    examples: training examples with a pair each.
    dropped: responses that are not used, by reason.
    ties: queries whose usable responses all have one reward, or one text.
    rewards: of all responses, and of those that are chosen and rejected.
    """

    examples: list[TrainingExample]
    dropped: Counter[str]
    ties: int
    rewards: dict[str, list[float]]


def best_and_worst(
    examples: Iterable[Example],
    rewards: Iterable[Reward],
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    prompts: Prompts,
    template: str,
    filters: Filters,
) -> Ranked:
    """Training examples with a pair each, whose reference log-probabilities are still to be scored.

    Filters drop single responses first. Of equal rewards the response that was drawn first counts.

    Args:
        examples: sampled from one policy.
        rewards: of every response.
        queries, constitutions: by id.
        prompts: of the task.
        template: of training prompts.
        filters: which responses are dropped.

    Raises:
        UserError: there is no reward of a response, or an example names a query or constitution that is not there.
    """
    known = {record.place: record.reward for record in rewards}
    made = Ranked([], Counter(), 0, {"sampled": [], "chosen": [], "rejected": []})
    ties = 0
    for example in examples:
        numbers = range(len(example.responses))
        found = [told(known, example, n, "reward", "Score the rewards of these responses again.") for n in numbers]
        made.rewards["sampled"].extend(found)
        left = [number for number, _ in usable(example, constitutions, filters, made.dropped)]
        if not left:
            continue
        best, worst = (choose(left, key=lambda n: found[n]) for choose in (max, min))
        if found[best] == found[worst] or example.responses[best].text == example.responses[worst].text:
            ties += 1
            continue
        made.rewards["chosen"].append(found[best])
        made.rewards["rejected"].append(found[worst])
        pair = Preference(chosen=best, rejected=worst, kind=KIND)
        responses = training_responses([example.responses[n] for n in (best, worst)], example.policy)
        prompt = wanted_prompt(example, queries, constitutions, prompts, template)
        texts = dict(zip((best, worst), responses, strict=True))
        made.examples.append(paired_example(example.query_id, example.set_id, prompt, texts, [pair]))
    return made._replace(ties=ties)


def wanted_prompt(
    example: Example,
    queries: Mapping[str, Query],
    constitutions: Mapping[str, Constitution],
    prompts: Prompts,
    template: str,
) -> Prompt:
    """The training prompt under the constitution that wants every principle; without one all prompts are equal."""
    every = example_prompts(example, queries, constitutions, prompts, template)
    wanted = (n for n, name in enumerate(example.constitution_ids) if constitutions[name].positive)
    return every[next(wanted, 0)]


def counts(made: Ranked, sampled: int, policy: str) -> dict[str, Any]:
    """Counts of examples, responses and ties, and mean rewards. Raises UserError where no pair is left to train on.

    Args:
        made: of all examples.
        sampled: how many examples there were.
        policy: whose responses they are.
    """
    if not made.examples:
        found: Sequence[float] = made.rewards["sampled"]
        raise UserError(
            f"{policy}: none of {sampled} examples has a pair to learn from: found {made.ties} ties (responses of "
            f"equal reward, or of equal text), rewards from {min(found):.3g} to {max(found):.3g}, and dropped "
            f"responses: {dict(made.dropped) or 'none'}; expected responses to a query that differ in their reward. "
            "Raise sampling.temperature or sampling.responses, take another 'method.reward', or look at 'filters' of "
            "the task."
        )
    means = {name: fmean(values) for name, values in made.rewards.items()}
    told_of = {"sampled": sampled, "kept": len(made.examples), "dropped": dict(made.dropped), "ties": made.ties}
    return {**told_of, "mean_reward": means}
