"""Makes training examples for supervised fine-tuning, of a policy's own responses or of demonstrations.

Reads   queries (Query), their constitutions (Constitution) where prompts hold one, and sampled examples (Example);
        without sampled examples, the queries' reference answers are the responses
Writes  training examples (TrainingExample), and a JSON file that counts examples (sampled, kept) and, by reason, the
        responses that were dropped

    python -m sami.stages.build_sft_examples --help
"""

import json
import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.data.queries import chosen_queries
from sami.errors import within
from sami.methods.responses import counts
from sami.methods.sft import demonstrations, own_examples
from sami.settings.tasks import Filters, Prompts
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    prompts, template = arguments.prompts, arguments.template
    if arguments.responses:
        constitutions = read_by_id(records.Constitution, *arguments.constitutions)
        examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
        sampled = len(examples)
        kept, dropped = own_examples(examples, queries, constitutions, prompts, template, arguments.filters)
    else:
        sets = records.read(records.Constitution, *arguments.constitutions)  # one may stand in several
        chosen = chosen_queries(list(queries.values()), arguments.first, arguments.count, str(arguments.queries))
        sampled = len(chosen)
        with within(str(arguments.queries)):
            kept, dropped = demonstrations(chosen, sets, prompts, template, arguments.seed, arguments.shuffle)
    counted = counts(kept, sampled, dropped, arguments.policy)
    log.info("kept %(kept)d of %(sampled)d examples, dropped responses: %(dropped)s", counted)
    records.write(kept, arguments.output)
    arguments.counts.write_text(json.dumps(counted, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="*", default=[], required=False)
    stage.input("--responses", "sampled examples, one record a line (default: reference answers)", required=False)
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--template", "training prompt, with the fields {query} and, if wanted, {constitution}")
    stage.structured("--filters", Filters, "which responses are dropped; not those of demonstrations")
    stage.setting("--policy", "name of the policy whose responses they are", default="demonstrations", required=False)
    stage.setting("--first", "number of the first query with a demonstration", type=int, default=0, required=False)
    stage.setting("--count", "number of queries with demonstrations", type=int, default=0, required=False)
    stage.setting("--seed", "seed of the demonstrations' constitutions", type=int, default=0, required=False)
    stage.setting("--shuffle", "shuffle their statements", action="store_true", required=False)
    stage.output("--output", "training examples to write")
    stage.output("--counts", "JSON counts to write")
    stage.run(main)
