"""Keeps the best of each N candidates of a policy, by their rewards, as its responses.

Reads   candidates (Example) of one policy, their rewards (Reward), queries, constitutions
Writes  examples (Example) with the responses that are kept

    python -m sami.stages.choose_best --help
"""

import logging
from statistics import fmean

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.rewards.best import best_responses
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, *arguments.constitutions)
    candidates = read_examples(arguments.candidates, queries, constitutions, arguments.policy)
    rewards = records.read(records.Reward, arguments.rewards)
    with within(f"{arguments.candidates}, {arguments.rewards}"):
        best = best_responses(candidates, rewards, arguments.count)
    kept, mean = sum(len(example.responses) for example in best), fmean(reward.reward for reward in rewards)
    log.info("kept the best of %d for %d responses; the mean reward of all was %.3f", arguments.count, kept, mean)
    records.write(best, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--candidates", "candidates, one record a line")
    stage.input("--rewards", "rewards of these candidates, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.setting("--count", "candidates of which one is kept", type=int)
    stage.setting("--policy", "name of the policy, as the records have it")
    stage.output("--output", "examples to write")
    stage.run(main)
