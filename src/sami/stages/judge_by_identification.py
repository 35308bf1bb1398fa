"""Judges a policy's responses against a comparator's by how surely another model tells what they were written for.

Reads   examples (Example) of the policy and of the comparator for the same queries and constitutions, queries (Query),
        constitutions (Constitution), and what that model makes of both sides' responses (Recognised)
Writes  verdicts (Verdict), one a pair

    python -m sami.stages.judge_by_identification --help
"""

import logging

from sami import records
from sami.judging.identification import judge
from sami.judging.pairs import pairs_of_files
from sami.settings.judges import IdentificationJudge
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    files = arguments.responses, arguments.comparator_responses, arguments.queries, arguments.constitutions
    pairs = pairs_of_files(*files, arguments.judged)
    sides = arguments.recognised, arguments.comparator_recognised
    told = (records.read(records.Recognised, file) for file in sides)
    verdicts = judge(pairs, arguments.judge_name, arguments.judge, *told, sides)
    records.write(verdicts, arguments.output)
    rate = sum(verdict.preference for verdict in verdicts) / len(verdicts)
    log.info("%d verdicts by %s: win rate %.3f", len(verdicts), arguments.judge_name, rate)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "examples of the policy")
    stage.input("--comparator-responses", "examples of the comparator")
    stage.input("--queries", "held-out queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.input("--recognised", "what the model makes of the policy's responses")
    stage.input("--comparator-recognised", "what it makes of the comparator's")
    stage.setting("--judged", "under which constitutions: all, or positive, those that want every principle",
                  choices=["all", "positive"], default="all", required=False)  # fmt: skip
    stage.structured("--judge", IdentificationJudge, "a judge of config/judges")
    stage.setting("--judge-name", "name of the judge, kept in the records")
    stage.output("--output", "verdicts to write")
    stage.run(main)
