"""Asks a judge about pairs of answers: concurrent, resumable, within a budget, one row per judgment key.

Replies are written by one thread as they come in, each on disk before it counts. What a crash interrupts is asked
again, so the journal is exactly-once while the judge's server may see a question twice.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from limit.core import Json, LimitError
from limit.jobs.context import JobContext
from limit.judge.backends.protocol import Backend, Opinion, Question, Transient
from limit.judge.budget import Budget, worst_tokens
from limit.judge.judgments import Journal, judgement_key, judgment_row, score_of
from limit.judge.prompts import cut_middle, fence_code, prompt_text
from limit.specs.judge import JudgeSpec

MAX_PAUSE_S = 600.0
MIN_LOST = 10  # so many questions in a row without a reply, or twice those in flight, and the server counts as gone
CALLS_PER_QUESTION = 4  # a question, its second try, and the probe of an unknown server


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt; response 1 is the baseline's, 2 the candidate's."""

    prompt_id: str
    prompt: str
    text_1: str
    text_2: str
    seed: int = 0


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a question is asked again: full jitter up to base * 2^k, at most `cap_s`."""

    attempts: int = 6
    base_s: float = 0.5
    cap_s: float = 30.0

    def delay(self, attempt: int, key: str) -> float:
        """Seconds to wait after failed attempt number `attempt` (from 1); seeded by the key."""
        jitter = random.Random(f"{key}|{attempt}").random()
        return jitter * min(self.cap_s, self.base_s * 2**attempt)


@dataclass(frozen=True)
class Item:
    """One judgment to make: a pair, which response stands first, and the number of the repeat."""

    key: str
    pair: Pair
    first: int
    replicate: int


@dataclass(frozen=True)
class Reply:
    """An opinion with what it took; without one `failure` says why, or the run ended first, or the budget did."""

    opinion: Opinion | None
    attempts: int = 0
    latency_s: float = 0.0
    cost_usd: float | None = None
    failure: str | None = None
    unasked: bool = False


def plan_items(pairs: Sequence[Pair], spec: JudgeSpec) -> list[Item]:
    """Every judgment of a comparison, each key once; identical answers need one row and no call."""
    judge = spec.judge_id(prompt_text(spec.protocol))
    items: dict[str, Item] = {}
    for pair in pairs:
        identical = is_identical(pair)
        for replicate in range(1 if identical else spec.repeats):
            for first in (1,) if identical else sides(spec, pair.prompt_id):
                shown = (pair.text_1, pair.text_2) if first == 1 else (pair.text_2, pair.text_1)
                key = judgement_key(judge, pair.prompt, shown, replicate)
                items.setdefault(key, Item(key, pair, first, replicate))
    return list(items.values())


def pairs_of(rows: Sequence[Json]) -> list[Pair]:
    """The distinct pairs of answers behind judgments, as far as their texts are at hand."""
    pairs = {}
    for row in rows:
        texts = row.get("prompt"), row.get("text_1"), row.get("text_2")
        if all(isinstance(text, str) for text in texts):
            pair = Pair(str(row["prompt_id"]), str(texts[0]), str(texts[1]), str(texts[2]), int(row.get("seed") or 0))
            pairs[pair.prompt_id, pair.text_1, pair.text_2] = pair
    return list(pairs.values())


def pair_rank(pair: Pair) -> str:
    """A hash to order pairs by: random, yet the same on any machine."""
    return hashlib.sha256(f"{pair.prompt_id}|{pair.text_1}|{pair.text_2}".encode(errors="surrogatepass")).hexdigest()


def is_identical(pair: Pair) -> bool:
    """Whether nobody could tell the answers apart, or both are empty."""
    return pair.text_1 == pair.text_2 or not (pair.text_1.strip() or pair.text_2.strip())


def sides(spec: JudgeSpec, prompt_id: str) -> tuple[int, ...]:
    """Which response is shown first, in each call: both, one by a hash of seed and prompt, or always the baseline."""
    if spec.protocol == "single" or spec.order == "fixed":
        return (1,)
    if spec.order == "both":
        return (1, 2)
    digest = hashlib.sha256(f"{spec.seed}|{prompt_id}".encode()).digest()
    return (1 + (digest[-1] & 1),)


def question_calls(spec: JudgeSpec) -> int:
    """The most requests that one question can take at one time."""
    return CALLS_PER_QUESTION * spec.members()


class Gate:
    """Holds every worker back until the server's rate limit has passed."""

    def __init__(self) -> None:
        self._until = 0.0
        self._lock = threading.Lock()

    def close(self, seconds: float) -> None:
        """Let nobody through for this long."""
        with self._lock:
            self._until = max(self._until, time.monotonic() + seconds)

    def pause_s(self) -> float:
        """Seconds until the gate opens; 0 when it is open."""
        with self._lock:
            return max(0.0, self._until - time.monotonic())


class _Tally:
    """What the replies of a run say about going on: a judge that cannot, a server that is gone, a budget used up."""

    def __init__(self, most_lost: int) -> None:
        self.most_lost = most_lost
        self.lost = 0
        self.failure: LimitError | None = None
        self.skipping = self.stopped = False

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be asked."""
        return bool(self.failure or self.stopped or self.skipping)

    def take(self, future: Future[Reply], attempts: int) -> Reply:
        """The reply of a finished question; one that the judge could not be asked counts as unasked."""
        try:
            reply = future.result()
        except LimitError as error:
            self.failure = self.failure or error
            return Reply(None, unasked=True)
        if reply.opinion is None and not reply.unasked and reply.failure is None:
            self.skipping = True
        self.lost = self.lost + 1 if reply.failure else 0 if reply.opinion else self.lost
        if self.lost >= self.most_lost:
            self.failure = self.failure or LimitError(
                f"the judge's server gave no reply to {self.lost} questions in a row, each asked {attempts} times "
                f"({reply.failure}); what was judged is kept: resume the job when the server answers again"
            )
        return reply


class Runner:
    """One run over one comparison's items."""

    def __init__(
        self,
        comparison_id: str,
        journal: Journal,
        backend: Backend,
        spec: JudgeSpec,
        budget: Budget,
        context: JobContext,
        retry: Retry | None = None,
    ) -> None:
        self.comparison_id, self.journal, self.backend = comparison_id, journal, backend
        self.spec, self.budget, self.context = spec, budget, context
        self.retry = retry or Retry()
        self.gate = Gate()
        self.ending = threading.Event()

    def run(self, items: Sequence[Item]) -> Json:
        """Make every judgment that the journal lacks; returns {total, stopped}.

        Rows that ended in an error or for want of budget are asked again. Raises LimitError when the judge cannot
        go on (bad key, retired model); what was judged until then is kept.
        """
        self.journal.drop({"error", "skipped_budget"})
        todo = [item for item in items if item.key not in self.journal.rows]
        alike = [item for item in todo if is_identical(item.pair)]
        self.journal.add(self._identical_row(item) for item in alike)
        rest = iter([item for item in todo if not is_identical(item.pair)])
        done = len(items) - len(todo) + len(alike)
        stopped = self._ask_all(rest, done, len(items))
        return {"total": len(items), "stopped": stopped}

    def _ask_all(self, rest: Iterator[Item], done: int, total: int) -> bool:
        """Keep `concurrency` questions in flight until all are answered; True when asked to stop before that.

        As many again wait in line, so that nobody is idle while replies are being written.
        """
        flying: dict[Future[Reply], Item] = {}
        tally = _Tally(max(MIN_LOST, 2 * self.backend.concurrency))
        self.context.progress(done, total)
        with ThreadPoolExecutor(self.backend.concurrency, thread_name_prefix="judge") as pool:
            while True:
                room = 0 if tally.ended else 2 * self.backend.concurrency - len(flying)
                for item in itertools.islice(rest, room):
                    flying[pool.submit(self._ask, item)] = item
                if not flying:
                    break
                finished, _ = wait(flying, timeout=0.5, return_when=FIRST_COMPLETED)
                replies = [(flying.pop(future), tally.take(future, self.retry.attempts)) for future in finished]
                rows = [self._row(item, reply) for item, reply in replies if not reply.unasked]
                self.journal.add(rows)
                done += len(rows)
                self.context.progress(done, total)
                tally.stopped = tally.stopped or self.context.stop_requested()
                if tally.failure or tally.stopped:
                    self.ending.set()
        if tally.failure:
            raise tally.failure
        if tally.skipping:
            self.journal.add(self._row(item, Reply(None)) for item in rest)
        return tally.stopped

    def _ask(self, item: Item) -> Reply:
        """One judgment with its retries; runs in a worker thread."""
        question = self._question(item)
        worst = worst_tokens(self.spec, question, question_calls(self.spec))
        failure, started = "", time.monotonic()
        for attempt in range(1, self.retry.attempts + 1):
            self._pause(self.gate.pause_s())
            if self.ending.is_set():
                return Reply(None, unasked=True)
            ticket = self.budget.reserve(item.key[:12], *worst)
            if ticket is None:
                return Reply(None, attempts=attempt - 1)
            try:
                opinion = self.backend.judge(question)
            except Transient as error:
                self.budget.settle(ticket, *((None, None) if error.billed else (0, 0)))
                failure = str(error)
                delay = min(MAX_PAUSE_S, max(error.retry_after_s or 0.0, self.retry.delay(attempt, item.key)))
                if error.pause_all:
                    self.gate.close(delay)
                elif attempt < self.retry.attempts:
                    self._pause(delay)
                continue
            except BaseException:
                self.budget.settle(ticket, None, None)
                raise
            cost = self.budget.settle(ticket, opinion.prompt_tokens, opinion.completion_tokens)
            return Reply(opinion, attempt, time.monotonic() - started, cost)
        words = f"gave up after {self.retry.attempts} tries: {failure}"
        return Reply(None, self.retry.attempts, time.monotonic() - started, failure=words)

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self.ending.wait(seconds)

    def _question(self, item: Item) -> Question:
        pair, limit = item.pair, self.spec.max_answer_chars
        prompt, one, two = (cut_middle(text, limit) for text in (pair.prompt, pair.text_1, pair.text_2))
        first, second = (one, two) if item.first == 1 else (two, one)
        code = fence_code(prompt, first, second, str(item.replicate))
        return Question(prompt, first, second, pair.prompt_id, code)

    def _row(self, item: Item, reply: Reply) -> Json:
        opinion = reply.opinion
        if opinion is None:
            status = "error" if reply.failure else "skipped_budget"
            values: Json = {"status": status, "error_text": reply.failure, "attempts": reply.attempts}
            return self._base_row(item, **values)
        verdict = _verdict(opinion, item.first)
        return self._base_row(
            item,
            status=opinion.status,
            verdict=verdict,
            score=score_of(verdict, _candidate_share(opinion, item.first)),
            p_first=opinion.p_first,
            p_tie=opinion.p_tie,
            extraction=opinion.extraction,
            raw_text=opinion.raw_text,
            reason=opinion.reason,
            logprobs_json=opinion.logprobs_json,
            model_reported=opinion.model_reported,
            system_fingerprint=opinion.system_fingerprint,
            prompt_tokens=opinion.prompt_tokens,
            completion_tokens=opinion.completion_tokens,
            cost_usd=reply.cost_usd,
            latency_s=round(reply.latency_s, 4),
            attempts=reply.attempts,
            error_text=opinion.error_text,
        )

    def _identical_row(self, item: Item) -> Json:
        return self._base_row(item, status="tie_identical", verdict="tie", score=0.5, attempts=0, cost_usd=0.0)

    def _base_row(self, item: Item, **values: object) -> Json:
        pair = item.pair
        longest = max(len(pair.prompt), len(pair.text_1), len(pair.text_2))
        return judgment_row(
            judgement_key=item.key,
            comparison_id=self.comparison_id,
            seed=pair.seed,
            prompt_id=pair.prompt_id,
            prompt=pair.prompt,
            text_1=pair.text_1,
            text_2=pair.text_2,
            order="ab" if item.first == 1 else "ba",
            replicate=item.replicate,
            first_response=item.first,
            truncated=longest > self.spec.max_answer_chars,
            **values,
        )


def _verdict(opinion: Opinion, first: int) -> str | None:
    if opinion.status != "ok" or opinion.choice is None:
        return None
    if opinion.choice == "tie":
        return "tie"
    return str(first) if opinion.choice == "first" else str(3 - first)


def _candidate_share(opinion: Opinion, first: int) -> float | None:
    """Probability that the candidate (response 2) wins, ties half; None where the judge gave no probabilities."""
    if opinion.p_first is None or opinion.p_tie is None:
        return None
    p_second = 1 - opinion.p_first - opinion.p_tie
    return (opinion.p_first if first == 2 else p_second) + opinion.p_tie / 2
