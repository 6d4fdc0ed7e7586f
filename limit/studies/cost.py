"""What a study will take, told before it is started: runs, time, memory, disk, and what its judge may charge.

Nothing is written but the shipped sources and prompts that the study draws on. What cannot be told is None, and
`unknown` says why.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import itertools
import os
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from limit.core import Json, LimitError, read_each, read_json
from limit.finetune.calibration import Finished, finished_runs
from limit.finetune.estimate import Estimate, estimate_finetune
from limit.formats import count, duration, money
from limit.jobs.slots import machine_slots
from limit.judge.estimate import CHARS_PER_TOKEN, estimate_tokens
from limit.judge.prices import price_of
from limit.judge.requests import parse_judge
from limit.mixes.build import plan_mix
from limit.models import canonical_name
from limit.responses.prompt_sets import PAPER_STEMS, distinct, load_prompts, read_prompts
from limit.settings import Workspace
from limit.specs.mix import MixPart, MixSpec
from limit.specs.run import RunSpec
from limit.studies.launch import grid, prepare
from limit.studies.spec import SHIPPED_RESULTS, StudyMix, StudySpec

MOST_PAST, MOST_READ = 50, 200  # results whose time is taken, and those looked at for it


@dataclass(frozen=True)
class StudyCost:
    """Counts of work, seconds in all (one job after another), GB of memory of the largest run and of disk, US dollars.

    `seconds` is of what has to be computed and can be told; `done` finetunes are there already. `judge_usd` is the
    most that the judges may charge, None where no price or no prompt is known. `estimate` is the largest finetune's.
    """

    runs: int
    finetunes: int
    done: int
    evaluations: int
    answer_sets: int
    comparisons: int
    slots: int
    seconds: float | None
    disk_gb: float | None
    judge_usd: float | None
    judge_questions: int | None
    estimate: Estimate | None
    unknown: tuple[str, ...]

    def to_json(self) -> Json:
        """Plain JSON types."""
        return asdict(self)


def study_cost(ws: Workspace, spec: StudySpec) -> StudyCost:
    """The card of a study; what is missing here is named in `unknown` and never raises."""
    unknown: list[str] = []
    try:
        prepare(ws, spec)
    except LimitError as error:
        unknown.append(str(error))
    finetunes = [(model, seed, mix) for model in spec.models for seed, mix in grid(spec)]
    runs = len(finetunes) + len(spec.models) * spec.include_base
    finished = finished_runs(ws)
    sized = _estimates(ws, spec, finetunes, finished, unknown)
    pairs = comparisons_of(spec)
    usd, questions = _judging(ws, spec, pairs, unknown)
    waiting = [estimate for estimate, done, _ in sized if not done]
    after = _after_seconds(ws, spec, [run_id for *_, run_id in sized], unknown)
    known = len(sized) == len(finetunes)
    return StudyCost(
        runs=runs,
        finetunes=len(finetunes),
        done=sum(done for _, done, _ in sized),
        evaluations=runs if spec.gauntlet is not None else 0,
        answer_sets=runs * len(spec.prompts),
        comparisons=pairs * len(spec.prompts) * len(spec.judges()),
        slots=max(1, len(machine_slots())),
        seconds=round(sum(e.seconds for e in waiting) + after, 1) if known else None,
        disk_gb=round(sum(e.disk_gb for e in waiting), 3) if known else None,
        judge_usd=usd,
        judge_questions=questions,
        estimate=_largest(ws, spec, finished, unknown) if finetunes else None,
        unknown=tuple(dict.fromkeys(unknown)),
    )


def seed_plan(spec: StudySpec, seed: int) -> StudySpec | None:
    """What one more seed makes of a study, as a study of its own; None where every mix has seeds of its own."""
    mixes = tuple(mix for mix in spec.mixes if not mix.seeds)
    judged = spec.baseline in [mix.label for mix in mixes]
    unjudged: Json = {} if judged else {"judge": None, "other_judges": (), "baseline": None}
    return spec.replace(seeds=(seed,), mixes=mixes, **unjudged) if mixes else None


def comparisons_of(spec: StudySpec) -> int:
    """Pairs of runs that are judged, for one prompt set and one judge: each with the baseline of its seed."""
    if not spec.judges():
        return 0
    runs = grid(spec)
    pairs = 0
    for seed in [seed for seed, mix in runs if mix.label == spec.baseline]:
        pairs += sum(other == seed and mix.label != spec.baseline for other, mix in runs) + spec.include_base
    return pairs * len(spec.models)


def _estimates(
    ws: Workspace,
    spec: StudySpec,
    finetunes: Sequence[tuple[str, int, StudyMix]],
    finished: Finished,
    unknown: list[str],
) -> list[tuple[Estimate, bool, str]]:
    """For each finetune that can be told, its estimate, whether it is done, and its run; seeds of a mix cost alike."""
    recipe = spec.full_recipe()
    by_mix: dict[tuple[str, str], Estimate] = {}
    out = []
    for model, seed, mix in finetunes:
        try:
            parts = tuple(MixPart.parse(part) for part in mix.parts)
            mix_id, rows, chars = plan_mix(ws, MixSpec(parts=parts, seed=seed))
            run = RunSpec(model=model, mix_id=mix_id, recipe_name=spec.recipe, recipe=recipe, seed=seed)
            key = (model, mix.label)
            if key not in by_mix:
                by_mix[key] = estimate_finetune(ws, run, mix_size=(rows, chars), finished=finished)
            run_id = run.replace(model=canonical_name(ws, model)).id()
            out.append((by_mix[key], (ws.run(run_id) / "model").is_dir(), run_id))
        except LimitError as error:
            unknown.append(str(error))
    return out


def _largest(ws: Workspace, spec: StudySpec, finished: Finished, unknown: list[str]) -> Estimate | None:
    """The finetune that needs most memory: a matter of model and recipe, so it is told without any source."""
    known = []
    for model in spec.models:
        run = RunSpec(model=model, mix_id="0" * 12, recipe_name=spec.recipe, recipe=spec.full_recipe())
        try:
            known.append(estimate_finetune(ws, run, mix_size=(1000, 1_000_000), finished=finished))
        except LimitError as error:
            unknown.append(str(error))
    return max(known, key=lambda estimate: estimate.memory_gb, default=None)


def _after_seconds(ws: Workspace, spec: StudySpec, finetuned: Sequence[str], unknown: list[str]) -> float:
    """Seconds of the evaluations and answers that are not there, by those of the same model made here or shipped.

    Both must be of the study's own protocol: so many records of each task, answers of so many tokens.
    """
    total = 0.0
    many = len(grid(spec)) + spec.include_base
    bases = {RunSpec(model=canonical_name(ws, model)).id() for model in spec.models if spec.include_base}
    runs = [ws.run(run_id) for run_id in (*finetuned, *bases)]
    for model in spec.models:
        for what, pattern, wanted in _measures(spec):
            there = sum(_is_there(folder, pattern, model, wanted) for folder in runs)
            past = _past(ws, pattern, model, wanted)
            total += max(0, many - there) * _median(past, what.replace("{}", model), unknown)
    return total


def _measures(spec: StudySpec) -> list[tuple[str, str, Json]]:
    """What is done with each finished model: in words, its files below a run's folder, and what they must say."""
    found: list[tuple[str, str, Json]] = []
    if spec.gauntlet is not None:
        limit = spec.gauntlet_limit
        what = f"evaluations of {{}} on {spec.gauntlet}" + (f", {limit:,} records a task" if limit else "")
        found.append((what, "gauntlet/*/eval.json", {"version": spec.gauntlet, "limit": limit}))
    wanted = {"max_new_tokens": spec.max_new_tokens, "limit": None}
    for name in map(_set_name, spec.prompts):
        what = f"answers of {{}} to {name} of at most {spec.max_new_tokens:,} tokens"
        found.append((what, f"responses/{glob.escape(name)}/*.json", wanted))
    return found


def _is_there(folder: Path, pattern: str, model: str, wanted: Json) -> bool:
    try:
        if read_json(folder / "run.json").get("model") != model:
            return False
        return any(wanted.items() <= _told(str(path)).items() for path in folder.glob(pattern))
    except LimitError:
        return False


def _set_name(prompts: str) -> str:
    """The name that a set of prompts, or a file of them, has in the workspace."""
    path = Path(prompts).expanduser()
    if not path.is_file():
        return prompts
    return PAPER_STEMS.get(path.stem, re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "prompts")


def _prompt_chars(ws: Workspace, prompts: str) -> list[int]:
    """Characters of each distinct prompt of a set or of a file that is no set yet. Raises LimitError."""
    path = Path(prompts).expanduser()
    known = distinct(read_prompts(path)) if path.is_file() else load_prompts(ws, prompts)
    return [len(prompt.text) for prompt in known]


def _past(ws: Workspace, pattern: str, model: str, wanted: Json) -> list[float]:
    """Seconds of the `MOST_PAST` newest whole results of one model, of this workspace first, else of what ships."""
    for root in (ws.runs, Workspace(SHIPPED_RESULTS).runs):
        mine = [(str(r.get("created")), i) for i, r in read_each(root, "run.json").items() if r.get("model") == model]
        files = (path for _, run in sorted(mine, reverse=True) for path in _matching(f"{root}/{run}", pattern))
        told = (_seconds(path, wanted) for path in itertools.islice(files, MOST_READ))
        found = list(itertools.islice((seconds for seconds in told if seconds is not None), MOST_PAST))
        if found:
            return found
    return []


def _matching(folder: str, pattern: str) -> Iterator[str]:
    return glob.iglob(f"{glob.escape(folder)}/{pattern}")  # noqa: PTH207 - a third of Path.glob's time


def _seconds(path: str, wanted: Json) -> float | None:
    """Seconds that a result took; None where it is not of this protocol or does not say."""
    with contextlib.suppress(LimitError):
        value = _told(path)
        if isinstance(value.get("seconds"), (int, float)) and wanted.items() <= value.items():
            return float(value["seconds"])
    return None


def _told(path: str) -> Json:
    """What is asked of a result; the whole of an evaluation is long, and there may be thousands."""
    try:
        facts = os.stat(path)  # noqa: PTH116 - there may be thousands
    except OSError as error:
        raise LimitError(f"{path} cannot be read: {error}") from error
    return _read_told(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=20_000)
def _read_told(path: str, changed_ns: int, size: int) -> Json:
    del changed_ns, size  # part of the cache key only
    value = read_json(Path(path))
    protocols = [value.get(name) for name in ("protocol", "config")]  # of an evaluation, of answers
    made = {name: told for each in protocols if isinstance(each, dict) for name, told in each.items()}
    told = {name: made[name] for name in ("limit", "max_new_tokens") if name in made}
    return told | {name: value[name] for name in ("seconds", "version") if name in value}


def _median(seconds: Sequence[float], what: str, unknown: list[str]) -> float:
    if not seconds:
        unknown.append(f"the time of {what}: none like it has finished here yet")
    return statistics.median(seconds) if seconds else 0.0


def _judging(ws: Workspace, spec: StudySpec, pairs: int, unknown: list[str]) -> tuple[float | None, int | None]:
    """US dollars at most and the number of questions; None for what cannot be told."""
    usd: float | None = 0.0
    questions = 0
    for prompts in spec.prompts if pairs else ():
        try:
            chars = _prompt_chars(ws, prompts)
        except LimitError as error:
            unknown.append(f"what judging costs: {error}")
            return None, None
        for name in spec.judges():
            judge = parse_judge(name)
            calls = (2 if judge.order == "both" else 1) * judge.repeats * judge.members()
            questions += pairs * len(chars) * calls
            price = price_of(ws, judge)
            if price is None:
                unknown.append(f"the price of judge {judge.label()} is not known; set it, or cap it with a budget")
                usd = None
            elif not price.is_free and usd is not None:
                answers = 2 * spec.max_new_tokens * CHARS_PER_TOKEN
                sizes = [(round(n + min(answers, 2 * judge.max_answer_chars)), pairs * calls) for n in chars]
                usd += price.cost(*estimate_tokens(judge, sizes))
    return None if usd is None else round(usd, 2), questions


def cost_lines(cost: StudyCost) -> list[str]:
    """The card in words, one fact a line, for a terminal and a page."""
    words = f"{cost.runs} runs: {cost.finetunes} finetunes"
    words += f" ({cost.done} done already)" if cost.done else ""
    for number, name in ((cost.evaluations, "evaluations"), (cost.answer_sets, "sets of answers")):
        words += f", {number} {name}" if number else ""
    words += f", {cost.comparisons} comparisons" if cost.comparisons else ""
    lines = [words]
    at_once = "one job at a time" if cost.slots == 1 else f"{cost.slots} jobs at a time"
    wall = None if cost.seconds is None else cost.seconds / cost.slots
    lines.append("time: not known" if wall is None else f"time: about {duration(wall)}, {at_once}")
    if cost.estimate is None:
        lines.append("memory: not known")
    else:
        lines.append(f"memory: {cost.estimate.fits}, {cost.estimate.why}; time {cost.estimate.basis}")
    lines.append("disk: not known" if cost.disk_gb is None else f"disk: at most {cost.disk_gb:,.2f} GB")
    asked = "" if not cost.judge_questions else f" for {count(cost.judge_questions)} questions"
    if cost.comparisons:
        lines.append(f"judge: {judge_words(cost)}{asked}")
    return [*lines, *(f"not in these figures: {reason}" for reason in cost.unknown)]


def judge_words(cost: StudyCost) -> str:
    """What the judges may charge, in words."""
    if cost.judge_usd is None:
        return "cost not known"
    return f"at most about {money(cost.judge_usd)}" if cost.judge_usd else "free"
