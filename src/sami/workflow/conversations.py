"""Conversations that the settings put to models, so that a chat template can be tried when its model is prepared.

Ground floor: no torch.
"""

from sami.data import principles
from sami.data.prompts import Conversation, chat_messages
from sami.settings.judges import EndpointJudge, IdentificationJudge, LikelihoodJudge
from sami.settings.writers import Writer
from sami.workflow.configuration import Configuration, local_model


def of_model(configuration: Configuration, model: str) -> list[Conversation]:
    """One conversation of each kind that a model of the models file will be put, in any usable experiment."""
    found: list[Conversation] = []
    for name in configuration.usable:
        settings = configuration.experiments[name]
        prompts = configuration.tasks[settings.task].prompts
        asked = [*configuration.policy_models(name), settings.relevance_model]
        if model in asked and prompts.style == "chat":
            where = f"{configuration.root.tasks}/{settings.task}.yaml: prompts ('style' and 'system')"
            found.append(
                Conversation(settings=where, messages=chat_messages(prompts.training, prompts.system), required=True)
            )
        for judge, reader in configuration.identifying(name).items():
            read = configuration.reading_task(name, judge).prompts
            if reader.model == model and read.style == "chat":
                where = f"{configuration.root.judges}/{judge}.yaml: task ({reader.task or settings.task})"
                messages = chat_messages(read.training, read.system)
                found.append(Conversation(settings=where, messages=messages, required=True))
        for file, user in configuration.users(name).items():
            if model in local_model(user) and not isinstance(user, IdentificationJudge):
                found.append(Conversation(settings=f"{file} ('system' and 'prompt')", messages=_messages(user)))
    return [conversation for place, conversation in enumerate(found) if conversation not in found[:place]]


def _messages(user: Writer | EndpointJudge | LikelihoodJudge) -> list[dict[str, str]]:
    if isinstance(user, Writer):
        return principles.conversation(user.prompt)
    return chat_messages(user.prompt, user.system)
