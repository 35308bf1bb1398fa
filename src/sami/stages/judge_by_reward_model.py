"""Judges a policy's responses against a comparator's by the scores of the experiment's reward model.

Reads   examples (Example) of the policy and of the comparator for the same queries and constitutions, queries (Query),
        constitutions (Constitution), the reward model and the base model that it was trained from
Writes  verdicts (Verdict), one a pair

    python -m sami.stages.judge_by_reward_model --help
"""

import logging

from sami import records
from sami.judging.pairs import pairs_of_files
from sami.models.startup import import_libraries
from sami.settings.judges import LearnedJudge
from sami.settings.rewards import LearnedReward
from sami.settings.training import Engine
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    files = arguments.responses, arguments.comparator_responses, arguments.queries, arguments.constitutions
    pairs = pairs_of_files(*files, arguments.judged)
    import_libraries()
    from sami.judging.learned import judge

    of_model = arguments.reward, arguments.reward_model, arguments.base, arguments.engine
    verdicts = list(judge(pairs, arguments.judge_name, arguments.judge, *of_model))
    records.write(verdicts, arguments.output)
    rate = sum(verdict.preference for verdict in verdicts) / len(verdicts)
    log.info("%d verdicts by %s: win rate %.3f", len(verdicts), arguments.judge_name, rate)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "examples of the policy")
    stage.input("--comparator-responses", "examples of the comparator")
    stage.input("--queries", "held-out queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.setting("--judged", "under which constitutions: all, or positive, those that want every principle",
                  choices=["all", "positive"], default="all", required=False)  # fmt: skip
    stage.structured("--judge", LearnedJudge, "a judge of config/judges")
    stage.setting("--judge-name", "name of the judge, kept in the records")
    stage.structured("--reward", LearnedReward, "the reward that the model was trained for")
    stage.input("--reward-model", "folder of the reward model")
    stage.input("--base", "folder of the base model, from which it was trained")
    stage.structured("--engine", Engine, "how to compute its scores")
    stage.output("--output", "verdicts to write")
    stage.run(main)
