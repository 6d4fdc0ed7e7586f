"""What to put in a mix."""

from __future__ import annotations

from typing import Literal

from limit.core import LimitError
from limit.specs.base import Spec, option


class MixPart(Spec):
    """One part of a mix: how much of which source."""

    source: str = option("name of a source in the workspace")
    subset: str | None = option("only this subset of the source", default=None)
    take: int | None = option("how many rows to draw; empty takes all", default=None, ge=1)
    min_chars: int | None = option("leave out samples whose response is shorter, in characters", default=None, ge=0)
    max_chars: int | None = option("leave out samples whose response is longer, in characters", default=None, ge=1)
    turns: Literal["any", "single", "multi"] = option("keep single-turn samples, dialogues, or both", default="any")

    @classmethod
    def parse(cls, text: str) -> MixPart:
        """Read `SOURCE[/SUBSET]:N`, where N is a number or `all`. Raises LimitError."""
        name, colon, count = text.rpartition(":")
        if not colon or not name:
            raise LimitError(f"mix part {text!r} is not SOURCE[/SUBSET]:N; for example lima:1000 or t0/duorc:all")
        source, slash, subset = name.partition("/")
        if count == "all":
            take = None
        elif count.replace(",", "").replace("_", "").isdecimal():
            take = int(count.replace(",", "").replace("_", ""))
        else:
            raise LimitError(f"mix part {text!r} asks for {count!r} samples; give a whole number or 'all'")
        return cls(source=source, subset=subset if slash else None, take=take)

    def label(self) -> str:
        """Short text such as `lima 1,000`."""
        name = self.source if self.subset is None else f"{self.source}/{self.subset}"
        return f"{name} {'all' if self.take is None else f'{self.take:,}'}"


class MixSpec(Spec):
    """A recipe of parts and a seed; the same request gives the same rows on any machine."""

    parts: tuple[MixPart, ...] = option("the parts, each SOURCE[/SUBSET]:N")
    seed: int = option(
        "seed of the draw; with one seed smaller draws are inside larger ones", default=17, ge=0, le=2**63 - 1
    )

    def check(self) -> None:
        if not self.parts:
            raise LimitError("a mix needs at least one part; for example --part lima:1000")

    def label(self) -> str:
        """Short text such as `lima 1,000 + t0 5,000`."""
        return " + ".join(part.label() for part in self.parts)
