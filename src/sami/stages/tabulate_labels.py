"""Table of how far predicted labels agree with the checks, on responses that their model has not learned from.

Reads   sampled examples (Example), their predicted labels (Label), queries (Query), constitutions (Constitution),
        principles (Principle)
Writes  a folder with the tables of labels in `sami.analysis.tables.catalogue` as CSV, Markdown and LaTeX

    python -m sami.stages.tabulate_labels --help
"""

import logging

from sami import records
from sami.analysis.tables import build, files, labels
from sami.analysis.tables.catalogue import tables
from sami.analysis.tables.rows import Estimator
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.methods.steerlm import attributes, labelled_queries
from sami.rewards.labels import by_checks
from sami.settings.methods import SteerLM
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    method = arguments.method
    with within(str(arguments.principles)):
        checks = attributes(records.read(records.Principle, arguments.principles), method)
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    with within(str(arguments.responses)):
        learned = labelled_queries(examples, method.attribute_model, arguments.seed)
    others = [example for example in examples if example.query_id not in learned]
    with within(str(arguments.labels)):
        pairs = labels.pairs(records.read(records.Label, arguments.labels), by_checks(others, checks, method.levels))
    estimator = Estimator(arguments.samples, arguments.confidence, arguments.seed)
    frames = {table.name: build.frame(table, build.rows_of(table, pairs, estimator)) for table in tables("labels")}
    files.write(frames, arguments.output)
    log.info("%d responses to %d queries: %d tables", len(pairs), len(others), len(frames))


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--labels", "their predicted labels, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.input("--principles", "principles, one record a line")
    stage.structured("--method", SteerLM, "attributes, their values, and which share of the queries was learned from")
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.setting("--samples", "resamples of the bootstrap", type=int)
    stage.setting("--confidence", "coverage of the intervals", type=float)
    stage.setting("--seed", "seed of the experiment, and of the bootstrap", type=int)
    stage.output("--output", "folder of tables to write")
    stage.run(main)
