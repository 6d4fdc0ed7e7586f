"""Where verdicts come from: the protocol, and the backend that a request names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from limit.judge.backends.protocol import Backend, Choice, Opinion, Question, Transient

if TYPE_CHECKING:
    from limit.settings import Workspace
    from limit.specs.judge import JudgeSpec

__all__ = ["Backend", "Choice", "Opinion", "Question", "Transient", "build_backend"]


def _silent(text: str) -> None:
    del text


def build_backend(ws: Workspace, spec: JudgeSpec, note: Callable[[str], None] = _silent) -> Backend:
    """The backend that a request names; `note` hears of fallbacks. Raises LimitError when it cannot be had."""
    if spec.backend == "rubric":
        from limit.judge.rubric import RubricBackend

        return RubricBackend(spec.model)
    if spec.backend == "panel":
        from limit.judge.backends.panel import PanelBackend

        return PanelBackend.of(ws, spec, note)
    if spec.backend == "local":
        from limit.judge.backends.local import LocalBackend

        return LocalBackend(ws, spec)
    from limit.judge.backends.openai_api import OpenAIBackend

    return OpenAIBackend(spec, note)
