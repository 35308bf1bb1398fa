"""Methods: how responses become training examples, as a union by name.

The shared rules of the workflow ask each method a few questions and have no conditional on its name: the classes below
answer them. A method's own rules stand in workflow/rules/methods/NAME.smk, its functions in `sami.methods.NAME`.
"""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field

from sami.settings.base import Settings, named_choice
from sami.settings.tasks import Prompts, Task
from sami.settings.training import Training


class Method(Settings):
    """The questions that the shared rules ask, with the answers that fit most methods.

    objectives: names of the objectives that the method's training examples are for.
    least_responses: the fewest that it can learn from, to one query.
    sampled_under: whether responses are drawn under all constitutions of a set, or under the one that wants every
        principle.
    """

    objectives: ClassVar[tuple[str, ...]]
    least_responses: ClassVar[int] = 1
    sampled_under: ClassVar[Literal["all", "positive"]] = "all"

    name: Any
    """Name of the method."""

    @property
    def draws_responses(self) -> bool:
        """Whether a policy's responses are drawn for training; else examples are made of texts that are there."""
        return True

    def sampled_policy(self, iteration: int) -> int:
        """Iteration of the policy that draws the responses for iteration t = 1, ..., T; 0 is the base model."""
        return iteration - 1

    def start(self, iteration: int, training: Training) -> int:
        """Iteration of the policy whose weights training starts from."""
        return iteration - 1 if training.start_from == "previous" else 0

    def reference(self, iteration: int, training: Training) -> int:
        """Iteration of the reference model. Raises ValueError where `training.reference` names one that is none."""
        if training.reference == "sft":
            return self.sft_iteration
        return iteration - 1 if training.reference == "previous" else 0

    @property
    def sft_iteration(self) -> int:
        """Iteration that ends with the policy of supervised fine-tuning, on which later ones build."""
        raise ValueError(
            f"'training.reference: sft' is the policy after supervised fine-tuning, which the method '{self.name}' "
            "does not begin with; set it to base or previous"
        )

    def template(self, prompts: Prompts) -> str:
        """Template of the prompts that training examples hold, with or without a constitution."""
        return prompts.training

    def check_task(self, task: Task) -> None:
        """Raises ValueError where a task's file lacks what the method makes training examples of."""

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        """(C, R) of a training example, of which the plan reckons the cost of a step; without prompts of other queries.

        Args:
            objective: its name.
            prompts: constitutions in a set.
            responses: drawn for a query.
        """
        return prompts, responses


class Sami(Method):
    """SAMI (arXiv 2404.14313): responses under contrasted constitutions, each to be most likely under its own."""

    objectives = ("sami", "sami-rows", "sami-columns", "sami-joint", "supervised")

    least_responses = 2  # one alone has no contrast

    name: Literal["sami"]
    """Name of the method."""

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        return (1, max(1, responses // prompts)) if objective == "supervised" else (prompts, responses)


class Sft(Method):
    """Supervised fine-tuning: on demonstrations (2305.11206) or on the policy's own responses (1909.13788)."""

    objectives = ("supervised",)
    sampled_under = "positive"

    name: Literal["sft"]
    """Supervised fine-tuning."""
    responses: Literal["own", "demonstrations"] = "own"
    """The responses that are learned.

    `own`: those that the policy draws under the constitution that wants every principle. `demonstrations`: the
    reference answers of the training queries (`train.reference_field` of the task); nothing is sampled for training.
    """
    constitution: Literal["left-out", "in-prompt"] = "left-out"
    """Whether training prompts hold the constitution.

    `left-out`: they hold the query alone (`prompts.without_constitution` of the task); with the policy's own responses
    that is context distillation. `in-prompt`: they hold it, as those of SAMI do.
    """

    @property
    def draws_responses(self) -> bool:
        return self.responses == "own"

    def template(self, prompts: Prompts) -> str:
        left_out = self.constitution == "left-out"
        return (prompts.without_constitution or "") if left_out else prompts.training

    def check_task(self, task: Task) -> None:
        if self.responses == "demonstrations" and task.train.reference_field is None:
            raise ValueError(
                "train.reference_field: found null, expected the field with the reference answers, which "
                "'method.responses: demonstrations' learns; name it, or set 'method.responses' to own"
            )
        if self.responses == "demonstrations" and task.train.loader != "file":
            raise ValueError(
                f"train.loader: found {task.train.loader}, which reads no reference answers, expected file, since "
                "'method.responses: demonstrations' learns them; change it, or set 'method.responses' to own"
            )
        if self.constitution == "left-out" and task.prompts.without_constitution is None:
            raise ValueError(
                "prompts.without_constitution: found null, expected the prompt with the query alone that "
                "'method.constitution: left-out' trains with; write it, or set 'method.constitution' to in-prompt"
            )

    def example_shape(self, objective: str, prompts: int, responses: int) -> tuple[int, int]:
        return 1, max(1, responses)


METHODS: dict[str, type[Method]] = {get_args(kind.model_fields["name"].annotation)[0]: kind for kind in (Sami, Sft)}
MethodChoice = Annotated[Sami | Sft, Field(discriminator="name"), named_choice(METHODS, "method")]
