"""Trains a model that labels responses, on those to a share of the queries, by the labels of the checks of principles.

Reads   a model folder (the base model's), sampled examples (Example), their queries (Query) and constitutions
        (Constitution), principles (Principle)
Writes  a folder with the attribute model

Runs in as many processes as the engine's `processes` says, on `--nodes` nodes of a Slurm job. SIGTERM and SIGUSR1 save
a checkpoint and end it with status 75; the same command then resumes.

    python -m sami.stages.train_attribute_model --help
"""

from pathlib import Path

from sami import records
from sami.data.joined import read_by_id, read_examples
from sami.errors import within
from sami.methods.steerlm import attributes, labelled_queries
from sami.models.startup import import_libraries
from sami.rewards.labels import by_checks
from sami.settings.methods import SteerLM
from sami.settings.training import Engine
from sami.stage import Stage


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
    from sami.rewards.attribute_model import lessons, means
    from sami.rewards.reward_model import RewardModel
    from sami.rewards.training import HeadLearner, made_checkpoints, require_room, train

    require_room(arguments.model, arguments.output, "the attribute model")
    how, names, precision, seed = method.attribute_model, list(checks), arguments.precision, arguments.seed
    torch.manual_seed(seed)
    with processes() as group:
        begin = means(labels, names)
        model = RewardModel.from_base(arguments.model, names, precision, engine, seed, group, begin)
        with within(str(arguments.responses)):
            learner = HeadLearner(model, lessons(learned, labels, queries, names, how.prompt))
        texts = [queries[example.query_id].text for example in learned]
        checkpoints = made_checkpoints(arguments.checkpoints, model, how, precision, seed, learned, labels, texts)
        train(learner, how, engine, seed, checkpoints)
        model.save(arguments.output)
        checkpoints.clear()


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
    stage.setting("--checkpoints", "folder for the state of an unfinished run", type=Path)
    stage.setting("--nodes", "nodes of the Slurm job to run on", type=int, required=False, default=1)
    stage.output("--output", "folder of the attribute model to write")
    stage.run(main, processes=lambda arguments: arguments.engine.processes, nodes=lambda arguments: arguments.nodes)
