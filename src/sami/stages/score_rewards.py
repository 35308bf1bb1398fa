"""Rewards the sampled responses of a policy, for the constitution that wants every principle or each for its own.

Reads   examples of one policy (Example), queries, constitutions, and for some rewards the relevance of the responses,
        the model folders of judges, or a reward model
Writes  rewards (Reward), a record a response

Answers of judges behind an endpoint are kept as those about verdicts are (`sami.stages.judge_responses`).

    python -m sami.stages.score_rewards --help
"""

import logging
from collections.abc import Mapping
from typing import Any

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import UserError, within
from sami.rewards.candidates import Means
from sami.rewards.responses import reward_responses
from sami.settings.endpoints import Limits
from sami.settings.judges import Judge
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
    judges = arguments.judges or {}
    _require("--rewards", rewards, {name, *(member for reward in rewards.values() for member in reward.members)})
    asked = {reward.asked_judge for reward in rewards.values()} - {None}
    _require("--judges", judges, asked | {one for judge in judges.values() for one in getattr(judge, "members", [])})
    means = Means(
        rewards=rewards,
        judges=judges,
        models={folder.name: folder for folder in arguments.models or []},
        limits=arguments.limits or {},
        answers=arguments.answers,
        account=arguments.account,
        seed=arguments.seed,
        reward_model=arguments.reward_model,
        base_model=arguments.base_model,
        engine=arguments.engine,
    )
    with within(", ".join(str(path) for path in (arguments.responses, arguments.relevance) if path)):
        found = reward_responses(examples, queries, constitutions, relevance, name, means, arguments.own)
    values = [record.reward for record in found]
    log.info("%d responses have a mean reward of %.3f (%s)", len(values), sum(values) / len(values), name)
    records.write(found, arguments.output)


def _require(flag: str, found: Mapping[str, Any], names: set[str]) -> None:
    """Raises UserError where a mapping lacks some names."""
    if missing := names - found.keys():
        listed = ", ".join(found) or "none"
        raise UserError(f"{flag}: found {listed}, expected '{min(missing)}' among them; add it.")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "examples of one policy, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.input("--relevance", "relevance of these responses, where the reward reads it", required=False)
    stage.setting("--own", "reward each for the constitution that it was written for, opposites included",
                  action="store_true", required=False)  # fmt: skip
    stage.structured(
        "--judges", dict[str, Judge], "judges that rewards ask, and members of panels, by name", required=False
    )
    stage.input("--models", "prepared model folders of judges, each with the model's name", nargs="+", required=False)
    stage.structured("--limits", dict[str, Limits], "how judges behind an endpoint are asked, by name", required=False)
    stage.setting("--answers", "database of answers, for judges behind an endpoint", default="", required=False)
    stage.setting(
        "--account", "whom 'max_cost' counts for, besides the judge: the experiment", default="", required=False
    )
    stage.setting(
        "--seed", "seed of the pairs that are compared, and of their order", type=int, default=0, required=False
    )
    stage.input("--reward-model", "folder of the reward model, where the reward is a learned one", required=False)
    stage.input("--base-model", "folder of the base model that it was trained from", required=False)
    stage.structured("--engine", Engine, "how to compute its scores", required=False)
    stage.setting("--policy", "name of the policy")
    stage.setting("--reward", "name of the reward")
    stage.structured("--rewards", dict[str, Reward], "this reward and those that it is made of, by name")
    stage.output("--output", "rewards to write")
    stage.run(main)
