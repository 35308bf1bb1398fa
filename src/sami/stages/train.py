"""Trains the policy of one iteration with the SAMI objective on its sampled responses.

Reads   a model folder to start from, the reference model, examples (Example), queries (Query), constitutions
        (Constitution)
Writes  a model folder, and the metrics of every step as JSON Lines; TensorBoard events and checkpoints beside them

Runs in as many processes as the engine's `processes` says, on `--nodes` nodes of a Slurm job; or start it yourself:

    torchrun --nproc-per-node 8 -m -- sami.stages.train ...

SIGTERM and SIGUSR1 save a checkpoint and end it with status 75; the same command then resumes.

    python -m sami.stages.train --help
"""

import hashlib
import json
import logging
from pathlib import Path

from sami import records
from sami.errors import Resumable, within
from sami.files import remove, require_space
from sami.models.folders import fingerprint
from sami.settings.tasks import Prompts
from sami.settings.training import Engine, Training
from sami.stage import Stage

log = logging.getLogger(__name__)


def read_items(arguments, policy, tokenizer):
    """The examples as token ids."""
    from sami.models import pretrained
    from sami.scoring.tokens import tokenize

    texts = (
        {query.id: query for query in records.read(records.Query, arguments.queries)},
        {c.id: c for c in records.read(records.Constitution, arguments.constitutions)},
    )
    examples = records.read(records.Example, arguments.responses)
    context = pretrained.context_length(policy.config)
    with within(f"{arguments.responses}, {arguments.queries}, {arguments.constitutions}"):
        return tokenize(examples, *texts, arguments.prompts, tokenizer, context=context,
                        end_token=arguments.training.score_end_token)  # fmt: skip


def digest(*values) -> str:
    """Digest of anything that has an unambiguous text."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:16]


def identity(arguments, items) -> dict:
    """What a checkpoint belongs to, by name."""
    return {
        "starting model": fingerprint(arguments.start),
        "examples": digest([(item.prompts, item.responses, item.labels) for item in items]),
        "seed": arguments.seed,
        **{f"training.{key}": value for key, value in arguments.training.model_dump(mode="json").items()},
    }


def reference_of(arguments, group):
    """The reference model's head and states for the KL term; nothing where its weight is 0."""
    from sami.distributed.sharding import load_scorer
    from sami.models import pretrained
    from sami.training.reference import ReferenceStates, compute_states, head_of

    if arguments.training.kl_weight == 0:
        return None, None
    folder = arguments.checkpoints / "reference"
    scorer = load_scorer(arguments.reference, group, arguments.training.precision, arguments.engine.scoring)
    items = read_items(arguments, scorer.model, pretrained.load_tokenizer(arguments.reference))
    key = digest(fingerprint(arguments.reference), identity(arguments, items)["examples"])
    compute_states(scorer, items, arguments.engine.tokens_per_pass, group, folder, key)
    return head_of(scorer), ReferenceStates(folder)


def main(arguments) -> None:
    import torch

    from sami.distributed.processes import processes
    from sami.distributed.sharding import load_scorer, save
    from sami.models import pretrained
    from sami.training.adapters import Adapters, check
    from sami.training.checkpoints import Checkpoints
    from sami.training.loop import Diverged, Interrupted, train
    from sami.training.trackers import trackers

    training, engine = arguments.training, arguments.engine
    torch.manual_seed(arguments.seed)  # adapters start at random
    # The weights themselves, and two checkpoints of weights and optimiser.
    require_space(
        arguments.output.parent, pretrained.size(arguments.start) * 5, "the trained policy and its checkpoints"
    )
    tensorboard = Path(arguments.tensorboard)
    last_good = arguments.checkpoints.with_name("model.last-good")
    with processes() as group:
        if training.lora:
            check(group.size)
        adapters = Adapters(training.lora) if training.lora else None
        head, reference = reference_of(arguments, group)

        def build():
            options = {"adapt": adapters.insert} if adapters else {}
            return load_scorer(
                arguments.start,
                group,
                training.precision,
                engine.scoring,
                activation_checkpointing=engine.activation_checkpointing,
                reference_head=head,
                **options,
            )

        def finished(scorer):
            return adapters.merge() if adapters else scorer.model

        scorer = build()
        items = read_items(arguments, scorer.model, pretrained.load_tokenizer(arguments.start))
        checkpoints = Checkpoints(arguments.checkpoints, identity(arguments, items), group)
        if group.main:
            remove(tensorboard)
            remove(last_good)
        names = engine.trackers if group.main else []
        flat = {key: str(value) for key, value in training.model_dump().items()}
        with (
            arguments.metrics.open("w") if group.main else open("/dev/null", "w") as file,
            trackers(names, arguments.run_name, tensorboard, flat) as active,
        ):

            def on_step(metrics: dict) -> None:
                file.write(json.dumps(metrics) + "\n")
                file.flush()
                for tracker in active:
                    tracker.log(metrics, step=metrics["step"])

            try:
                train(scorer, items, training, engine, arguments.seed, group, on_step, checkpoints, reference)
            except Interrupted:
                raise Resumable("interrupted; the same command resumes from the last checkpoint") from None
            except Diverged:
                step = checkpoints.load_weights(scorer.model)
                if step == 0:
                    scorer = build()
                save(finished(scorer), arguments.start, last_good, group)
                checkpoints.clear()  # of settings that are to be changed now
                log.error("the last good state of the policy, after step %d, is in %s", step, last_good)
                raise
        save(finished(scorer), arguments.start, arguments.output, group)
        checkpoints.clear()


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--start", "model folder that training starts from")
    stage.input("--reference", "model folder of the reference model of the KL term")
    stage.input("--responses", "examples, one record a line")
    stage.input("--queries", "queries, one record a line")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.structured("--prompts", Prompts, "the prompts of a task")
    stage.structured("--training", Training, "how to train")
    stage.structured("--engine", Engine, "how to compute it")
    stage.setting("--seed", "seed of the order of examples", type=int)
    stage.setting("--run-name", "name of the run for experiment trackers")
    stage.setting("--tensorboard", "folder for TensorBoard events")
    stage.setting("--checkpoints", "folder for the state of an unfinished run", type=Path)
    stage.setting("--nodes", "nodes of the Slurm job to run on", type=int, required=False, default=1)
    stage.output("--output", "model folder to write")
    stage.output("--metrics", "JSON Lines file of the metrics of every step")
    stage.run(main, processes=lambda arguments: arguments.engine.processes, nodes=lambda arguments: arguments.nodes)
