"""Trains the policy of one iteration on its training examples.

Reads   a model folder to start from, the reference model, training examples (TrainingExample)
Writes  a model folder, and the metrics of every step as JSON Lines; TensorBoard events and checkpoints beside them

Runs in as many processes as the engine's `processes` says, on `--nodes` nodes of a Slurm job; or start it yourself:

    torchrun --nproc-per-node 8 -m -- sami.stages.train ...

SIGTERM and SIGUSR1 save a checkpoint and end it with status 75; the same command then resumes.

    python -m sami.stages.train --help
"""

from pathlib import Path

from sami.models.startup import import_libraries
from sami.settings.training import Engine, Training
from sami.stage import Stage


def main(arguments) -> None:
    import_libraries()
    from sami.distributed.processes import processes
    from sami.training.run import Run

    inputs = arguments.start, arguments.reference, arguments.examples
    settings = arguments.training, arguments.engine, arguments.seed
    run = Run(*inputs, *settings, arguments.run_name, arguments.tensorboard, arguments.checkpoints)
    with processes() as group:
        run.execute(arguments.output, arguments.metrics, group)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--start", "model folder that training starts from")
    stage.input("--reference", "model folder of the reference model of the KL term")
    stage.input("--examples", "training examples, one record a line")
    stage.structured("--training", Training, "how to train")
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--seed", "seed of the order of examples", type=int)
    stage.setting("--run-name", "name of the run for experiment trackers")
    stage.setting("--tensorboard", "folder for TensorBoard events", type=Path)
    stage.setting("--checkpoints", "folder for the state of an unfinished run", type=Path)
    stage.setting("--nodes", "nodes of the Slurm job to run on", type=int, required=False, default=1)
    stage.output("--output", "model folder to write")
    stage.output("--metrics", "JSON Lines file of the metrics of every step")
    stage.run(main, processes=lambda arguments: arguments.engine.processes, nodes=lambda arguments: arguments.nodes)
