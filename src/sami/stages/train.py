"""Trains the policy of one iteration with the SAMI objective on its sampled responses.

Reads   a model folder to start from, the reference model, examples (Example), queries (Query), constitutions
        (Constitution)
Writes  a model folder, and the metrics of every step as JSON Lines; TensorBoard events beside them

    python -m sami.stages.train --help
"""

import json
import logging
from pathlib import Path

from sami import records, settings
from sami.stage import Stage, remove, require_space

log = logging.getLogger(__name__)


def read_items(arguments, policy, tokenizer):
    """The examples as token ids."""
    from sami import models
    from sami.scoring.items import tokenize

    return tokenize(
        records.read(records.Example, arguments.responses),
        {query.id: query for query in records.read(records.Query, arguments.queries)},
        {c.id: c for c in records.read(records.Constitution, arguments.constitutions)},
        arguments.prompts,
        tokenizer,
        context=models.context_length(policy),
        end_token=arguments.training.score_end_token,
    )


def main(arguments) -> None:
    from torch.utils.tensorboard import SummaryWriter

    from sami import models
    from sami.training.loop import Diverged, train

    require_space(arguments.output.parent, int(models.size(arguments.start) * 1.05), "the trained policy")
    policy = models.load(arguments.start)
    items = read_items(arguments, policy, models.load_tokenizer(arguments.start))
    reference = models.load(arguments.reference) if arguments.training.kl_weight > 0 else None
    remove(Path(arguments.tensorboard))
    last_good = arguments.output.parent / "model.last-good"
    remove(last_good)
    with arguments.metrics.open("w") as file, SummaryWriter(arguments.tensorboard) as board:

        def on_step(metrics: dict) -> None:
            file.write(json.dumps(metrics) + "\n")
            for name, value in metrics.items():
                board.add_scalar(name, value, metrics["step"])

        try:
            train(policy, reference, items, arguments.training, arguments.seed, on_step)
        except Diverged as error:
            policy.load_state_dict(error.state)
            models.save(policy, arguments.start, last_good)
            log.error("the last good state of the policy is in %s", last_good)
            raise
    models.save(policy, arguments.start, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--start", "model folder that training starts from")
    stage.input("--reference", "model folder of the reference model of the KL term")
    stage.input("--responses", "examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.structured("--prompts", settings.Prompts, "the prompts of a task")
    stage.structured("--training", settings.Training, "how to train")
    stage.setting("--seed", "seed of the order of examples", type=int)
    stage.setting("--tensorboard", "folder for TensorBoard events")
    stage.output("--output", "model folder to write")
    stage.output("--metrics", "JSON Lines file of the metrics of every step")
    stage.run(main)
