"""Makes the comparisons that a reward model is trained and measured on, of the responses of the first iteration.

Reads   sampled examples (Example), their queries (Query) and constitutions (Constitution), principles (Principle)
Writes  comparisons (Comparison)

    python -m sami.stages.build_comparisons --help
"""

import logging
from collections import Counter

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.rewards.comparisons import compare
from sami.settings.rewards import LearnedReward
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    principles = records.read(records.Principle, arguments.principles)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    with within(f"{arguments.responses}, {arguments.principles}"):
        found = compare(examples, queries, constitutions, principles, arguments.reward, arguments.seed)
    held_out = sum(comparison.held_out for comparison in found)
    decided = Counter(comparison.decided_by for comparison in found if comparison.decided_by)
    log.info(
        "%d comparisons to train on, %d held out%s",
        len(found) - held_out,
        held_out,
        "; decided by " + ", ".join(f"{name} {count}" for name, count in decided.most_common()) if decided else "",
    )
    records.write(found, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.input("--principles", "principles, one record a line")
    stage.structured("--reward", LearnedReward, "how responses are compared")
    stage.setting("--seed", "seed of all draws", type=int)
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.output("--output", "comparisons to write")
    stage.run(main)
