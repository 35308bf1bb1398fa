"""Judges a policy's responses against a comparator's, for every held-out query and constitution.

Reads   examples (Example) of the policy and of the comparator for the same queries, constitutions (Constitution)
Writes  verdicts (Verdict)

    python -m sami.stages.judge_responses --help
"""

from sami import records, settings
from sami.errors import UserError
from sami.judging import checks
from sami.stage import Stage


def pairs(policy: list[records.Example], comparator: list[records.Example]):
    """Yields (policy's example, comparator's example, number of the response).

    Raises:
        UserError: the two do not hold responses to the same queries under the same constitutions.
    """
    others = {example.key: example for example in comparator}
    if {example.key for example in policy} != others.keys():
        raise UserError(
            f"the responses of {policy[0].policy} and {comparator[0].policy} are not for the same queries and sets of "
            "constitutions. Sample both again."
        )
    for example in policy:
        other = others[example.key]
        if (example.constitution_ids, example.labels) != (other.constitution_ids, other.labels):
            raise UserError(f"query '{example.query_id}': the two policies were given different constitutions.")
        for number in range(len(example.responses)):
            yield example, other, number


def verdict(example, other, number: int, constitutions, judge: settings.Judge, name: str) -> records.Verdict:
    """The verdict of the checks on one pair of responses."""
    first, second = example.responses[number], other.responses[number]
    identifier = example.constitution_ids[first.constitution]
    constitution = constitutions[identifier]
    first_degrees = checks.degrees(first.text, constitution)
    second_degrees = checks.degrees(second.text, constitution)
    return records.Verdict(
        query_id=example.query_id,
        set_id=example.set_id,
        constitution_id=identifier,
        policy=example.policy,
        comparator=other.policy,
        first=first.text,
        second=second.text,
        order="policy-first",
        choice=checks.choose(first_degrees, second_degrees, judge.tie_margin),
        judge=name,
        first_degrees=first_degrees,
        second_degrees=second_degrees,
    )


def main(arguments) -> None:
    constitutions = {c.id: c for c in records.read(records.Constitution, arguments.constitutions)}
    policy = records.read(records.Example, arguments.responses)
    comparator = records.read(records.Example, arguments.comparator_responses)
    verdicts = [
        verdict(example, other, number, constitutions, arguments.judge, arguments.judge_name)
        for example, other, number in pairs(policy, comparator)
    ]
    records.write(verdicts, arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--responses", "examples of the policy")
    stage.input("--comparator-responses", "examples of the comparator")
    stage.input("--constitutions", "constitutions, one record a line")
    stage.structured("--judge", settings.Judge, "a judge of config/judges")
    stage.setting("--judge-name", "name of the judge, kept in the records")
    stage.output("--output", "verdicts to write")
    stage.run(main)
