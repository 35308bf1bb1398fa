"""Makes SteerLM's training examples: each sampled response, behind its query and its label.

Reads   sampled examples (Example), their labels (Label), queries (Query) and constitutions (Constitution)
Writes  training examples (TrainingExample), one a response, and a JSON file that counts responses (sampled, kept, and
        by reason dropped), how many of those sampled have each value of each attribute, and how many have the one that
        they were asked for, if they were

    python -m sami.stages.build_steerlm_examples --help
"""

import json
import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.methods.steerlm import as_asked, counts, labelled_examples, occurrences
from sami.settings.methods import SteerLM
from sami.settings.tasks import Filters, Prompts
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    labels = records.read(records.Label, arguments.labels)
    texts = queries, constitutions, arguments.prompts, arguments.template, arguments.filters
    shuffle_by = arguments.seed if arguments.method.labels == "shuffled" else None
    with within(str(arguments.labels)):
        kept, dropped = labelled_examples(examples, labels, *texts, shuffle_by, arguments.method.words)
    sampled = sum(len(example.responses) for example in examples)
    found = occurrences(labels, arguments.method.levels), as_asked(examples, labels)
    counted = counts(kept, sampled, dropped, *found, arguments.policy)
    log.info("kept %(kept)d of %(sampled)d responses, dropped: %(dropped)s, values: %(values)s", counted)
    records.write(kept, arguments.output)
    arguments.counts.write_text(json.dumps(counted, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--labels", "labels of these responses, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--template", "training prompt, with the fields {query} and {attributes}")
    stage.structured("--filters", Filters, "which responses are dropped")
    stage.structured("--method", SteerLM, "whether labels are shuffled, and the number of their values")
    stage.setting("--seed", "seed of shuffled labels", type=int)
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.output("--output", "training examples to write")
    stage.output("--counts", "JSON counts to write")
    stage.run(main)
