"""Scores the pairs of training examples by the reference model, with which a preference loss compares the policy.

Reads   a model folder (the reference model's), training examples with pairs (TrainingExample)
Writes  the same training examples, in which each pair has the log-probabilities of its responses under that model

A model too large for one GPU is sharded among `--processes`, which this starts; each scores a share of the examples.

    python -m sami.stages.score_reference --help
"""

from typing import get_args

from sami import records
from sami.models.startup import import_libraries
from sami.settings.training import Engine, Training
from sami.stage import Stage


def main(arguments) -> None:
    import_libraries()
    from sami.distributed.processes import processes
    from sami.scoring.reference import score_pairs

    examples = records.read(records.TrainingExample, arguments.pairs)
    how = arguments.precision, arguments.score_end_token, arguments.engine
    with processes() as group:
        scored = score_pairs(arguments.model, examples, str(arguments.pairs), *how, group)
    if group.main:
        records.write(scored, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--model", "folder of the reference model")
    stage.input("--pairs", "training examples with pairs, one record a line")
    precisions = get_args(Training.model_fields["precision"].annotation)
    stage.setting("--precision", "numbers of weights and passes, as in training", choices=precisions)
    stage.setting("--score-end-token", "score drawn end tokens, as in training", action="store_true", required=False)
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--processes", "processes that share the model, one a GPU", type=int, required=False, default=1)
    stage.output("--output", "training examples to write")
    stage.run(main, processes=lambda arguments: arguments.processes)
