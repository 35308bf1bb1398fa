"""Measures a reward model on the comparisons that it was not trained on, with intervals over queries.

Reads   held-out comparisons with scores (ScoredComparison)
Writes  a JSON file: accuracy, flips by negation, accuracy with shuffled principles, accuracy for each principle

    python -m sami.stages.measure_reward_model --help
"""

import json
import logging

from sami import records
from sami.rewards.measures import measures
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    scored = records.read(records.ScoredComparison, arguments.scored)
    found = measures(scored, arguments.samples, arguments.confidence, arguments.seed)
    for name in ("accuracy", "flips", "shuffled"):
        if told := found[name]:
            log.info("%s %.2f of %d, on %d queries", name, told["estimate"], told["count"], told["queries"])
    arguments.output.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--scored", "held-out comparisons with scores, one record a line")
    stage.setting("--samples", "resamples of the bootstrap", type=int)
    stage.setting("--confidence", "coverage of the intervals", type=float)
    stage.setting("--seed", "seed of the bootstrap", type=int)
    stage.output("--output", "JSON file to write")
    stage.run(main)
