"""Labels the sampled responses of an iteration: how far each has each attribute, as a whole number.

Reads   sampled examples (Example), their queries (Query) and constitutions (Constitution), principles (Principle)
Writes  labels (Label), one a response

    python -m sami.stages.label_responses --help
"""

import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.methods.steerlm import attributes
from sami.records import Principle
from sami.rewards.labels import by_checks
from sami.settings.methods import SteerLM
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    with within(str(arguments.principles)):
        checks = attributes(records.read(Principle, arguments.principles), arguments.method)
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    made = list(by_checks(examples, checks, arguments.method.levels))
    log.info("%d responses by %d attributes: %s", len(made), len(checks), ", ".join(checks))
    records.write(made, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.input("--principles", "principles, one record a line")
    stage.structured("--method", SteerLM, "which principles are attributes, and the number of their values")
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.output("--output", "labels to write")
    stage.run(main)
