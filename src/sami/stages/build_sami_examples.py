"""Makes SAMI's training examples of an iteration's sampled responses, and drops what cannot be learned from.

Reads   sampled examples (Example), their queries (Query) and constitutions (Constitution); where examples are left out
        by the relevance of their responses, this (Relevance)
Writes  training examples (TrainingExample), and a JSON file that counts what was dropped and why

    python -m sami.stages.build_sami_examples --help
"""

import json
import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import UserError, within
from sami.methods.responses import counts
from sami.methods.sami import contrasted_queries, relevant_examples, training_examples
from sami.settings.methods import RelevanceFilter
from sami.settings.tasks import Filters, Prompts
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    options = arguments.prompts, arguments.filters, arguments.objective
    if bool(arguments.relevance) != bool(arguments.relevant):
        raise UserError("--relevance, --relevant: found one of the two, expected both or none. Name the other, too.")
    with within(str(arguments.responses)):
        others = contrasted_queries(examples, queries, arguments.other_queries, arguments.seed)
    kept, dropped = training_examples(examples, queries, constitutions, *options, others)
    if arguments.relevance:
        found = records.read(records.Relevance, arguments.relevance)
        with within(f"{arguments.responses}, {arguments.relevance}"):
            kept, irrelevant = relevant_examples(kept, found, arguments.relevant)
        dropped += irrelevant
    counted = counts(kept, len(examples), dropped, arguments.policy)
    log.info("kept %(kept)d of %(sampled)d examples, dropped %(dropped)s", counted)
    records.write(kept, arguments.output)
    arguments.counts.write_text(json.dumps(counted, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.input("--relevance", "relevance, one record a response (default: nothing is left out by it)", required=False)
    stage.structured("--relevant", RelevanceFilter, "which examples are left out by it", required=False)
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.structured("--filters", Filters, "which examples are dropped")
    stage.setting("--objective", "name of the objective that the examples are for")
    stage.setting("--other-queries", "other queries to contrast each with", type=int, default=0, required=False)
    stage.setting("--seed", "seed of their draw", type=int, default=0, required=False)
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.output("--output", "training examples to write")
    stage.output("--counts", "JSON counts to write")
    stage.run(main)
