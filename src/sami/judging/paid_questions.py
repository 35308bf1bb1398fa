"""Questions about pairs that a judge behind an endpoint is paid to answer: what is asked, known, spent and wrong.

Every answer is kept in the database of answers when it arrives (`sami.endpoints.answers`) and looked for there first,
so that a question is paid for once, whatever happens to the run.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sami import records
from sami.endpoints import refusals
from sami.endpoints.answers import Answers
from sami.endpoints.requests import CompletionClient, Reply, Request, cost_of, refusal_in, reply
from sami.errors import UserError
from sami.judging.pairs import POINTS, Pair
from sami.judging.prompts import REMINDERS, Order, Vote, messages, of_policy, parse, preference, preference_of_policy
from sami.progress import Progress
from sami.settings.endpoints import Limits
from sami.settings.judges import EndpointJudge

log = logging.getLogger(__name__)

LONGEST_RAW = 20_000  # characters of an answer that are kept with the verdict; the database keeps all of it
FIRST = 12  # answers, or refusals, after which it is clear that something is wrong with all of them
FIRST_OF_SETTINGS = 3  # the same for refusals that name a parameter, which all requests share


@dataclass
class Question:
    """One pair shown in one order, and what the judge has answered so far.

    An answer without a verdict is followed by a reminder of the form, in the same conversation.
    """

    judge: EndpointJudge
    model: str
    pair: Pair
    order: Order
    replies: list[Reply] = field(default_factory=list)
    choice: Vote = "invalid"
    preference: float = 0.5  # for A
    graded: bool | None = None  # whether the last answer came with log-probabilities; None where that does not matter

    def request(self) -> Request:
        """The request to make now."""
        asked = messages(self.judge.prompt, self.judge.system, self.pair, self.order)
        for answer in self.replies:
            asked.append({"role": "assistant", "content": answer.text or "(no answer)"})
            asked.append({"role": "user", "content": REMINDERS[self.judge.style]})
        body = {"model": self.model, "messages": asked, **self.judge.parameters(self.judge.seed)}
        if self.judge.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": self.judge.top_logprobs}
        return Request(body)

    def take(self, answer: Reply) -> None:
        """Notes an answer. Where it lacks the log-probabilities that were asked for, its letter counts."""
        self.replies.append(answer)
        self.choice = parse(answer.text, self.judge.style)
        self.graded, likely = None, None
        if self.judge.top_logprobs is not None and answer.text and not answer.refused:
            self.graded = answer.top is not None
        if self.graded and answer.top is not None:
            likely = preference(answer.top)
            self.choice = "invalid" if likely is None else "A" if likely > 0.5 else "B" if likely < 0.5 else "tie"
        points = POINTS[of_policy(self.choice, "policy-first")]  # of A
        self.preference = points if likely is None else likely

    @property
    def done(self) -> bool:
        """Whether there is a verdict, or no try is left that would make sense."""
        return bool(self.replies) and (
            self.choice != "invalid" or self.replies[-1].futile or len(self.replies) >= self.judge.tries
        )

    @property
    def fault(self) -> Literal["refused", "cut off", "no verdict"] | None:
        """Reason why the last answer holds no verdict, as in `records.Answer`."""
        if self.choice != "invalid":
            return None
        last = self.replies[-1]
        if last.refused:
            return "refused"
        # A letter needs no room: there, an answer that has begun with something else is not too short.
        return "cut off" if last.cut_off and not (last.text.strip() and self.judge.style == "letter") else "no verdict"

    def answer(self) -> records.Answer:
        """The outcome as a record; its `preference` is for the policy's response."""
        costs = [answer.cost for answer in self.replies if answer.cost is not None]
        return records.Answer(
            order=self.order,
            choice=of_policy(self.choice, self.order),
            preference=preference_of_policy(self.preference, self.order),
            fault=self.fault,
            raw=self.replies[-1].raw[-LONGEST_RAW:],
            tries=len(self.replies),
            input_tokens=sum(answer.input_tokens for answer in self.replies),
            output_tokens=sum(answer.output_tokens for answer in self.replies),
            cost=sum(costs) if costs else None,
        )


class PaidQuestions:
    """The questions that still need answers, and what these cost.

    Questions with the same content wait for the same answer: it is bought once. Refusals are held back until another
    question is answered, since only then are they about one request and not about all of them.
    """

    def __init__(self, questions: Sequence[Question], kept: Answers, limits: Limits, account: str):
        self.kept, self.limits, self.account, self.questions = kept, limits, account, questions
        self.waiting: dict[str, list[Question]] = {}  # key of the request -> who waits for it
        self.total, self.done, self.points = len(questions), 0, 0.0
        self.bought, self.cost = 0, 0.0
        self.answered = False  # whether any request was, now or in earlier runs
        self.refused: list[tuple[Request, dict[str, Any]]] = []  # since the last answer
        self.faults: Counter[str | None] = Counter()  # of questions that are done, None for those with a verdict
        self.graded: Counter[bool | None] = Counter()  # the same, by whether there are log-probabilities
        for question in questions:
            self._advance(question)
        if self.done:
            log.info("%d of %d questions were answered in earlier runs", self.done, self.total)
        self._check_answers()
        self._check_graded()

    def _advance(self, question: Question) -> Request | None:
        """Gives a question the answers that are kept; returns what must be asked next if nobody asks that already."""
        while not question.done:
            request = question.request()
            found = self.kept.get(request.key)
            if found is None:
                waiting = self.waiting.setdefault(request.key, [])
                waiting.append(question)
                return request if len(waiting) == 1 else None
            body, cost = found
            question.take(replace(reply(request, body), cost=cost))
            self.answered = self.answered or refusal_in(body) is None
        self.done += 1
        self.faults[question.fault] += 1
        self.graded[question.graded] += 1
        self.points += question.answer().preference
        return None

    def requests(self) -> list[Request]:
        """One request for each key that questions wait for, in the order of the keys: the first ones are a sample."""
        return [self.waiting[key][0].request() for key in sorted(self.waiting)]

    def check_estimate(self) -> None:
        """Logs the most that the open requests will cost. Raises UserError where that is more than is left."""
        requests = self.requests()
        tokens_in = sum(request.input_tokens for request in requests)
        tokens_out = sum(request.output_tokens for request in requests)
        cost = cost_of(tokens_in, tokens_out, self.limits.price)
        dollars = "no price is set" if cost is None else f"at most about ${cost:.4f}"
        log.info(
            "%d requests to make: about %s tokens in, at most %s out, %s",
            len(requests), f"{tokens_in:,}", f"{tokens_out:,}", dollars,
        )  # fmt: skip
        spent = self.kept.spent(self.account)
        if self.limits.max_cost is not None and cost is not None and spent + cost > self.limits.max_cost:
            raise UserError(
                f"limits.max_cost: {len(requests)} requests may cost ${cost:.4f}, and ${spent:.4f} have been spent on "
                f"{self.account}, but at most ${self.limits.max_cost:g} may be. Nothing has been asked. Raise "
                "'max_cost', or lower the number of queries, judges, comparators or 'max_tokens'."
            )

    def buy(self, client: CompletionClient) -> None:
        """Has all open requests answered."""
        self.client = client
        with Progress(self.total, "judging", "answers", done=self.done) as self.progress:
            try:
                client.run(self.requests(), self.take)
                self._check_refusals(last=True)
                self._keep_refused()
            finally:
                spent = self.kept.spent(self.account)
                log.info(
                    "%d answers bought for $%.4f after %d failures; $%.4f spent on %s in all",
                    self.bought, self.cost, client.failures, spent, self.account,
                )  # fmt: skip

    def take(self, request: Request, body: dict[str, Any]) -> list[Request]:
        """Keeps an answer and gives it to the questions that wait for it; returns what these ask next."""
        if refusal_in(body) is not None:
            self.refused.append((request, body))
            return []
        self._keep_refused()
        return self._keep(request, body)

    def _keep(self, request: Request, body: dict[str, Any]) -> list[Request]:
        answer = reply(request, body)
        cost = cost_of(answer.input_tokens, answer.output_tokens, self.limits.price)
        self.kept.add(request.key, request.body, body, cost, self.account)
        self.bought += 1
        self.cost += cost or 0.0
        before = self.done
        more = [self._advance(question) for question in self.waiting.pop(request.key)]
        rate = self.points / max(1, self.done)
        self.progress.update(self.done - before, win_rate=rate, cost=self.cost, errors=self.client.failures)
        return [request for request in more if request is not None]

    def _keep_refused(self) -> None:
        """Keeps refusals as answers, so that nobody asks again: their questions are done."""
        while self.refused:
            self._keep(*self.refused.pop())

    def check(self) -> None:
        """Raises UserError where no further answer should be bought. What has been bought is kept."""
        self._check_refusals()
        self._check_answers()
        self._check_graded()
        self._check_cost()

    def _check_refusals(self, last: bool = False) -> None:
        """Raises UserError where refusals are about all requests: the first ones, or many in a row."""
        found = [refusal for _, body in self.refused if (refusal := refusal_in(body))]
        unclear = [refusal for refusal in found if refusal.about != "content"]
        wrong = unclear if len(unclear) >= FIRST else []
        if not self.answered:
            of_all = [refusal for refusal in found if refusal.about == "settings"]
            few = len(of_all) < FIRST_OF_SETTINGS and len(found) < FIRST
            wrong = (unclear if last else []) if few else of_all or found
        if wrong:
            raise UserError(
                f"{self.client.where}: {wrong[0]}. {refusals.remedy(wrong[0], self.client.key_variable)} "
                f"So ended the last {len(found)} request(s); answers that came before are kept."
            )

    def _check_answers(self, least: int = FIRST) -> None:
        """Raises UserError where most answers are cut off before a verdict: to ask further would be a waste."""
        answers = self.done - self.faults["refused"]
        if answers >= least and 2 * self.faults["cut off"] > answers:
            raise UserError(f"{self._cut_off()} Answers that came are kept; no more are bought with this limit.")

    def _cut_off(self) -> str:
        judge = self.questions[0].judge
        mend = (
            "Take 'style: reasoning', which leaves room for thoughts, or switch them off ('extra_body')."
            if judge.style == "letter"
            else "Raise 'max_tokens' of the judge: a model that thinks may need thousands."
        )
        return (
            f"model '{self.questions[0].model}': {self.faults['cut off']} of {self.done} answers were cut off at "
            f"the limit of max_tokens = {judge.max_tokens} (finish_reason: length) before a verdict. {mend}"
        )

    def _check_graded(self, least: int = FIRST) -> None:
        """Raises UserError where the endpoint gives no log-probabilities though they were asked for."""
        if self.graded[False] >= least and not self.graded[True]:
            raise UserError(
                f"model '{self.questions[0].model}' answers without log-probabilities, which 'top_logprobs' asks for. "
                "Delete 'top_logprobs' from the judge to take the letter alone, or use an endpoint that gives them."
            )

    def _check_cost(self) -> None:
        """Raises UserError where more has been spent than may be."""
        if self.limits.max_cost is not None and (spent := self.kept.spent(self.account)) > self.limits.max_cost:
            raise UserError(
                f"limits.max_cost: ${spent:.4f} have been spent on {self.account}, more than the "
                f"${self.limits.max_cost:g} that may be; {self.total - self.done} questions are left. "
                "All answers are kept: raise 'max_cost' and run the same command again."
            )

    def conclude(self) -> None:
        """Logs how many questions got no verdict, and why.

        Raises:
            UserError: most answers were cut off, or none has the log-probabilities that were asked for.
        """
        self._check_answers(least=1)
        self._check_graded(least=1)
        faults = {fault: count for fault, count in sorted(self.faults.items(), key=str) if fault}
        if faults:
            log.warning(
                "%d of %d answers hold no verdict and count as half a win each: %s",
                sum(faults.values()), self.total, ", ".join(f"{count} {fault}" for fault, count in faults.items()),
            )  # fmt: skip
        if self.faults["refused"]:
            first = next(question for question in self.questions if question.fault == "refused")
            log.warning(
                "the first one that was refused is about query '%s', set '%s', response %d: %.300s",
                first.pair.query.id, first.pair.set_id, first.pair.number, first.replies[-1].raw,
            )  # fmt: skip
        if self.faults["cut off"]:
            log.warning("%s", self._cut_off())
        if self.graded[False]:
            log.warning("%d answers came without log-probabilities: their letters count", self.graded[False])
