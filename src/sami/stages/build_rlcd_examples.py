"""Makes RLCD's training examples: pairs of sampled responses, which the reference model is still to score.

Reads   sampled examples (Example), their queries (Query) and constitutions (Constitution)
Writes  training examples (TrainingExample) with pairs, and a JSON file that counts examples (sampled, kept), the
        responses that were dropped and why, pairs and ties, and how often the checks agree with the labels

    python -m sami.stages.build_rlcd_examples --help
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.judging.checks import choose, degrees
from sami.methods.rlcd import counts, pair_examples
from sami.records import Constitution, Example, TrainingExample
from sami.settings.methods import Rlcd
from sami.settings.tasks import Filters, Prompts
from sami.stage import Stage

log = logging.getLogger(__name__)


def label_accuracy(
    made: Iterable[TrainingExample], examples: Iterable[Example], constitutions: Mapping[str, Constitution]
) -> dict[str, Any]:
    """Counts of pairs whose chosen response follows the constitution that wants every principle, by its checks.

    They tell how clean the labels are and decide nothing. Pairs whose constitution has no check are not counted.

    Args:
        made: training examples with pairs.
        examples: of which they are made.
        constitutions: by id.

    Returns:
        `right`, `wrong`, `tied`: pairs whose chosen response has the higher, the lower, the same mean degree; and
        `share` = right / (right + wrong), null where there is neither.
    """
    by_set = {e.set_id: [constitutions[name] for name in e.constitution_ids] for e in examples}
    wanted = {set_id: next(c for c in members if c.positive) for set_id, members in by_set.items()}
    found: Counter[str] = Counter()
    for example in made:
        of = [degrees(response.text, wanted[str(example.set_id)]) for response in example.responses]
        found.update(choose(of[pair.chosen], of[pair.rejected], tie_margin=0.0) for pair in example.pairs)
    right, wrong = found["first"], found["second"]
    share = right / (right + wrong) if right + wrong else None
    return {"right": right, "wrong": wrong, "tied": found["tie"], "share": share}


def main(arguments) -> None:
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    how = arguments.prompts, arguments.template, arguments.filters, arguments.method, arguments.seed
    made = pair_examples(examples, queries, constitutions, *how)
    counted = counts(made, len(examples), arguments.policy)
    counted["label_accuracy"] = label_accuracy(made.examples, examples, constitutions)
    log.info("kept %(kept)d of %(sampled)d examples, %(pairs)d pairs; %(ties)d ties, dropped: %(dropped)s", counted)
    records.write(made.examples, arguments.output)
    arguments.counts.write_text(json.dumps(counted, indent=2) + "\n")


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.setting("--template", "training prompt, with the field {query}")
    stage.structured("--filters", Filters, "which responses are dropped")
    stage.structured("--method", Rlcd, "which response of a pair is chosen, and which pairs are left out")
    stage.setting("--seed", "seed of shuffled labels", type=int)
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.output("--output", "training examples to write, whose pairs have no reference log-probabilities")
    stage.output("--counts", "JSON counts to write")
    stage.run(main)
