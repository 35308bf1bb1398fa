"""The browser of responses, in a real browser: what it shows, how it filters, and that no text in it runs."""

import json
import random
import re
import time
import urllib.parse

from reported import HOSTILE, POLICIES, RULE, WORDS, constitutions, report, write_records, write_results
from tabulated import EVALUATION

from sami import records
from sami.analysis.report import browser, page
from sami.analysis.statistics.echo import echo
from sami.analysis.statistics.repetition import is_degenerate
from sami.analysis.tables.rows import Comparison, Policy
from sami.analysis.tables.run import Run
from sami.judging import checks
from sami.judging.pairs import POINTS, read_pairs, verdict
from sami.records import (
    Answer,
    Example,
    Query,
    Relevance,
    Response,
    Verdict,
    iteration_of,
)
from sami.settings.evaluation import Evaluation


def known(flags) -> tuple[dict[str, list], dict[tuple[str, str, str], dict]]:
    """Policy -> response texts in the order of cases, and (policy, comparator, judge) -> choices in that order."""
    texts = {
        policy: [r.text for example in records.read(Example, file) for r in example.responses]
        for policy, file in zip(POLICIES, flags["responses"], strict=True)
    }
    choices = {}
    for file in flags["verdicts"]:
        found = records.read(Verdict, file)
        choices[found[0].policy, found[0].comparator, found[0].judge] = found
    return texts, choices


def count_of(tab) -> int:
    return int(tab.inner_text("#count strong").replace(",", ""))


def choose(tab, **values: str) -> int:
    """Sets controls and returns how many cases are left."""
    for name, value in values.items():
        tab.select_option(f"[name={name}]", value)
    return count_of(tab)


def test_filters_agree_with_the_records(experiment, visit):
    folder, flags = experiment
    texts, verdicts = known(flags)
    tab = visit(folder / "report.html")
    assert count_of(tab) == 24
    of = {policy: [v.choice for v in verdicts[policy, "iteration-0", "model"]] for policy in POLICIES[1:]}
    tab.select_option("[name=judge]", "model")
    for value, choice in enumerate(browser.CHOICES):
        expected = of["iteration-2"].count(choice)
        assert choose(tab, policy="iteration-2", outcome=str(value)) == expected
        assert tab.inner_text(f"[name=outcome] option[value='{value}']").endswith(f"({expected})")
    anyone = sum("first" in said for said in zip(*of.values(), strict=True))
    assert choose(tab, policy="", outcome="0") == anyone
    course = list(zip(of["iteration-1"], of["iteration-2"], strict=True))
    assert choose(tab, outcome="", flips="change") == sum(a != b for a, b in course)
    assert choose(tab, flips="better") == course.count(("second", "first")) > 0
    assert choose(tab, flips="worse") == course.count(("first", "second"))
    against = [v.choice for v in verdicts["iteration-0", "instruct", "checks"]]
    given = {"flips": "", "judge": "checks", "comparator": "instruct", "policy": "iteration-0", "outcome": "1"}
    assert choose(tab, **given) == against.count("second")
    tab.click("text=Reset")
    assert count_of(tab) == 24
    assert choose(tab, principle="short", polarity="opposite") == 12
    assert choose(tab, principle="polite") == 0
    assert choose(tab, polarity="wanted") == 12
    tab.click("text=Reset")
    degenerate = [is_degenerate(text, RULE.ngram, RULE.max_repeated) for text in texts["instruct"]]
    choose(tab, policy="instruct")
    tab.check("[name=degenerate]")
    assert count_of(tab) == sum(degenerate) > 0
    tab.uncheck("[name=degenerate]")
    choose(tab, judge="model")
    tab.check("[name=inconsistent]")
    answers = [
        {a.choice for a in v.answers if a.choice != "invalid"} for v in verdicts["instruct", "iteration-0", "model"]
    ]
    assert count_of(tab) == sum(len(said) > 1 for said in answers) > 0
    assert tab.locator(".verdict", has_text="by model").filter(has_text="order matters").count() > 0
    tab.uncheck("[name=inconsistent]")
    tab.check("[name=longest]")
    lengths = sorted(len(text.split()) for text in texts["instruct"])
    assert count_of(tab) == sum(length >= lengths[int(0.9 * 24)] for length in lengths)
    tab.uncheck("[name=longest]")
    choose(tab, sort="longest")
    assert tab.locator(".response.chosen .facts span").first.inner_text() == f"{lengths[-1]} words"


def leads(flags) -> dict[str, list[float]]:
    """Policy -> margin of each of its responses, in the order of cases."""
    found = [records.read(Relevance, file) for file in flags["relevance"]]
    return {of[0].policy: [(r.alone[0] - r.alone[1]) / r.tokens for r in of] for of in found}


def test_responses_are_filtered_and_sorted_by_relevance(experiment, visit):
    folder, flags = experiment
    margins = leads(flags)
    tab = visit(folder / "report.html")
    assert tab.locator("[name=relevance]").is_visible()
    right = [margin > 0 for margin in margins["iteration-1"]]
    assert choose(tab, policy="iteration-1", relevance="identified") == sum(right) > 0
    assert choose(tab, relevance="unidentified") == 24 - sum(right) > 0
    assert tab.inner_text("[name=relevance] option[value=unidentified]") == f"not identified ({24 - sum(right)})"
    assert choose(tab, relevance="narrow") == sum(margin < 0.5 for margin in margins["iteration-1"])
    below = [a < b for a, b in zip(margins["iteration-1"], margins["iteration-0"], strict=True)]
    assert choose(tab, relevance="lower") == sum(below) > 0
    assert choose(tab, policy="instruct", relevance="identified") == 0
    assert choose(tab, policy="", relevance="identified") == sum(
        max(of) > 0 for of in zip(*margins.values(), strict=True)
    )
    tab.click("text=Reset")
    for order, expected in (("narrowest", min), ("widest", max)):
        choose(tab, policy="iteration-2", sort=order)
        shown = tab.locator(".response.chosen .facts").inner_text()
        assert f"margin {expected(margins['iteration-2']):.2f}" in shown
        assert ("not identified" in shown) == (expected(margins["iteration-2"]) <= 0)
    assert tab.locator(".response", has_text="instruct").locator(".badge", has_text="not identified").count() == 1


def test_responses_are_filtered_and_sorted_by_echo(visit, tmp_path):
    """The first policy quotes its constitution in the first case, and talks about its order in the second."""
    flags = write_records(tmp_path, count=7) | write_results(tmp_path)
    examples = records.read(Example, flags["responses"][1])
    said = [["Be short. Be polite. Yes.", "As requested, this is slow."]]
    said += [[f"So {n}, it is.", "It is."] for n in range(1, 7)]
    changed = []
    for e, texts in zip(examples, said, strict=True):
        responses = [r.model_copy(update={"text": text}) for r, text in zip(e.responses, texts, strict=True)]
        changed.append(e.model_copy(update={"responses": responses}))
    records.write(changed, flags["responses"][1])
    done = report(tmp_path, flags | {"verdicts": [], "relevance": []}, "report.html")
    assert done.returncode == 0, done.stderr
    statements = [[s.text for s in c.statements] for c in constitutions()]
    quoting, slow = (echo(said[0][j], statements[j], [statements[1 - j]]).mean for j in (0, 1))
    assert quoting > 0.5 > slow > 0.1  # "slow" is one of the words of its constitution, and none of the other's
    tab = visit(tmp_path / "report.html")
    assert tab.locator("[name=relevance]").is_hidden()
    assert tab.locator(".facts", has_text="margin").count() == 0
    assert choose(tab, policy="iteration-1", echo="most") == 1
    assert choose(tab, echo="some") == 2
    assert choose(tab, echo="", sort="echo") == 14
    assert f"echo {100 * quoting:.0f}%" in tab.locator(".response.chosen .facts").inner_text()
    tab.check("[name=about]")
    assert count_of(tab) == 1
    assert tab.locator(".response.chosen .badge").inner_text() == "about its instruction"


def test_a_case_shows_every_response_and_the_judges_own_words(experiment, visit):
    folder, flags = experiment
    texts, verdicts = known(flags)
    tab = visit(folder / "report.html", "#query=q7&constitution=-short&judge=model&policy=iteration-2&against=none")
    assert tab.locator(".response h4").all_inner_texts() == ["base model", "iteration 1", "iteration 2", "instruct"]
    assert tab.locator(".response .text").all_inner_texts() == [of[15] for of in texts.values()]
    assert tab.locator(".query").inner_text() == "What of 7?\nSay."
    assert "As it is." in tab.locator("#case details").first.text_content()
    degree = checks.degrees(texts["iteration-1"][15], constitutions()[1])["-short"]
    assert tab.locator(".response").nth(1).locator(".degrees").inner_text().split() == ["not", "short", f"{degree:.2f}"]
    assert tab.locator(".verdict").count() == len(flags["verdicts"])
    shown = tab.locator(".verdict[open]")
    assert shown.count() == 1
    found = verdicts["iteration-2", "iteration-0", "model"][15]
    assert shown.locator(".text").all_inner_texts() == [answer.raw for answer in found.answers]
    assert shown.locator("summary .preference").inner_text() == f"{found.preference:.2f}"
    panel = tab.locator("details.verdict", has_text="by panel").first.locator(".answers")
    assert [name in panel.text_content() for name in ("checks", "model")] == [True, True]


def test_a_case_without_verdicts_and_without_one_response(visit, tmp_path):
    """`evaluation.judged: positive`, and a policy that is a file of responses under positive constitutions."""
    flags = write_records(tmp_path, count=9) | write_results(tmp_path)
    _, verdicts = known(flags)
    for file, of in zip(flags["verdicts"], verdicts.values(), strict=True):
        records.write([v for v in of if v.constitution_id == "short+polite"], file)
    file, positive = flags["responses"][3], {"constitution_ids": ["short+polite"]}
    instruct = records.read(Example, file)
    records.write([e.model_copy(update=positive | {"responses": e.responses[:1]}) for e in instruct], file)
    file = flags["relevance"][3]
    records.write([r for r in records.read(Relevance, file) if r.number == 0], file)
    done = report(tmp_path, flags, "report.html", evaluation=[json.dumps(EVALUATION | {"judged": "positive"})])
    assert done.returncode == 0, done.stderr
    tab = visit(tmp_path / "report.html", "#query=q7&constitution=-short&against=base")
    assert tab.locator(".response h4").all_inner_texts() == ["base model", "iteration 1", "iteration 2"]
    assert tab.locator(".verdict, .badge.won, .badge.lost").count() == 0
    assert count_of(tab) == 18
    for order in ("longest", "growth", "preferred", "rejected"):
        assert choose(tab, sort=order) == 18
    wins = [v.choice for v in verdicts["iteration-1", "iteration-0", "checks"] if v.constitution_id != "-short"]
    assert choose(tab, policy="iteration-1", judge="checks", outcome="0") == wins.count("first") > 0
    assert f"verdicts: {wins.count('first')} won" in tab.inner_text("#count")
    tab.click("text=Reset")
    tab.fill("[name=search]", "very good")
    assert 0 < count_of(tab) < 18


def test_word_differences_can_be_switched(experiment, visit):
    folder, flags = experiment
    texts, _ = known(flags)
    tab = visit(folder / "report.html", "#query=q8&constitution=short%2Bpolite&against=none")
    assert tab.locator("ins").count() == 0
    for against, reference in (("base", "iteration-0"), ("previous", "iteration-1")):
        tab.select_option("[name=against]", against)
        response = tab.locator(".response").nth(2).locator(".text")
        assert response.inner_text() == texts["iteration-2"][16]
        kept = response.evaluate(
            "(e) => { e.querySelectorAll('ins').forEach((i) => i.remove()); return e.textContent }"
        )
        words = iter(texts[reference][16].split())
        assert all(word in words for word in kept.split()), "what is not marked is a subsequence of the reference"
    tab.check("[name=removed]")
    response = tab.locator(".response").nth(2).locator(".text")
    before = response.evaluate("(e) => { e.querySelectorAll('ins').forEach((i) => i.remove()); return e.textContent }")
    assert before.split() == texts["iteration-1"][16].split()


def test_search_marks_what_it_finds_and_says_when_nothing_matches(experiment, visit):
    folder, flags = experiment
    texts, _ = known(flags)
    tab = visit(folder / "report.html")
    tab.fill("[name=search]", "KETTLE “What of”")
    expected = sum(any("kettle" in of[i] for of in texts.values()) for i in range(12, 24))
    assert count_of(tab) == expected > 0
    assert tab.evaluate("[...CSS.highlights.get('found')].map(String)").count("What of") == 1
    tab.fill("[name=search]", "xyzzy")
    assert count_of(tab) == 0
    assert tab.locator("#cases").is_hidden()
    assert "Nothing matches" in tab.inner_text("#case")
    tab.click("text=Reset filters")
    assert count_of(tab) == 24
    assert tab.input_value("[name=search]") == ""


def test_keys(experiment, visit):
    folder, _ = experiment
    tab = visit(folder / "report.html")
    where = lambda: int(tab.inner_text(".where").split()[0])  # noqa: E731
    for key, expected in (("j", 2), ("ArrowRight", 3), ("k", 2), ("ArrowLeft", 1), ("k", 1)):
        tab.keyboard.press(key)
        assert where() == expected, key
    tab.keyboard.press("/")
    tab.keyboard.type("jk?/")
    assert tab.input_value("[name=search]") == "jk?/"
    tab.keyboard.press("Escape")
    assert tab.input_value("[name=search]") == ""
    assert count_of(tab) == 24
    tab.keyboard.press("Escape")
    tab.keyboard.press("?")
    assert tab.locator("#help").is_visible()
    tab.keyboard.press("j")
    tab.keyboard.press("Escape")
    assert tab.locator("#help").is_hidden()
    assert where() == 1
    tab.locator("#list button").first.focus()
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    assert where() == 2
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.click("#help-button")
    tab.uncheck("#keys")
    tab.click("text=Close")
    tab.keyboard.press("j")
    assert where() == 2
    named = "(e) => e.labels?.length || e.innerText.trim() || e.ariaLabel"
    assert tab.evaluate(f"[...document.querySelectorAll('input, select, button')].every({named})")


def test_a_link_brings_back_the_case_and_the_filters(experiment, visit):
    folder, _ = experiment
    tab = visit(folder / "report.html", permissions=["clipboard-read", "clipboard-write"])
    choose(tab, judge="model", policy="iteration-1", polarity="wanted", against="")
    tab.fill("[name=search]", "what of")
    tab.keyboard.press("Escape")
    tab.fill("[name=search]", "say")
    tab.locator("#list button").nth(3).click()
    shown = tab.inner_text(".where"), tab.inner_text("#count"), tab.locator("ins").count()
    tab.click("#copy")
    tab.locator("#said", has_text="Link copied.").wait_for(timeout=5000)
    link = tab.evaluate("navigator.clipboard.readText()")
    tab.wait_for_url(link, timeout=5000)
    named = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(link).fragment))
    assert named == {
        "query": "q9", "constitution": "short+polite", "search": "say", "judge": "model", "policy": "iteration-1",
        "polarity": "wanted", "against": "none",
    }  # fmt: skip
    again = visit(folder / "report.html", "#" + urllib.parse.urlsplit(link).fragment)
    assert (again.inner_text(".where"), again.inner_text("#count"), again.locator("ins").count()) == shown
    assert again.evaluate("scrollY") > 0
    again.evaluate("location.hash = '#query=q2&constitution=-short'")
    again.locator(".where", has_text="q2").wait_for(timeout=5000)
    assert count_of(again) == 24
    lost = visit(folder / "report.html", "#query=none-such&constitution=-short&outcome=9")
    assert lost.inner_text("#said") == "The case of this link is not on this page."
    assert count_of(lost) == 24


def test_no_text_runs_and_every_text_is_shown(experiment, visit):
    folder, flags = experiment
    texts, _ = known(flags)
    tab = visit(folder / "report.html", "#query=q0&constitution=short%2Bpolite&judge=model&policy=iteration-1")
    for n in range(len(HOSTILE)):
        for j in range(2):
            if n < 4:
                assert tab.locator(".query").inner_text() == HOSTILE[n]
                assert tab.locator(".response .text").all_inner_texts() == [of[2 * n + j] for of in texts.values()]
            tab.locator("details.verdict:not([open])").evaluate_all("(all) => all.forEach((e) => (e.open = true))")
            tab.keyboard.press("j")
    assert tab.locator("#browser :is(script, img, svg, a, b)").count() == 0
    assert tab.title() == "made-up <script>window.ran = 1</script> · SAMI"
    tab.evaluate("location.hash = '#query=q4&constitution=-short'")
    tab.locator(".where", has_text="q4").wait_for(timeout=5000)
    assert tab.locator(".query").evaluate("(e) => getComputedStyle(e).direction") == "rtl"
    tab.evaluate("location.hash = '#query=q5&constitution=-short'")
    tab.locator(".where", has_text="q5").wait_for(timeout=5000)
    assert tab.locator(".query").inner_text().startswith("a⟨U+202E⟩b")
    assert "␀ ␛[31m ⟨U+007F⟩ &amp;" in tab.locator(".query").inner_text()
    # Were a text to become markup after all, the policy of the page would not run it.
    assert not tab.complaints
    tab.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))"
    )
    tab.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=https://example.org/x onerror=\"window.ran = 1\">')"
    )
    tab.wait_for_timeout(50)
    assert {complaint.split("'")[0] for complaint in tab.complaints} > {"console: script-src-elem", "console: img-src"}
    tab.complaints.clear()


def test_light_dark_phone_and_paper(experiment, visit, tmp_path):
    folder, _ = experiment
    ground = "getComputedStyle(document.body).backgroundColor"
    brightness = lambda tab: sum(map(int, re.findall(r"\d+", tab.evaluate(ground))[:3])) / 3  # noqa: E731
    tab = visit(folder / "report.html", color_scheme="dark")
    assert brightness(tab) < 60
    tab.click("#theme")
    assert brightness(tab) > 200
    tab.reload()
    assert brightness(tab) > 200
    phone = visit(folder / "report.html", "#query=q3&constitution=-short", viewport={"width": 360, "height": 740})
    assert brightness(phone) > 200
    phone.locator("#filters summary").click()
    phone.locator("details").evaluate_all("(all) => all.forEach((e) => (e.open = true))")
    assert phone.evaluate("document.documentElement.scrollWidth") == 360
    phone.screenshot(path=tmp_path / "phone.png")
    assert (tmp_path / "phone.png").stat().st_size > 20_000
    phone.emulate_media(media="print")
    assert phone.locator("#controls").is_hidden()
    assert phone.locator(".response").first.is_visible()


def test_five_thousand_cases(visit, tmp_path):
    draw = random.Random(5000)
    known = {c.id: c for c in constitutions()}
    queries = {f"q{n}": Query(id=f"q{n}", task="t", text=f"Number {n}: " + sentence(draw, 40)) for n in range(2500)}
    examples = {
        policy: [
            Example(
                query_id=query_id, set_id="short", constitution_ids=list(known), order=[0, 1], policy=policy,
                responses=[Response(text=sentence(draw, 50), constitution=j, tokens=70, finish="end") for j in (0, 1)],
            )
            for query_id in queries
        ]
        for policy in POLICIES
    }  # fmt: skip
    policies = [Policy(name, iteration_of(name), of) for name, of in examples.items()]
    comparisons = []
    for policy in policies[1:]:
        pairs = read_pairs("a", "b", policy.examples, examples["iteration-0"], queries, known)
        said = [draw.choice(browser.CHOICES) for _ in pairs]
        answers = [Answer(order="policy-first", choice=choice, preference=POINTS[choice]) for choice in said]
        verdicts = [verdict(pair, "checks", [answer]) for pair, answer in zip(pairs, answers, strict=True)]
        comparisons.append(Comparison(policy, "iteration-0", "checks", verdicts))
    data = browser.data(Run(policies, comparisons, queries, known, Evaluation.model_validate(EVALUATION)))
    empty = page.table("summary", [["iteration"]])
    text = page.render(
        title="large", origin={}, settings=[], confidence=0.95, summary=empty, tables=[], figures=[], browser=data
    )
    (tmp_path / "large.html").write_text(text, encoding="utf-8")
    size = sum(len(of.encode()) for of in data["texts"])
    assert len(text.encode()) < 1.25 * size
    started = time.perf_counter()
    tab = visit(tmp_path / "large.html")
    print(f"\n{len(text) / 1e6:.1f} MB, {1000 * (time.perf_counter() - started):.0f} ms to load")
    assert count_of(tab) == 5000
    assert tab.locator("#list > li").count() == 50
    assert tab.evaluate("document.querySelectorAll('*').length") < 1500
    typed = """(text) => { const field = document.querySelector('[name=search]'), start = performance.now();
        field.value = text;
        field.dispatchEvent(new Event('input', { bubbles: true }));
        return performance.now() - start; }"""
    for words in ("kettle", "kettle garden music", "“number 17”"):
        print(f"search {words!r}: {tab.evaluate(typed, words):.0f} ms, {count_of(tab)} cases")
    assert count_of(tab) == 2 * sum(str(n).startswith("17") for n in range(2500))
    assert tab.evaluate("document.querySelectorAll('*').length") < 1500
    tab.click("text=Reset")
    tab.click("#page-on")
    tab.locator("#list button").last.click()
    tab.keyboard.press("j")
    assert tab.inner_text(".where").startswith("101 of 5,000")
    assert tab.inner_text("#page") == "101–150 of 5,000"


def sentence(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count)) + f" {draw.random()}."
