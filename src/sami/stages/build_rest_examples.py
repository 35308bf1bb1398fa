"""Makes ReST's training examples of the responses with high rewards, of those that one Grow step has sampled.

Reads   sampled examples (Example), their rewards (Reward), queries, constitutions
Writes  training examples (TrainingExample), and a JSON file that counts examples (sampled, kept), responses (sampled,
        kept, and by reason dropped), with the mean rewards of those sampled and kept

    python -m sami.stages.build_rest_examples --help
"""

import json
import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.methods.responses import counts
from sami.methods.rest import Choice, best_responses
from sami.methods.sft import own_examples
from sami.settings.tasks import Filters, Prompts
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, *arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    rewards = records.read(records.Reward, arguments.rewards)
    choice = Choice(arguments.threshold, arguments.per_query, arguments.cap)
    with within(f"iteration {arguments.iteration}, {arguments.rewards}"):
        best, dropped, counted = best_responses(examples, rewards, constitutions, arguments.filters, choice)
    texts = queries, constitutions, arguments.prompts, arguments.template
    kept, _ = own_examples(best, *texts, arguments.filters)  # what these filters drop is gone
    counted = counts(kept, len(examples), dropped, arguments.policy) | counted
    log.info("kept %(kept)d of %(sampled)d examples, responses: %(responses)s, mean rewards: %(mean_reward)s", counted)
    records.write(kept, arguments.output)
    arguments.counts.write_text(json.dumps(counted, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--rewards", "rewards of these responses, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line", nargs="+")
    stage.setting("--threshold", "reward that a response must exceed", type=float)
    stage.setting("--per-query", "it is a quantile of the query's rewards", action="store_true", required=False)
    stage.setting("--cap", "most responses kept of a query (default: all)", type=int, required=False)
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--template", "training prompt, with the fields {query} and, if wanted, {constitution}")
    stage.structured("--filters", Filters, "which responses are dropped whatever their reward")
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.setting("--iteration", "number of the iteration that learns them, for messages")
    stage.output("--output", "training examples to write")
    stage.output("--counts", "JSON counts to write")
    stage.run(main)
