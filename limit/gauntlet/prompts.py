"""From records to token ids, bit for bit as llm-foundry builds them.

Notable: the preamble (examples), the record's context and the continuation are three separate tokenizer calls; whether
a continuation needs a leading space is found out by asking the tokenizer; too long a prompt loses its beginning.
Source: llm-foundry `llmfoundry/eval/datasets/in_context_learning_evaluation.py` and `utils.py`.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from limit.core import Json, LimitError
from limit.gauntlet.fewshot import fixed_shots, paper_shots
from limit.gauntlet.tasks import Task

ANSWER_BUFFER_TOKENS = 10  # llm-foundry: models may need a little more room than the longest chain of thought


@dataclass(frozen=True)
class Request:
    """One continuation after one context, as token ids; generation has no continuation."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]

    @property
    def sha1(self) -> str:
        """First 16 hex digits of sha1 over the JSON of all ids."""
        return hashlib.sha1(json.dumps([*self.context, *self.continuation]).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Item:
    """One record ready to be scored.

    `texts` are the choices as the file gives them (for schema tasks the one continuation, repeated), `options` what a
    person chooses between, `shared` how many leading context tokens other records share by construction, `cut` how
    many the length limit took from the beginning.
    """

    subcategory: str
    idx: int
    requests: tuple[Request, ...]
    texts: tuple[str, ...]
    options: tuple[str, ...]
    prompt: str
    gold: int = 0
    accepted: tuple[str, ...] = ()
    max_new_tokens: int = 0
    shared: int = 0
    cut: int = 0


class Encoder:
    """A tokenizer with the Gauntlet's rules; each distinct text is encoded once."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.needs_prefix_space = len(tokenizer(" a", add_special_tokens=False)["input_ids"]) == 1
        self._known: dict[tuple[bool, str], tuple[int, ...]] = {}

    def prepare(self, texts: Iterable[str], special: bool) -> None:
        """Encode many texts in one call."""
        new = [text for text in dict.fromkeys(texts) if (special, text) not in self._known]
        for start in range(0, len(new), 1000):
            part = new[start : start + 1000]
            encoded = self.tokenizer(part, add_special_tokens=special, return_attention_mask=False, verbose=False)
            for text, ids in zip(part, encoded["input_ids"], strict=True):
                self._known[special, text] = tuple(ids)

    def encode(self, text: str, special: bool = False) -> tuple[int, ...]:
        if (special, text) not in self._known:
            self.prepare([text], special)
        return self._known[special, text]

    def preamble(self, text: str) -> tuple[int, ...]:
        """Ids of the examples with special tokens; an EOS that the tokenizer appends is dropped again."""
        ids = self.encode(text, special=True)
        eos = self.tokenizer.eos_token_id
        return ids[:-1] if len(ids) > 1 and eos is not None and ids[-1] == eos else ids

    def answer(self, text: str) -> str:
        """A continuation with the leading space that this tokenizer needs."""
        return f" {text}" if self.needs_prefix_space and not text.startswith(" ") else text

    def forget(self) -> None:
        """Drop what was encoded, between tasks."""
        self._known.clear()


def build_items(
    task: Task,
    groups: dict[str, list[Json]],
    encoder: Encoder,
    *,
    max_seq_len: int,
    shots: str = "paper",
    draws: int = 1,
    limit: int | None = None,
    chunk: int = 2048,
) -> Iterator[list[Item]]:
    """The first `limit` records of each sub-category, with the shots and limits that the whole file gives.

    Items come in lists of about `chunk`, so that the token ids of a large task never lie in memory all at once.
    Raises LimitError when a continuation does not fit into `max_seq_len`.
    """
    waiting: list[Item] = []
    generation = task.type == "generation_task_with_answers"
    for subcategory, records in groups.items():
        n = len(records)
        count, seed = task.num_fewshot, task.fewshot_random_seed
        table = fixed_shots(n, count, draws, seed) if shots == "fixed" else paper_shots(n, count, seed)
        answer_tokens = longest_answer(task, records, encoder) if generation else 0
        builder = _Builder(task, subcategory, records, encoder, max_seq_len, answer_tokens)
        if shots == "fixed" and count:
            table = builder.fitting(table)
        for start in range(0, n if limit is None else min(limit, n), chunk):
            stop = min(start + chunk, n if limit is None else min(limit, n))
            builder.prepare(range(start, stop), table)
            waiting.extend(builder.item(i, table[i], shots == "fixed") for i in range(start, stop))
            encoder.forget()
            if len(waiting) >= chunk:
                yield waiting
                waiting = []
    if waiting:
        yield waiting


def has_reasoning(records: Sequence[Json]) -> bool:
    """Whether the file has a `chain_of_thought` column; without one the delimiter is left out."""
    return any("chain_of_thought" in record for record in records)


def longest_answer(task: Task, records: Sequence[Json], encoder: Encoder) -> int:
    """Tokens of the longest accepted answer in the file, with its chain of thought and special tokens.

    As upstream, this looks at the records before they are stripped.
    """
    reasoned = has_reasoning(records)
    raw = [record["raw"] for record in records]
    answers = [_reasoned(task, record, answer, reasoned) for record in raw for answer in accepted_answers(record)]
    encoder.prepare(answers, special=True)
    longest = max(len(encoder.encode(answer, special=True)) for answer in answers)
    return longest + (ANSWER_BUFFER_TOKENS if task.cot_delimiter else 0)


def accepted_answers(record: Json) -> tuple[str, ...]:
    """The answer and its aliases, each once."""
    return tuple(dict.fromkeys([record["answer"], *(record.get("aliases") or [])]))


def _reasoned(task: Task, record: Json, answer: str, reasoned: bool) -> str:
    return f"{record.get('chain_of_thought', '')}{task.cot_delimiter}{answer}" if reasoned else answer


def _bytes(text: str) -> int:
    return len(text.encode())


class _Builder:
    """Prompts of one file, or of one sub-category of it."""

    def __init__(
        self,
        task: Task,
        subcategory: str,
        records: list[Json],
        encoder: Encoder,
        max_seq_len: int,
        answer_tokens: int,
    ) -> None:
        self.task, self.subcategory, self.records, self.encoder = task, subcategory, records, encoder
        self.max_seq_len, self.answer_tokens = max_seq_len, answer_tokens
        self.generates = task.type == "generation_task_with_answers"
        self.reasoned = has_reasoning(records)

    def prepare(self, indices: Sequence[int], table: Sequence[Sequence[int]]) -> None:
        """Encode all texts of these records in three calls."""
        preambles = {i: self.preamble(table[i]) for i in indices}
        self.encoder.prepare(preambles.values(), special=True)
        contexts = (text for i, preamble in preambles.items() for text in self.contexts(self.records[i], preamble))
        self.encoder.prepare(contexts, special=False)
        answers = (self.encoder.answer(text) for i in indices for text in self.texts(self.records[i]))
        self.encoder.prepare(answers, special=False)

    def fitting(self, table: Sequence[list[int]]) -> list[list[int]]:
        """Fixed draws without their first examples where the whole draw leaves no room for the file's records.

        A prompt that is cut token by token shares nothing with the next one, so a draw gives up whole examples once for
        all its records. Records that take more than half of the room are cut alone, as in the paper's protocol.
        """
        draws = dict.fromkeys(map(tuple, table))
        room = self.max_seq_len - max(len(self._head(draw)) for draw in draws)
        long = [record for record in self.records if self._rest_at_most(record) > room]
        texts = (text for record in long for part in self._rest_texts(record) for text in part)
        self.encoder.prepare(texts, special=False)
        longest = max((self._rest(record, lambda text: len(self.encoder.encode(text))) for record in long), default=0)
        room = self.max_seq_len - min(longest, self.max_seq_len // 2)
        fitted: dict[tuple[int, ...], list[int]] = {}
        for draw in draws:
            kept = list(draw)
            while kept and len(self._head(kept)) > room:
                kept.pop(0)
            fitted[draw] = kept
        self.encoder.forget()
        return [fitted[tuple(draw)] for draw in table]

    def _head(self, shots: Sequence[int]) -> tuple[int, ...]:
        return self.encoder.preamble(self.preamble(shots))

    def _rest_texts(self, record: Json) -> tuple[list[str], list[str]]:
        """Contexts after some examples, and answers."""
        return self.contexts(record, "x"), [self.encoder.answer(text) for text in self.texts(record)]

    def _rest_at_most(self, record: Json) -> int:
        """No fewer than its tokens: one for each byte, as written or normalized, and two that are put before."""
        return self._rest(record, lambda text: 2 + max(_bytes(text), _bytes(unicodedata.normalize("NFKD", text))))

    def _rest(self, record: Json, tokens: Callable[[str], int]) -> int:
        """Tokens of what follows the examples: the longest context and the longest continuation or answer."""
        contexts, answers = self._rest_texts(record)
        return max(map(tokens, contexts)) + max([*map(tokens, answers), self.answer_tokens])

    def item(self, index: int, shots: Sequence[int], fixed: bool) -> Item:
        record = self.records[index]
        preamble = self.preamble(shots)
        head = self.encoder.preamble(preamble)
        contexts = self.contexts(record, preamble)
        texts = self.texts(record)
        bodies = [head + self.encoder.encode(context) for context in contexts]
        if self.generates:
            requests: tuple[Request, ...] = (Request(self._prompt(bodies[0]), ()),)
        else:
            bodies = bodies * len(texts) if len(bodies) == 1 else bodies
            answers = [self.encoder.encode(self.encoder.answer(text)) for text in texts]
            requests = tuple(self._request(index, *pair) for pair in zip(bodies, answers, strict=True))
        cut = max(len(b) - len(r.context) for r, b in zip(requests, bodies, strict=True))
        return Item(
            subcategory=self.subcategory,
            idx=index,
            requests=requests,
            texts=texts,
            options=tuple(record["context_options"]) if self.task.type == "schema" else texts,
            prompt=preamble + contexts[0],
            gold=record["gold"] if self.task.type in ("multiple_choice", "schema") else 0,
            accepted=accepted_answers(record) if self.generates else (),
            max_new_tokens=max(self.answer_tokens, 1) if self.generates else 0,
            shared=len(head) if fixed and not cut else 0,
            cut=cut,
        )

    def preamble(self, shots: Sequence[int]) -> str:
        text = self.task.prompt_string
        for index in shots:
            text += self._example(self.records[index], follows=bool(text))
        return text

    def _example(self, record: Json, follows: bool) -> str:
        task = self.task
        delimiter = task.example_delimiter if follows else ""
        if task.type == "schema":
            context = record["context_options"][record["gold"]]
            return f"{task.prelimiter}{delimiter}{context}{task.continuation_delimiter}{record['continuation']}"
        return f"{delimiter}{task.prelimiter}{self._context(record)}{task.continuation_delimiter}{self._gold(record)}"

    def contexts(self, record: Json, preamble: str) -> list[str]:
        """The test context, or one per option of a schema record; right-stripped as the original does."""
        task = self.task
        delimiter = task.example_delimiter if preamble else ""
        if task.type != "schema":
            text = f"{delimiter}{task.prelimiter}{self._context(record)}{task.continuation_delimiter}"
            return [text.rstrip()]
        if not preamble:
            return [f"{task.prelimiter}{option}" for option in record["context_options"]]
        ending = task.continuation_delimiter.rstrip()
        return [f"{task.prelimiter}{delimiter}{option}{ending}" for option in record["context_options"]]

    def texts(self, record: Json) -> tuple[str, ...]:
        """The continuation of each request."""
        if self.task.type == "multiple_choice":
            return tuple(record["choices"])
        if self.task.type == "schema":
            return (record["continuation"],) * len(record["context_options"])
        return (record["continuation"],) if self.task.type == "language_modeling" else ()

    def _context(self, record: Json) -> str:
        return str(record["query" if self.task.type == "multiple_choice" else "context"])

    def _gold(self, record: Json) -> str:
        if self.task.type == "multiple_choice":
            return str(record["choices"][record["gold"]])
        if self.task.type == "language_modeling":
            return str(record["continuation"])
        return _reasoned(self.task, record, record["answer"], self.reasoned)

    def _prompt(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """The end of a prompt, with room for the answer; whole where answers alone fill the limit (as upstream)."""
        room = self.max_seq_len - self.answer_tokens
        return ids if room <= 0 or len(ids) <= room else ids[len(ids) - room :]

    def _request(self, index: int, context: tuple[int, ...], continuation: tuple[int, ...]) -> Request:
        where = f"task {self.task.name!r}{f' ({self.subcategory})' if self.subcategory else ''}, record {index}"
        room = self.max_seq_len - len(continuation)
        if room < 0:
            raise LimitError(
                f"{where}: a continuation of {len(continuation)} tokens is longer than max_seq_len "
                f"{self.max_seq_len}; raise it with --max-seq-len"
            )
        if not continuation:
            raise LimitError(f"{where}: the tokenizer gives no token for a continuation; correct the record")
        cut = context[max(0, len(context) - room) :]
        if not cut:
            raise LimitError(
                f"{where}: nothing stands before the continuation (an empty context, or one cut away), so its first "
                f"token cannot be predicted; correct the record or raise --max-seq-len"
            )
        return Request(cut, continuation)
