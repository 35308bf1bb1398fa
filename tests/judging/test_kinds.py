"""A judge of any kind, by the class of its settings."""

from sami.judging.kinds import Means, judge
from sami.judging.pairs import Pair
from sami.records import Check, Constitution, Query, Statement
from sami.settings.judges import ChecksJudge

SHORT = Statement(principle="short", text="Be short.", wanted=True, check=Check(measure="words", best=1, worst=5))


def test_verdicts_by_checks():
    constitution = Constitution(id="short", set_id="short", writer="human", statements=[SHORT])
    query = Query(id="q", task="t", text="Why?")
    pairs = [
        Pair(query, "short", constitution, 0, "iteration-1", "iteration-0", first, second)
        for first, second in [("so", "it is so"), ("it is so", "so"), ("so", "no")]
    ]
    verdicts = judge(pairs, "rules", ChecksJudge(kind="checks", tie_margin=0.1), Means(seed=1))
    assert [verdict.choice for verdict in verdicts] == ["first", "second", "tie"]
    assert {verdict.judge for verdict in verdicts} == {"rules"}
    assert verdicts[0].first_degrees == {"short": 1.0}
    assert verdicts[0].second_degrees == {"short": 0.5}
