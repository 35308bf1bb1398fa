"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft, for those with one GPU."""

import importlib.util
from typing import Any

from transformers import PreTrainedModel

from sami.errors import UserError
from sami.settings.training import Lora


def check(processes: int) -> None:
    """Requires what adapters need, before a model is loaded.

    Raises:
        UserError: peft is missing, or there are several processes.
    """
    if not importlib.util.find_spec("peft"):
        raise UserError("training.lora needs the package peft: pip install 'sami[lora]', or set training.lora to null.")
    if processes > 1:
        raise UserError(
            f"training.lora trains in one process, but there are {processes} (engine.processes). Set it to 1, or "
            "training.lora to null to shard all weights."
        )


class Adapters:
    """The adapters of one model: put in before training, merged into its weights afterwards."""

    def __init__(self, settings: Lora):
        self.settings = settings
        self.model: Any = None

    def insert(self, model: PreTrainedModel) -> PreTrainedModel:
        """Freezes the model's weights and puts adapters beside them."""
        from peft import LoraConfig, get_peft_model

        self.model = get_peft_model(
            model,
            LoraConfig(
                r=self.settings.rank,
                lora_alpha=self.settings.alpha,  # type: ignore[arg-type]  # peft divides it by the rank: any number
                target_modules=self.settings.modules,
                task_type="CAUSAL_LM",
            ),
        )
        return self.model.get_base_model()

    def merge(self) -> PreTrainedModel:
        """The model with what the adapters have learned in its own weights."""
        return self.model.merge_and_unload()
