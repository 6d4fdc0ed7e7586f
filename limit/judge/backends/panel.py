"""Several judges as one: each is asked, the majority decides, and how far they disagree is kept."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limit.core import LimitError
from limit.judge.backends.protocol import Backend, Choice, Opinion, Question

if TYPE_CHECKING:
    from limit.settings import Workspace
    from limit.specs.judge import JudgeSpec


class PanelBackend:
    """A panel of judges. A verdict needs more than half of the members who gave one, else it is a tie."""

    def __init__(self, members: Sequence[tuple[str, Backend]]) -> None:
        if len(members) < 2:
            raise LimitError("a panel needs at least two judges; write them as openai:MODEL+local:PATH")
        self.members = list(members)
        self.concurrency = min(backend.concurrency for _, backend in members)
        self._kept: dict[tuple[str, str], Opinion] = {}

    @classmethod
    def of(cls, ws: Workspace, spec: JudgeSpec, note: Callable[[str], None]) -> PanelBackend:
        """The panel that `spec.model` lists, members with the panel's other settings. Raises LimitError."""
        from limit.judge.backends import build_backend

        return cls([(member.label(), build_backend(ws, member, note)) for member in panel_members(spec)])

    def judge(self, question: Question) -> Opinion:
        """The majority's verdict; members already heard are not asked again when a later one has to be retried."""
        opinions = []
        for name, backend in self.members:
            kept = self._kept.get((name, question.nonce))
            opinion = kept or backend.judge(question)
            self._kept[name, question.nonce] = opinion
            opinions.append((name, opinion))
        for name, _ in self.members:
            self._kept.pop((name, question.nonce), None)
        return _joint(opinions)


def panel_members(spec: JudgeSpec) -> list[JudgeSpec]:
    """The members' own requests, from `openai:MODEL+local:PATH+rubric`. Raises LimitError."""
    from limit.judge.requests import parse_name

    members = [parse_name(name.strip()) for name in spec.model.split("+")]
    if any(member.backend == "panel" for member in members):
        raise LimitError("a panel cannot hold a panel; list its judges directly")
    shared = {
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
        "seed": spec.seed,
        "key_env": spec.key_env,
    }
    return [
        member.replace(
            base_url=spec.base_url if member.backend == "openai" else None, concurrency=spec.concurrency, **shared
        )
        for member in members
    ]


def _joint(opinions: Sequence[tuple[str, Opinion]]) -> Opinion:
    heard = [opinion for _, opinion in opinions if opinion.status == "ok" and opinion.choice]
    record = json.dumps({name: opinion.choice or opinion.status for name, opinion in opinions}, ensure_ascii=False)
    facts = {
        "extraction": "panel",
        "raw_text": record,
        "prompt_tokens": _total([o.prompt_tokens for _, o in opinions]),
        "completion_tokens": _total([o.completion_tokens for _, o in opinions]),
    }
    if not heard:
        refused = any(opinion.status == "refused" for _, opinion in opinions)
        return Opinion("refused" if refused else "invalid", error_text="no member gave a verdict", **facts)  # type: ignore[arg-type]
    top, votes = Counter(opinion.choice for opinion in heard).most_common(1)[0]
    choice: Choice = top if top and 2 * votes > len(heard) else "tie"
    p_first = statistics.mean(_share(opinion, "first") for opinion in heard)
    p_tie = statistics.mean(_share(opinion, "tie") for opinion in heard)
    return Opinion("ok", choice=choice, p_first=p_first, p_tie=p_tie, **facts)  # type: ignore[arg-type]


def _share(opinion: Opinion, side: Choice) -> float:
    known = opinion.p_first if side == "first" else opinion.p_tie
    return known if known is not None else float(opinion.choice == side)


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
