"""Makes DITTO's training examples of demonstrations: for fine-tuning, or pairs with what policies have sampled.

Reads   demonstrations (JSON Lines with `query` and `response`), their queries (Query); for pairs the responses for this
        iteration and for older ones (Example), and constitutions
Writes  training examples (TrainingExample): of the demonstrations alone, or with pairs, which the reference model is
        still to score; and a JSON file that counts examples (sampled, kept), pairs by kind, ties, and the responses
        that were dropped and why

    python -m sami.stages.build_ditto_examples --help
"""

import json
import logging

from sami import records
from sami.data import demonstrations
from sami.data.joined import read_by_id, read_examples
from sami.errors import UserError
from sami.methods.ditto import counts, pair_examples, supervised_examples
from sami.records import Constitution, Query
from sami.settings.methods import Shares
from sami.settings.tasks import Filters, Prompts
from sami.stage import Stage

log = logging.getLogger(__name__)


FOR_PAIRS = ("policies", "constitutions", "filters", "shares", "seed")  # what has to come with responses


def samplings(arguments, queries: dict[str, Query]) -> list[list[records.Example]]:
    """The responses for each iteration, from the oldest to the current one."""
    for name in FOR_PAIRS:
        if getattr(arguments, name) in (None, []):
            raise UserError(f"--{name}: found none, expected it beside --responses, of which pairs are made. Name it.")
    if len(arguments.policies) != len(arguments.responses):
        raise UserError(
            f"--policies: found {len(arguments.policies)}, expected one for each of {len(arguments.responses)} files "
            "of --responses. Name as many."
        )
    constitutions = read_by_id(Constitution, arguments.constitutions)
    files = zip(arguments.responses, arguments.policies, strict=True)
    return [read_examples(file, queries, constitutions, policy) for file, policy in files]


def main(arguments) -> None:
    queries = read_by_id(Query, arguments.queries)
    asked = list(queries.values())
    found = demonstrations.read(arguments.demonstrations)
    by_query = demonstrations.by_query(found, asked, arguments.demonstrations)
    how = arguments.prompts, arguments.template
    if arguments.responses:
        sampled = samplings(arguments, queries)
        pairs = pair_examples(asked, by_query, sampled, *how, arguments.filters, arguments.shares, arguments.seed)
        made, counted = pairs.examples, counts(pairs, len(asked), arguments.policies[-1])
        log.info(
            "kept %(kept)d of %(sampled)d examples, pairs: %(kinds)s; %(ties)d ties, dropped: %(dropped)s", counted
        )
    else:
        made = supervised_examples(asked, by_query, *how)
        counted = {"sampled": len(asked), "kept": len(made), "dropped": {}}
        log.info("%d demonstrations of %d queries", len(found), len(asked))
    records.write(made, arguments.output)
    arguments.counts.write_text(json.dumps(counted, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--demonstrations", "demonstrations, one a line")
    stage.input("--queries", "queries of the demonstrations, one record a line")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--template", "training prompt, with the field {query}")
    stage.input("--responses", "sampled examples, a file for each iteration, the current one last (default: no pairs)",
                nargs="*", default=[], required=False)  # fmt: skip
    stage.setting("--policies", "names of the policies whose responses they are", nargs="*", default=[], required=False)
    stage.input("--constitutions", "constitutions that they name, one record a line", required=False)
    stage.structured("--filters", Filters, "which responses are dropped", required=False)
    stage.structured("--shares", Shares, "shares of the kinds of pairs", required=False)
    stage.setting("--seed", "seed of the pairs that are drawn", type=int, required=False)
    stage.output("--output", "training examples to write, whose pairs have no reference log-probabilities")
    stage.output("--counts", "JSON counts to write")
    stage.run(main)
