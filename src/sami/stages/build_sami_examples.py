"""Makes SAMI's training examples of an iteration's sampled responses, and drops what cannot be learned from.

Reads   sampled examples (Example), their queries (Query) and constitutions (Constitution)
Writes  training examples (TrainingExample), and a JSON file that counts what was dropped and why

    python -m sami.stages.build_sami_examples --help
"""

import json
import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.methods.responses import counts
from sami.methods.sami import training_examples
from sami.settings.tasks import Filters, Prompts
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    options = arguments.prompts, arguments.filters, arguments.objective
    kept, dropped = training_examples(examples, queries, constitutions, *options)
    counted = counts(kept, len(examples), dropped, arguments.policy)
    log.info("kept %(kept)d of %(sampled)d examples, dropped %(dropped)s", counted)
    records.write(kept, arguments.output)
    arguments.counts.write_text(json.dumps(counted, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.structured("--filters", Filters, "which examples are dropped")
    stage.setting("--objective", "name of the objective that the examples are for")
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.output("--output", "training examples to write")
    stage.output("--counts", "JSON counts to write")
    stage.run(main)
