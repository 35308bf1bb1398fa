"""Trains a reward model on comparisons, and scores those that are held out with it.

Reads   a model folder (the base model's), comparisons (Comparison)
Writes  a folder with the reward model, and the held-out comparisons with its scores (ScoredComparison)

Runs in as many processes as the engine's `processes` says, on `--nodes` nodes of a Slurm job. SIGTERM and SIGUSR1 save
a checkpoint and end it with status 75; the same command then resumes.

    python -m sami.stages.train_reward_model --help
"""

from pathlib import Path

from sami import records
from sami.errors import UserError, within
from sami.models.startup import import_libraries
from sami.settings.rewards import LearnedReward
from sami.settings.training import Engine
from sami.stage import Stage


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
    from sami.rewards.learned import OUTPUT, lessons, score_comparisons
    from sami.rewards.reward_model import RewardModel
    from sami.rewards.training import HeadLearner, made_checkpoints, require_room, train

    reward, engine, seed = arguments.reward, arguments.engine, arguments.seed
    require_room(arguments.model, arguments.output, "the reward model")
    torch.manual_seed(seed)
    with processes() as group:
        model = RewardModel.from_base(arguments.model, [OUTPUT], arguments.precision, engine, seed, group)
        with within(str(arguments.comparisons)):
            learner = HeadLearner(model, lessons(learned, reward.prompt))
        checkpoints = made_checkpoints(arguments.checkpoints, model, reward, arguments.precision, seed, learned)
        train(learner, reward, engine, seed, checkpoints)
        model.save(arguments.output)
        with within(str(arguments.comparisons)):
            scored = score_comparisons(model, held_out, reward.prompt, engine.tokens_per_pass, seed)
        if group.main:
            records.write(scored, arguments.scored)
        checkpoints.clear()


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the base model, which becomes the reward model")
    stage.input("--comparisons", "comparisons, one record a line")
    stage.structured("--reward", LearnedReward, "what the model reads, and how it is trained")
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--precision", "numbers of weights and passes")
    stage.setting("--seed", "seed of the head, of the order of queries, and of shuffled principles", type=int)
    stage.setting("--checkpoints", "folder for the state of an unfinished run", type=Path)
    stage.setting("--nodes", "nodes of the Slurm job to run on", type=int, required=False, default=1)
    stage.output("--output", "folder of the reward model to write")
    stage.output("--scored", "held-out comparisons with scores to write")
    stage.run(main, processes=lambda arguments: arguments.engine.processes, nodes=lambda arguments: arguments.nodes)
