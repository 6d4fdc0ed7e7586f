"""Score one model on one version of the Gauntlet and write eval.json, items.parquet and choices.parquet.

Notable: tasks go through one at a time and in chunks, so memory does not grow with the version; each pack is recorded
when it is done, so a killed evaluation goes on where it was and ends with the same numbers; several GPUs share the
packs of a task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from limit.core import Json, LimitError, content_id, file_sha256, read_json, utc_now, write_json
from limit.gauntlet.aggregate import TaskResult, summarise, task_score
from limit.gauntlet.answers import is_right
from limit.gauntlet.engine import Engine
from limit.gauntlet.journal import Journal
from limit.gauntlet.prompts import Encoder, Item, build_items
from limit.gauntlet.records import load_records, task_path
from limit.gauntlet.rows import (
    NEAR_TIE_NATS,
    Labels,
    Scored,
    Tables,
    choice_rows,
    forget_eval,
    generated_item,
    is_whole,
    open_tables,
    scored_item,
)
from limit.gauntlet.tasks import Task, Version, load_version, own_settings
from limit.jobs.context import JobContext
from limit.specs.gauntlet import GauntletSpec

Source = tuple[str | None, str, bool]
METRICS = {
    "multiple_choice": "lowest mean token loss",
    "schema": "lowest mean token loss",
    "language_modeling": "every token greedy",
    "generation_task_with_answers": "answer is a prefix",
}


@dataclass(frozen=True)
class Subject:
    """Which evaluation this is: ids and the model's name as people know it."""

    eval_id: str
    run_id: str | None
    model: str


@dataclass(frozen=True)
class Plan:
    """The tasks that will be scored, those that cannot be, the hash of each file, and the folder's own settings."""

    version: Version
    tasks: tuple[Task, ...]
    absent: tuple[Task, ...]
    hashes: dict[str, str]
    settings: Json


def make_plan(spec: GauntletSpec, folder: Path) -> Plan:
    """Check a request against the data at hand. Raises LimitError when nothing of it can be scored."""
    gauntlet = load_version(spec.version, folder)
    chosen = gauntlet.select(spec.tasks)
    runnable = tuple(t for t in chosen if t.type != "code_evaluation" and task_path(t, folder) is not None)
    absent = tuple(task for task in chosen if task not in runnable)
    if not runnable:
        names = ", ".join(dict.fromkeys(task.name for task in absent))
        if all(task.type == "code_evaluation" for task in absent):
            raise LimitError(f"{names}: code tasks are never run, since they execute what a model wrote; choose others")
        raise LimitError(f"{folder} holds no file of {names}; name a folder with --data or run `limit gauntlet fetch`")
    files = dict.fromkeys(task.file for task in runnable if task.file)
    hashes = {file: file_sha256(folder / file) for file in files}
    return Plan(gauntlet, runnable, absent, hashes, own_settings(gauntlet, runnable))


def read_groups(plan: Plan, folder: Path) -> dict[Source, dict[str, list[Json]]]:
    """The records of every task of a plan. Raises LimitError on the first that cannot be used, by file and line."""
    return {source: load_records(task, folder) for source, task in {_source(t): t for t in plan.tasks}.items()}


def evaluation_id(spec: GauntletSpec, plan: Plan, run_id: str | None) -> str:
    """12 hex over the request, the model's run and the data's contents; where the data lies does not matter."""
    request = {key: value for key, value in spec.to_dict().items() if key not in ("data", "batch_tokens")}
    own = {"settings": plan.settings} if plan.settings else {}
    return content_id({**request, "run_id": run_id, "data": plan.hashes, **own})


def evaluate(
    model: Any,
    tokenizer: Any,
    spec: GauntletSpec,
    data: Path,
    out_dir: Path,
    context: JobContext,
    *,
    subject: Subject | None = None,
) -> Json:
    """Score `model` on the task files in `data`; returns what eval.json holds.

    `subject` names the run; without one the evaluation is named by its request and data alone. A stop request leaves
    the journal and returns {"stopped": True}. Raises LimitError on records, settings or folders that cannot be used.
    """
    plan = make_plan(spec, data)
    subject = subject or Subject(evaluation_id(spec, plan, None), None, str(model.config.name_or_path))
    done = out_dir / "eval.json"
    if is_whole(out_dir) and read_json(done).get("eval_id") == subject.eval_id:
        return read_json(done)
    evaluation = _Evaluation(model, tokenizer, spec, data, out_dir, context, plan, subject)
    return evaluation.run()


class _Stop(Exception):
    """Somebody asked the job to stop."""


class _Evaluation:
    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        spec: GauntletSpec,
        data: Path,
        out_dir: Path,
        context: JobContext,
        plan: Plan,
        subject: Subject,
    ) -> None:
        self.spec, self.data, self.out_dir, self.context = spec, data, out_dir, context
        self.plan, self.subject = plan, subject
        self.groups = read_groups(plan, data)
        self.encoder = Encoder(tokenizer)
        self.engine = Engine(model, tokenizer, spec, add_space=not self.encoder.needs_prefix_space)
        self.protocol = {
            "shots": spec.shots,
            "draws": spec.draws if spec.shots == "fixed" else None,
            "max_seq_len": spec.max_seq_len,
            "tokenizer": tokenizer_name(tokenizer),
            "dtype": self.engine.dtype,
            "data": plan.hashes,
            "settings": {name: content_id(value) for name, value in plan.settings.items()} or None,
            "limit": spec.limit,
            "complete": not spec.tasks
            and not any(task.type != "code_evaluation" for task in plan.absent)
            and all(self._complete(task) for task in plan.tasks),
        }
        self.journal = Journal(out_dir, {"eval_id": subject.eval_id, "protocol": self.protocol, **self.engine.plan})
        self.seconds = 0.0
        self.tokens = 0
        self.longest = 0
        self.total = sum(self._count(task) for task in plan.tasks)
        self.done = 0

    def run(self) -> Json:
        if self.journal.resumed:
            self.context.event("note", text=f"going on after {self.journal.resumed} packs that were done before")
        try:
            with open_tables(self.out_dir) as tables:
                facts = [self._task(task, tables) for task in self.plan.tasks]
                result = self._result(facts)
                forget_eval(self.out_dir)  # of another evaluation: its tables are about to be replaced
        except _Stop:
            return {"eval_id": self.subject.eval_id, "path": str(self.out_dir), "stopped": True}
        write_json(self.out_dir / "eval.json", result)  # last, so that where it stands both tables stand too
        self.journal.clear()
        return result

    def _count(self, task: Task) -> int:
        sizes = [len(records) for records in self.groups[_source(task)].values()]
        return sum(size if self.spec.limit is None else min(self.spec.limit, size) for size in sizes)

    def _complete(self, task: Task) -> bool:
        """Whether the whole file of the source is scored."""
        records = sum(map(len, self.groups[_source(task)].values()))
        return self._count(task) == records and task.records_in_source in (None, records)

    def _task(self, task: Task, tables: Tables) -> Json:
        name = self.spec.shots if task.counted else f"{self.spec.shots}@{task.num_fewshot}"
        labels = Labels(self.plan.version.name, name, task)
        near = NEAR_TIE_NATS[self.engine.dtype]
        gathered = _Gathered(task)
        chunks = build_items(
            task,
            self.groups[_source(task)],
            self.encoder,
            max_seq_len=self.spec.max_seq_len,
            shots=self.spec.shots,
            draws=self.spec.draws,
            limit=self.spec.limit,
        )
        before = self.tokens
        beyond = 0
        for number, items in enumerate(chunks):
            self.engine.check(items)
            beyond += self.engine.beyond(items)
            if task.type == "generation_task_with_answers":
                self._note_whole_prompts(task, number, items[0].max_new_tokens)
                texts = self._collect(task, number, items, "answers")
                item_rows = [generated_item(labels, item, *texts[i][0]) for i, item in enumerate(items)]
                rows: list[Json] = []
            else:
                found = self._collect(task, number, items, "scores")
                scores = [_scores(found[i], item) for i, item in enumerate(items)]
                item_rows = [scored_item(labels, item, s, near) for item, s in zip(items, scores, strict=True)]
                rows = [row for item, s in zip(items, scores, strict=True) for row in choice_rows(labels, item, s)]
            tables.add(item_rows, rows)
            gathered.add(item_rows, rows)
        if beyond:
            self.context.event(
                "note",
                text=f"{task.key}: {beyond:,} items are longer than the {self.engine.made_for:,} tokens that the model "
                f"was made for, so their scores say little; --max-seq-len {self.engine.made_for} cuts them",
            )
        return {
            **gathered.facts(),
            "tokens_computed": self.tokens - before,
            "complete": self._complete(task),
            "beyond_positions": beyond,
        }

    def _note_whole_prompts(self, task: Task, chunk: int, answer: int) -> None:
        """Say where the length limit cannot be kept: as upstream, prompts stay whole when answers alone fill it."""
        limit = self.spec.max_seq_len
        if chunk == 0 and answer >= limit:
            self.context.event(
                "note",
                text=f"{task.key}: answers may take {answer:,} tokens, all of max_seq_len {limit:,}, so its prompts "
                f"are not cut and go beyond it",
            )

    def _collect(self, task: Task, chunk: int, items: list[Item], what: str) -> list[list[Any]]:
        """For each item of a chunk what its packs brought, from the journal or from the model now."""
        found: list[list[Any]] = [[] for _ in items]
        for pack, row in self._packs(task, chunk, items):
            self.seconds += row["seconds"]
            self.tokens += row["tokens"]
            for index, *values in row[what]:
                found[index].append(values)
            self.done += len(pack)
            self.context.progress(min(self.done, self.total), self.total, task=task.key)
        return found

    def _packs(self, task: Task, chunk: int, items: list[Item]) -> Iterator[tuple[frozenset[int], Json]]:
        packs = self.engine.packs(task, items)
        missing = []
        for number, pack in enumerate(packs):
            row = self.journal.get(task.key, chunk, number)
            if row is None:
                missing.append((number, pack))
            else:
                yield pack.finishes, row
        for number, pack, values in self.engine.run(missing, self._stopping):
            yield pack.finishes, self.journal.add(task.key, chunk, number, **values)
        if self._stopping():
            raise _Stop

    def _stopping(self) -> bool:
        return self.context.stop_requested()

    def _result(self, facts: Sequence[Json]) -> Json:
        gauntlet = self.plan.version
        results = [fact.pop("result") for fact in facts]
        summary = summarise(gauntlet, results, {result.key: result.n for result in results})
        return {
            "eval_id": self.subject.eval_id,
            "run_id": self.subject.run_id,
            "model": self.subject.model,
            "version": gauntlet.name,
            "protocol": self.protocol,
            "tasks": [
                _task_row(gauntlet, task, fact, result, summary["intervals"][result.key])
                for task, fact, result in zip(self.plan.tasks, facts, results, strict=True)
            ],
            "categories": summary["categories"],
            "averages": summary["averages"],
            "absent": [task.key for task in self.plan.absent],
            "tokens_computed": self.tokens,
            "seconds": round(self.seconds, 3),
            "created": utc_now(),
            "versions": {name: _version(name) for name in ("torch", "transformers", "tokenizers")},
        }


class _Gathered:
    """The few numbers of a task's rows that eval.json needs."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.correct: dict[str, list[int]] = {}
        self.near_ties = self.nan = self.always_right = 0
        self.rules: dict[str, list[int]] = {"acc_sum": [], "acc_norm": [], "acc_bytes": []}

    def add(self, items: list[Json], choices: list[Json]) -> None:
        for row in items:
            self.correct.setdefault(row["subcategory"], []).append(row["correct"])
            self.near_ties += row["near_tie"]
            self.nan += row["nan"]
            if self.task.type == "generation_task_with_answers":
                self.always_right += is_right(self.task, "", row["choices"])
        if self.task.type in ("multiple_choice", "schema"):
            start = 0
            for row in items:
                part = choices[start : start + len(row["choices"])]
                start += len(part)
                for rule, size in (("acc_sum", None), ("acc_norm", "n_chars"), ("acc_bytes", "n_bytes")):
                    values = [c["sum_logprob"] / (max(c[size], 1) if size else 1) for c in part]
                    self.rules[rule].append(int(int(np.argmax(values)) == row["gold"]))

    def facts(self) -> Json:
        """lm-evaluation-harness's rules weigh every record alike, also where there are sub-categories."""
        result = TaskResult(self.task.name, self.task.num_fewshot, self.correct)
        rules = {rule: float(np.mean(hits)) if hits else None for rule, hits in self.rules.items()}
        if self.task.type == "language_modeling":
            rules["acc_sum"] = float(np.mean([hit for hits in self.correct.values() for hit in hits]))
        return {
            "result": result,
            "near_ties": self.near_ties,
            "nan": self.nan,
            "always_right": self.always_right,
            **rules,
        }


def _source(task: Task) -> Source:
    """Tasks with the same records: the same file read in the same way."""
    return task.file, task.type, task.has_categories


def _scores(found: list[list[Any]], item: Item) -> list[Scored]:
    by_choice = {choice: Scored(total, bool(greedy), lead) for choice, total, greedy, lead in found}
    return [by_choice[choice] for choice in range(len(item.requests))]


def _task_row(gauntlet: Version, task: Task, fact: Json, result: TaskResult, interval: Json) -> Json:
    accuracy, stderr = result.accuracy, result.stderr
    scale = 1 / (1 - task.random_baseline) if gauntlet.rescale_accuracy else 1.0
    named = {name: float(np.mean(values)) for name, values in result.correct.items() if name}
    return {
        "task": task.name,
        "category": task.category,
        "subcategory_scores": named,
        "num_fewshot": task.num_fewshot,
        "type": task.type,
        "file": task.file,
        "metric": METRICS[task.type],
        "counted": task.counted,
        "n": result.n,
        "accuracy": accuracy,
        "baseline": task.random_baseline,
        "score": task_score(accuracy, task.random_baseline, gauntlet),
        "stderr": None if stderr is None else stderr * scale,
        **interval,
        **fact,
    }


def tokenizer_name(tokenizer: Any) -> str:
    """Class and content hash: two tokenizers of one name encode alike, wherever they lie."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return f"{type(tokenizer).__name__}:{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
