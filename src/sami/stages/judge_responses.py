"""Judges a policy's responses against a comparator's, for every held-out query and constitution, or the positive ones.

Reads   examples (Example) of the policy and of the comparator for the same queries and constitutions, queries (Query),
        constitutions (Constitution); for a judge of kind 'likelihood' also its model folder
Writes  verdicts (Verdict), one a pair

Answers of an endpoint are kept in a database the moment they arrive, and are never asked for twice: a run that was
killed, or that stopped at the cost limit, goes on where it was. SIGTERM lets the requests under way arrive first.

    python -m sami.stages.judge_responses --help
"""

import logging
from collections import Counter

from sami import records
from sami.judging.kinds import Means, judge
from sami.judging.pairs import POINTS, pairs_of_files
from sami.settings.endpoints import Limits
from sami.settings.judges import Judge
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    files = arguments.responses, arguments.comparator_responses, arguments.queries, arguments.constitutions
    pairs = pairs_of_files(*files, arguments.judged)
    means = Means(
        seed=arguments.seed,
        model=arguments.model,
        limits=arguments.limits or Limits(),
        answers=arguments.answers,
        account=arguments.account,
        server=arguments.server,
    )
    verdicts = judge(pairs, arguments.judge_name, arguments.judge, means)
    records.write(verdicts, arguments.output)
    counts = Counter(verdict.choice for verdict in verdicts)
    rate = sum(verdict.preference for verdict in verdicts) / len(verdicts)
    shown = ", ".join(f"{counts[choice]} {choice}" for choice in POINTS)
    log.info("%d verdicts by %s: win rate %.3f (%s)", len(verdicts), arguments.judge_name, rate, shown)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "examples of the policy")
    stage.input("--comparator-responses", "examples of the comparator")
    stage.input("--queries", "held-out queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.setting("--judged", "under which constitutions: all, or positive, those that want every principle",
                  choices=["all", "positive"], default="all", required=False)  # fmt: skip
    stage.structured("--judge", Judge, "a judge of config/judges")
    stage.setting("--judge-name", "name of the judge, kept in the records")
    stage.input("--model", "prepared model folder, for a judge of kind 'likelihood'", required=False)
    stage.structured("--limits", Limits, "how an endpoint is asked (default: no limits)", required=False)
    stage.setting("--answers", "database of answers, for a judge of kind 'openai'", required=False)
    stage.setting("--account", "whom 'max_cost' counts for: the experiment and the judge", required=False)
    stage.setting("--server", "file of a model server that the workflow has started", required=False)
    stage.setting("--seed", "seed of the order in which a pair is shown, where it is random", type=int)
    stage.output("--output", "verdicts to write")
    stage.run(main)
