"""The judge that reads probabilities: against a slow computation pair by pair, and what must not change a verdict."""

import shutil

import pytest
from conftest import make_tiny_llama

from sami.errors import UserError
from sami.judging import likelihood
from sami.judging.pairs import Pair
from sami.models import pretrained
from sami.models.prepare import prepare
from sami.records import Constitution, Query, Statement
from sami.settings.judges import LikelihoodJudge
from sami.settings.models import Model

PROMPT = "{query}\n{constitution}\nA: {first}\nB: {second}\nWhich is better?"
RESPONSES = [
    ("Boil it for five minutes.", "I like eggs! My mother made them every day, and so do I."),
    ("", "1. Take an egg.\n2. Boil it."),
    ("Ask {second} {braces}.", "No."),
    ("The very same words.", "The very same words."),
]


def pair(number: int, first: str, second: str) -> Pair:
    statements = [Statement(principle="short", wanted=True, text="Answer in one short sentence.")]
    constitution = Constitution(id="short", set_id="short", writer="human", statements=statements)
    query = Query(id=f"q{number}", task="everyday", text="How is an egg boiled?" * (number + 1))
    return Pair(query, "short", constitution, 0, "iteration-1", "iteration-0", first, second)


def pairs(policy_first: bool = True) -> list[Pair]:
    return [pair(n, *(texts if policy_first else texts[::-1])) for n, texts in enumerate(RESPONSES)]


def settings(**changes) -> LikelihoodJudge:
    options = {"kind": "likelihood", "model": "m", "prompt": PROMPT, "system": "Be fair.", "batch_size": 3}
    return LikelihoodJudge(**{**options, **changes})


def slowly(model, tokenizer, letters: list[str], pair: Pair, first_shown: str, second_shown: str) -> float:
    """P(A) / (P(A) + P(B)) by the plainest means: one prompt, no padding, the whole softmax."""
    text = f"{pair.query.text}\nAnswer in one short sentence.\nA: {first_shown}\nB: {second_shown}\nWhich is better?"
    if tokenizer.chat_template:
        conversation = [{"role": "system", "content": "Be fair."}, {"role": "user", "content": text}]
        inputs = tokenizer.apply_chat_template(
            conversation, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
    else:
        inputs = tokenizer(f"Be fair.\n\n{text}\n", return_tensors="pt")
    probabilities = model(**inputs).logits[0, -1].double().softmax(0).tolist()
    a, b = (sum(p for p, text in zip(probabilities, letters, strict=True) if text == letter) for letter in "AB")
    return a / (a + b)


@pytest.fixture(scope="module")
def plain(tiny, tmp_path_factory):
    """The tiny model without a chat template."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("chat_template.jinja"))
    assert pretrained.load_tokenizer(folder).chat_template is None
    return folder


@pytest.mark.parametrize("model", ["tiny", "plain", "smollm2"])
def test_preferences_are_those_of_a_slow_computation(model, request):
    folder = request.getfixturevalue(model)
    loaded, tokenizer = pretrained.load(folder), pretrained.load_tokenizer(folder)
    letters = [tokenizer.decode([token]).strip() for token in range(loaded.config.vocab_size)]
    for pair, verdict in zip(pairs(), likelihood.judge(pairs(), "local", settings(), folder), strict=True):
        first, second = verdict.answers
        assert (first.order, second.order) == ("policy-first", "comparator-first")
        shown_first = slowly(loaded, tokenizer, letters, pair, pair.first, pair.second)
        shown_second = slowly(loaded, tokenizer, letters, pair, pair.second, pair.first)
        assert first.preference == pytest.approx(shown_first, abs=1e-4)
        assert second.preference == pytest.approx(1 - shown_second, abs=1e-4)
        assert verdict.preference == pytest.approx((shown_first + 1 - shown_second) / 2, abs=1e-4)
        for answer in verdict.answers:
            assert answer.choice == ("first" if answer.preference > 0.5 else "second")
        assert (verdict.judge, verdict.first, verdict.second) == ("local", pair.first, pair.second)


def test_preferences_do_not_depend_on_the_batch_size(tiny):
    alone, together = (likelihood.judge(pairs(), "j", settings(batch_size=size), tiny) for size in (1, 8))
    for one, other in zip(alone, together, strict=True):
        assert one.choice == other.choice
        for a, b in zip(one.answers, other.answers, strict=True):
            assert a.preference == pytest.approx(b.preference, abs=1e-6)


def test_swapped_policies_have_the_contrary_preference(tiny):
    mirrored = {"first": "second", "second": "first", "tie": "tie"}
    there, back = (likelihood.judge(pairs(order), "j", settings(), tiny) for order in (True, False))
    for one, other in zip(there, back, strict=True):
        assert other.preference == pytest.approx(1 - one.preference, abs=1e-6)
        assert other.choice == mirrored[one.choice]
    assert (there[-1].choice, there[-1].preference) == ("tie", 0.5)  # equal responses, although A is not B
    assert there[-1].answers[0].choice != "tie"
    assert len({verdict.preference for verdict in there}) == len(there)


def test_margin_of_ties(tiny):
    verdicts = likelihood.judge(pairs(), "j", settings(tie_margin=0.5), tiny)
    assert {verdict.choice for verdict in verdicts} == {"tie"}
    assert {answer.choice for verdict in verdicts for answer in verdict.answers} == {"tie"}
    assert verdicts[0].preference != 0.5


def test_letters_with_and_without_a_space(smollm2):
    tokenizer = pretrained.load_tokenizer(smollm2)
    texts = {tokenizer.decode([token]) for token in likelihood.letter_tokens(tokenizer, "A")}
    assert {"A", " A"} <= texts
    with pytest.raises(UserError, match="no token for the letter 𓀀"):
        likelihood.letter_tokens(tokenizer, "𓀀")


def test_prompt_longer_than_the_context_names_the_query(tmp_path):
    folder = tmp_path / "model"
    prepare("short", Model(source="path", path=str(make_tiny_llama(tmp_path / "source", context=120))), folder)
    with pytest.raises(UserError, match=r"query 'q\d': the judge's prompt has \d+ tokens, more than the 120") as error:
        likelihood.judge(pairs(), "j", settings(), folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("given", [None, "nowhere"])
def test_folder_that_holds_no_model(given, tmp_path):
    with pytest.raises(UserError, match="expected a prepared model folder"):
        likelihood.judge(pairs(), "j", settings(), given and tmp_path / given)
