"""Labels the sampled responses of an iteration by a model that has learned how far responses have each attribute.

Reads   the folders of an attribute model and of the base model, sampled examples (Example), their queries (Query) and
        constitutions (Constitution)
Writes  labels (Label), one a response

A model too large for one GPU is sharded among `--processes`, which this starts; each labels a share of the responses.

    python -m sami.stages.predict_labels --help
"""

import logging

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.models.startup import import_libraries
from sami.settings.methods import SteerLM
from sami.settings.training import Engine
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    method, engine = arguments.method, arguments.engine
    queries = read_by_id(records.Query, arguments.queries)
    constitutions = read_by_id(records.Constitution, arguments.constitutions)
    examples = read_examples(arguments.responses, queries, constitutions, arguments.policy)
    import_libraries()
    from sami.distributed.processes import processes
    from sami.rewards.attribute_model import predicted
    from sami.rewards.reward_model import RewardModel

    with processes() as group:
        model = RewardModel.load(arguments.attribute_model, arguments.base, engine.scoring, group)
        how = method.attribute_model.prompt, method.levels, engine.tokens_per_pass
        with within(str(arguments.responses)):
            made = list(predicted(model, examples, queries, *how))
    if not group.main:
        return
    log.info("%d responses by %d attributes: %s", len(made), len(model.outputs), ", ".join(model.outputs))
    records.write(made, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--attribute-model", "folder of the attribute model")
    stage.input("--base", "folder of the base model, from which it was trained")
    stage.input("--responses", "sampled examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.structured("--method", SteerLM, "what the model reads, and the number of values")
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--policy", "name of the policy whose responses they are")
    stage.setting("--processes", "processes that share the model, one a GPU", type=int, required=False, default=1)
    stage.output("--output", "labels to write")
    stage.run(main, processes=lambda arguments: arguments.processes)
