"""Trains a model that labels responses, on those to a share of the queries, by the labels of the checks of principles.

Reads   a model folder (the base model's), sampled examples (Example), their queries (Query) and constitutions
        (Constitution), principles (Principle)
Writes  a folder with the attribute model

It runs in one process, and begins anew where it was interrupted.

    python -m sami.stages.train_attribute_model --help
"""

import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.files import require_space
from sami.methods.steerlm import attributes, labelled_queries
from sami.models.startup import import_libraries
from sami.rewards.labels import by_checks
from sami.settings.methods import SteerLM
from sami.settings.training import Engine
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    method, engine = arguments.method, arguments.engine
    with within(str(arguments.principles)):
        checks = attributes(records.read(records.Principle, arguments.principles), method)
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    with within(str(arguments.responses)):
        labelled = labelled_queries(examples, method.attribute_model, arguments.seed)
    learned = [example for example in examples if example.query_id in labelled]
    labels = list(by_checks(learned, checks, method.levels))
    import_libraries()
    import torch

    from sami.distributed.processes import processes
    from sami.models import pretrained
    from sami.rewards.attribute_model import lessons, start_at_means
    from sami.rewards.reward_model import RewardModel, train

    require_space(arguments.output.parent, pretrained.size(arguments.model), "the attribute model")
    torch.manual_seed(arguments.seed)
    with processes() as group, within(str(arguments.responses)):
        made = arguments.model, list(checks), arguments.precision, engine.scoring, arguments.seed, group
        model = RewardModel.from_base(*made)
        start_at_means(model, labels)
        taught = lessons(learned, labels, queries, list(checks), method.attribute_model.prompt)
        losses = train(model, taught, method.attribute_model, engine.tokens_per_pass, arguments.seed)
        log.info("%d steps, loss of the first %.3f, of the last %.3f", len(losses), losses[0], losses[-1])
        model.save(arguments.output, group)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the base model, which becomes the attribute model")
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.input("--principles", "principles, one record a line")
    stage.structured("--method", SteerLM, "which principles are attributes, and how the model learns them")
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--precision", "numbers of weights and passes")
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.setting("--seed", "seed of the labelled queries, of the head, and of the order of queries", type=int)
    stage.output("--output", "folder of the attribute model to write")
    stage.run(main)
