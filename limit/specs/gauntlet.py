"""How to score a model on the Eval Gauntlet."""

from __future__ import annotations

from typing import Any, Literal

from limit.specs.base import Spec, option

Version = Literal["v0", "v0.1", "v0.2", "v0.3", "mini"]


class GauntletSpec(Spec):
    """One evaluation of one model."""

    version: Version = option("task list and settings; v0 is closest to the paper", default="v0")
    tasks: tuple[str, ...] = option("only these tasks; empty takes all of the version", default=())
    shots: Literal["paper", "fixed"] = option("new examples for every record, or a few draws a task", default="paper")
    draws: int = option("with fixed shots: how many seeded draws a task, dealt out to its records", default=1, ge=1)
    limit: int | None = option("score the first N records of each task or sub-category", default=None, ge=1)
    max_seq_len: int = option("tokens of prompt and answer; longer prompts lose their beginning", default=1024, ge=16)
    dtype: Literal["auto", "fp32", "bf16"] = option("number format of the forward pass", default="auto")
    data: str | None = option("folder of task files; empty: those that ship or were fetched", default=None)
    batch_tokens: int = option("tokens in one forward pass; 0 chooses by device", default=0, ge=0, advanced=True)


def questions_of(protocol: Any, task: Any) -> str | None:
    """What two evaluations must share for a task's items to be the same questions: hashes of its file and settings.

    From eval.json: its `protocol`, and the task's row. None where an older or imported evaluation does not say.
    """
    data, settings = ((protocol or {}).get(name) or {} for name in ("data", "settings"))
    sha256 = data.get(str(task.get("file")))
    own = settings.get(f"{task.get('task')}/{task.get('num_fewshot')}-shot")
    return f"{sha256} {own or ''}".strip() if sha256 else None
