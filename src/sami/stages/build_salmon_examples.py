"""Makes SALMON's training examples: of each query's responses the one with the highest and with the lowest reward.

Reads   sampled examples (Example), their rewards (Reward), queries, constitutions
Writes  training examples (TrainingExample) with a pair each, which the reference model is still to score, and a JSON
        file that counts examples (sampled, kept), responses that were dropped and ties, with mean rewards

    python -m sami.stages.build_salmon_examples --help
"""

import json
import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.methods.salmon import best_and_worst, counts
from sami.settings.tasks import Filters, Prompts
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    rewards = records.read(records.Reward, arguments.rewards)
    how = arguments.prompts, arguments.template, arguments.filters
    with within(str(arguments.rewards)):
        made = best_and_worst(examples, rewards, queries, constitutions, *how)
        counted = counts(made, len(examples), arguments.policy)
    log.info("kept %(kept)d of %(sampled)d examples, %(ties)d ties; mean rewards: %(mean_reward)s", counted)
    records.write(made.examples, arguments.output)
    arguments.counts.write_text(json.dumps(counted, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--rewards", "rewards of these responses, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--template", "training prompt, with the field {query}, and with or without {constitution}")
    stage.structured("--filters", Filters, "which responses are dropped")
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.output("--output", "training examples to write, whose pairs have no reference log-probabilities")
    stage.output("--counts", "JSON counts to write")
    stage.run(main)
