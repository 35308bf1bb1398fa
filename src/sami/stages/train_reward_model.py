"""Trains a reward model on comparisons, and scores those that are held out with it.

Reads   a model folder (the base model's), comparisons (Comparison)
Writes  a folder with the reward model, and the held-out comparisons with its scores (ScoredComparison)

It runs in one process, and begins anew where it was interrupted.

    python -m sami.stages.train_reward_model --help
"""

import logging

from sami import records
from sami.errors import UserError, within
from sami.files import require_space
from sami.models.startup import import_libraries
from sami.settings.rewards import LearnedReward
from sami.settings.training import Engine
from sami.stage import Stage

log = logging.getLogger(__name__)


def main(arguments) -> None:
    comparisons = records.read(records.Comparison, arguments.comparisons)
    learned, held_out = ([c for c in comparisons if c.held_out is side] for side in (False, True))
    for found, name in ((learned, "to train on"), (held_out, "that is held out")):
        if not found:
            raise UserError(
                f"{arguments.comparisons}: found no comparison {name} among {len(comparisons)}, expected one at least. "
                "Build the comparisons again."
            )
    import_libraries()
    import torch

    from sami.distributed.processes import processes
    from sami.models import pretrained
    from sami.rewards.learned import OUTPUT, lessons, score_comparisons
    from sami.rewards.reward_model import RewardModel, train

    reward, engine = arguments.reward, arguments.engine
    require_space(arguments.output.parent, pretrained.size(arguments.model), "the reward model")
    torch.manual_seed(arguments.seed)
    with processes() as group, within(str(arguments.comparisons)):
        made = (arguments.model, [OUTPUT], arguments.precision, engine.scoring, arguments.seed, group)
        model = RewardModel.from_base(*made)
        losses = train(model, lessons(learned, reward.prompt), reward, engine.tokens_per_pass, arguments.seed)
        log.info("%d steps, loss of the first %.3f, of the last %.3f", len(losses), losses[0], losses[-1])
        model.save(arguments.output, group)
        scored = score_comparisons(model, held_out, reward.prompt, engine.tokens_per_pass, arguments.seed)
    records.write(scored, arguments.scored)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the base model, which becomes the reward model")
    stage.input("--comparisons", "comparisons, one record a line")
    stage.structured("--reward", LearnedReward, "what the model reads, and how it is trained")
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--precision", "numbers of weights and passes")
    stage.setting("--seed", "seed of the head, of the order of queries, and of shuffled principles", type=int)
    stage.output("--output", "folder of the reward model to write")
    stage.output("--scored", "held-out comparisons with scores to write")
    stage.run(main)
