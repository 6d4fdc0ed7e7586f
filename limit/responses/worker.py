"""The job that answers a prompt set: load the run's model, generate in batches, resume after a crash.

Batches are fixed by the request (prompts sorted by length, `batch_size` at a time) and sampling is seeded per batch,
so a resumed job writes what an uninterrupted one would have written.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from limit.core import Json, LimitError, append_jsonl, read_jsonl, utc_now
from limit.jobs.context import JobContext
from limit.models import TINY_MODEL, ModelRef, load_model, load_tokenizer, resolve_model
from limit.responses.launch import response_set_id
from limit.responses.prompt_sets import TURN_MARK, Prompt, load_prompts
from limit.responses.response_sets import read_responses, response_path, save_responses
from limit.settings import Workspace
from limit.specs.judge import RespondSpec

BATCH_SIZE = 16
Messages = list[dict[str, str]]


def respond(ws: Workspace, run_id: str, spec: RespondSpec, context: JobContext) -> Json:
    """Answer every distinct prompt once and write the response set; returns {run_id, prompt_set, set_id, path, n}.

    A set that exists is not made again. A stop request keeps the answers so far for a resume and raises LimitError.
    """
    set_id = response_set_id(ws, run_id, spec)
    path = response_path(ws, run_id, spec.prompts, set_id)
    if path.is_file() and path.with_suffix(".json").is_file():
        return _result(run_id, spec, set_id, path, len(read_responses(path)))
    prompts = load_prompts(ws, spec.prompts)[: spec.limit]
    ref = resolve_model(ws, run_id)
    template = template_name(ref, spec)
    journal = path.with_name(f".{set_id}.partial.jsonl")
    started = time.monotonic()
    answers = {row["prompt_id"]: row for row in read_jsonl(journal) if "prompt_id" in row}
    answers = _answer_all(Generator(ref, spec, template), prompts, answers, journal, context)
    rows = [answers[prompt.prompt_id] for prompt in prompts]
    facts = {
        "set_id": set_id,
        "run_id": run_id,
        "prompt_set": spec.prompts,
        "config": {**spec.to_dict(), "template": template, "batch_size": BATCH_SIZE},
        "n": len(rows),
        "tokens": sum(row["n_tokens"] for row in rows),
        "cut": sum(row["finish_reason"] == "length" for row in rows),
        "seconds": round(time.monotonic() - started, 3),
        "created": utc_now(),
    }
    save_responses(path, rows, facts)
    journal.unlink(missing_ok=True)
    return _result(run_id, spec, set_id, path, len(rows))


def _result(run_id: str, spec: RespondSpec, set_id: str, path: Path, n: int) -> Json:
    return {"run_id": run_id, "prompt_set": spec.prompts, "set_id": set_id, "path": str(path), "n": n}


def _answer_all(
    generator: Generator, prompts: list[Prompt], answers: dict[str, Json], journal: Path, context: JobContext
) -> dict[str, Json]:
    ordered = sorted(prompts, key=lambda prompt: (len(prompt.text), prompt.prompt_id))
    context.progress(len(answers), len(prompts))
    for start in range(0, len(ordered), BATCH_SIZE):
        batch = ordered[start : start + BATCH_SIZE]
        if all(prompt.prompt_id in answers for prompt in batch):
            continue
        if context.stop_requested():
            raise LimitError(f"stopped after {len(answers):,} of {len(prompts):,} answers; resume the job to go on")
        rows = generator.answer(batch)
        append_jsonl(journal, rows)
        answers.update({row["prompt_id"]: row for row in rows})
        context.progress(len(answers), len(prompts))
    return answers


def template_name(ref: ModelRef, spec: RespondSpec) -> str:
    """The template asked for, else that of the run's finetune, else Alpaca's."""
    if spec.template != "auto":
        return spec.template
    return ref.template or ("tiny" if ref.name == "tiny" or ref.path == str(TINY_MODEL) else "alpaca")


class Generator:
    """A loaded model that answers batches of prompts."""

    def __init__(self, ref: ModelRef, spec: RespondSpec, template: str) -> None:
        self.spec = spec
        self.template = template
        self.tokenizer = load_tokenizer(ref)
        self.model = load_model(ref)
        self.eos = self.tokenizer.eos_token_id
        self.max_positions = int(getattr(self.model.config, "max_position_embeddings", 0) or 1 << 30)

    def answer(self, prompts: list[Prompt]) -> list[Json]:
        """One row of the response schema for each prompt, in order; prompts of two turns are answered turn by turn."""
        turns = [prompt.turns() for prompt in prompts]
        first = self._answer_turn([_user(asked[0]) for asked in turns], prompts)
        later = [i for i, asked in enumerate(turns) if len(asked) > 1 and first[i] is not None]
        dialogues = [
            [*_user(turns[i][0]), {"role": "assistant", "content": self._text(first[i])}, *_user(turns[i][1])]
            for i in later
        ]
        second = dict(zip(later, self._answer_turn(dialogues, [prompts[i] for i in later]), strict=True))
        return [
            self._row(prompt, [first[i], second[i]] if i in second else [first[i]]) for i, prompt in enumerate(prompts)
        ]

    def _answer_turn(self, dialogues: list[Messages], prompts: list[Prompt]) -> list[list[int] | None]:
        """New token ids for each dialogue, None where it leaves the model no room for an answer.

        Prompts so long that the longest answer would not fit are generated alone, so that they cut nobody else's.
        """
        from limit.encoding.template import encode_prompt

        encoded = [encode_prompt(dialogue, self.tokenizer, self.template) for dialogue in dialogues]
        answers: list[list[int] | None] = [None] * len(encoded)
        roomy = [i for i, ids in enumerate(encoded) if len(ids) + self.spec.max_new_tokens <= self.max_positions]
        tight = [[i] for i, ids in enumerate(encoded) if i not in roomy and len(ids) < self.max_positions]
        for group in (roomy, *tight):
            found = self._generate([encoded[i] for i in group], [prompts[i] for i in group])
            for i, ids in zip(group, found, strict=True):
                answers[i] = ids
        return answers

    def _generate(self, encoded: list[list[int]], prompts: list[Prompt]) -> list[list[int]]:
        """New token ids of each prompt, up to and including the end token; a batch too large for memory is halved."""
        import torch

        if not encoded:
            return []
        try:
            return self._generate_batch(encoded, prompts)
        except torch.OutOfMemoryError:
            if len(encoded) == 1:
                raise LimitError("the GPU has no memory for a single answer; lower max_new_tokens") from None
            torch.cuda.empty_cache()
            middle = len(encoded) // 2
            return self._generate(encoded[:middle], prompts) + self._generate(encoded[middle:], prompts)

    def _generate_batch(self, encoded: list[list[int]], prompts: list[Prompt]) -> list[list[int]]:
        import torch

        longest = max(len(ids) for ids in encoded)
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else (self.eos or 0)
        ids = torch.tensor([[pad] * (longest - len(row)) + row for row in encoded], device=self.model.device)
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in encoded], device=ids.device)
        torch.manual_seed(_batch_seed(self.spec.seed, prompts))
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=ids, attention_mask=mask, pad_token_id=pad, **self._options(self.max_positions - longest)
            )
        return [self._until_end(row) for row in output[:, longest:].tolist()]

    def _options(self, room: int) -> dict[str, Any]:
        options: dict[str, Any] = {"max_new_tokens": min(self.spec.max_new_tokens, room), "eos_token_id": self.eos}
        if not self.spec.do_sample:
            # Greedy whatever the model's own generation_config says; None silences its sampling settings.
            return {**options, "do_sample": False, "temperature": None, "top_p": None, "top_k": None, "num_beams": 1}
        top_k = self.spec.top_k
        return {**options, "do_sample": True, "temperature": self.spec.temperature, "top_p": self.spec.top_p} | {
            "top_k": top_k,
            "num_beams": 1,
        }

    def _until_end(self, ids: list[int]) -> list[int]:
        return ids[: ids.index(self.eos) + 1] if self.eos in ids else ids

    def _text(self, ids: list[int] | None) -> str:
        return "" if ids is None else str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _reason(self, ids: list[int] | None) -> str:
        if ids is None:
            return "prompt_too_long"
        return "stop" if ids and ids[-1] == self.eos else "length"

    def _row(self, prompt: Prompt, turns: list[list[int] | None]) -> Json:
        text = TURN_MARK.join(self._text(ids) for ids in turns)
        reasons = [self._reason(ids) for ids in turns]
        worst = next((why for why in ("prompt_too_long", "length") if why in reasons), "stop")
        return {
            "prompt_id": prompt.prompt_id,
            "position": prompt.position,
            "prompt": prompt.text,
            "text": text,
            "n_chars": len(text),
            "n_tokens": sum(len(ids or ()) - (why == "stop") for ids, why in zip(turns, reasons, strict=True)),
            "finish_reason": worst,
        }


def _user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _batch_seed(seed: int, prompts: list[Prompt]) -> int:
    joined = "|".join([str(seed), *(prompt.prompt_id for prompt in prompts)])
    return int.from_bytes(hashlib.sha256(joined.encode()).digest()[:4], "big")
