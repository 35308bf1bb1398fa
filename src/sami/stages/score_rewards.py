"""Rewards the sampled responses of an iteration, each for the constitution of its set that wants every principle.

Reads   examples of one policy (Example), queries, constitutions, and for some rewards the relevance of the responses
        or a reward model
Writes  rewards (Reward), a record a response

    python -m sami.stages.score_rewards --help
"""

import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import UserError, within
from sami.rewards.kinds import Means
from sami.rewards.responses import reward_responses
from sami.settings.rewards import Reward
from sami.settings.training import Engine
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, *arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    relevance = records.read(records.Relevance, arguments.relevance) if arguments.relevance else []
    name, rewards = arguments.reward, arguments.rewards
    missing = {name, *(member for reward in rewards.values() for member in reward.members)} - rewards.keys()
    if missing:
        raise UserError(f"--rewards: found {', '.join(rewards)}, expected '{min(missing)}' among them; add it.")
    with within(", ".join(str(path) for path in (arguments.responses, arguments.relevance) if path)):
        means = Means(arguments.reward_model, arguments.base_model, arguments.engine)
        found = reward_responses(examples, constitutions, relevance, name, rewards, queries, means)
    values = [record.reward for record in found]
    log.info("%d responses have a mean reward of %.3f (%s)", len(values), sum(values) / len(values), name)
    records.write(found, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "examples of one policy, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.input("--relevance", "relevance of these responses, where the reward reads it", required=False)
    stage.input("--reward-model", "folder of the reward model, where the reward is a learned one", required=False)
    stage.input("--base-model", "folder of the base model that it was trained from", required=False)
    stage.structured("--engine", Engine, "how to compute its scores", required=False)
    stage.setting("--policy", "name of the policy")
    stage.setting("--reward", "name of the reward")
    stage.structured("--rewards", dict[str, Reward], "this reward and those that it is made of, by name")
    stage.output("--output", "rewards to write")
    stage.run(main)
