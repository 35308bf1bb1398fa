"""Combines the verdicts of several judges on the same pairs: the majority's verdict.

Reads   verdicts (Verdict) of each judge
Writes  verdicts (Verdict) of the panel, with the members' votes as answers

    python -m sami.stages.combine_verdicts --help
"""

from sami import records
from sami.judging import panel
from sami.stage import Stage


def main(arguments) -> None:
    votes = [records.read(records.Verdict, file) for file in arguments.members]
    records.write(panel.majority(votes, arguments.members, arguments.judge_name), arguments.output)


if __name__ == "__main__":
    stage = Stage(__file__, __doc__)
    stage.input("--members", "verdicts of the members, one file a judge", nargs="+")
    stage.setting("--judge-name", "name of the panel, kept in the records")
    stage.output("--output", "verdicts to write")
    stage.run(main)
