"""What to put in a mix."""

from __future__ import annotations

import re
from typing import Literal

from limit.core import LimitError
from limit.specs.base import Spec, option

_SAMPLE_ID = re.compile(r"(?:[^/]+/)?[0-9a-f]{16}")


class MixPart(Spec):
    """One part of a mix: how much of which source, as rows (`take`), as a `share` of the mix, or as `tokens`."""

    source: str = option("name of a source in the workspace")
    subset: str | None = option("only this subset of the source", default=None)
    take: int | None = option("how many rows to draw; empty takes all", default=None, ge=1)
    share: float | None = option("share of the mix's total rows, above 0 and at most 1", default=None, gt=0, le=1)
    tokens: int | None = option("draw rows until they come to about this many tokens", default=None, ge=1)
    min_chars: int | None = option("leave out samples whose response is shorter, in characters", default=None, ge=0)
    max_chars: int | None = option("leave out samples whose response is longer, in characters", default=None, ge=1)
    turns: Literal["any", "single", "multi"] = option("keep single-turn samples, dialogues, or both", default="any")
    contains: str | None = option("keep samples whose prompt or response contain this text, in any case", default=None)

    def check(self) -> None:
        if sum(value is not None for value in (self.take, self.share, self.tokens)) > 1:
            raise LimitError(f"mix part {self.source!r} gives more than one of take, share and tokens; keep one")
        if self.min_chars is not None and self.max_chars is not None and self.min_chars > self.max_chars:
            raise LimitError(
                f"mix part {self.source!r} keeps responses from {self.min_chars} to {self.max_chars} characters; "
                "raise max_chars or lower min_chars"
            )
        if self.contains == "":
            raise LimitError(f"mix part {self.source!r} has an empty text for 'contains'; leave it out")

    @classmethod
    def parse(cls, text: str) -> MixPart:
        """Read `SOURCE[/SUBSET]:N`; N is a number of rows, `all`, a share such as `25%`, or tokens such as `200000t`.

        Raises LimitError.
        """
        name, colon, count = text.rpartition(":")
        if not colon or not name:
            raise LimitError(f"mix part {text!r} is not SOURCE[/SUBSET]:N; for example lima:1000 or t0/duorc:all")
        source, slash, subset = name.partition("/")
        size = _parse_size(text, count.strip().lower())
        return cls.from_dict({"source": source, "subset": subset if slash else None, **size})

    def label(self) -> str:
        """Short text such as `lima 1,000`."""
        name = self.source if self.subset is None else f"{self.source}/{self.subset}"
        if self.share is not None:
            return f"{name} {self.share:.4g} of the rows"
        if self.tokens is not None:
            return f"{name} {self.tokens:,} tokens"
        return f"{name} {'all' if self.take is None else f'{self.take:,}'}"


def _parse_size(text: str, count: str) -> dict[str, int | float]:
    digits = count.replace(",", "").replace("_", "")
    if count == "all":
        return {}
    if digits.isascii() and digits.isdecimal():
        return {"take": int(digits)}
    if digits.endswith("t") and digits[:-1].isascii() and digits[:-1].isdecimal():
        return {"tokens": int(digits[:-1])}
    if count.endswith("%"):
        try:
            return {"share": float(count[:-1]) / 100}
        except ValueError:
            pass
    raise LimitError(f"mix part {text!r} asks for {count!r} samples; give a whole number, 'all', '25%' or '200000t'")


class MixSpec(Spec):
    """A recipe of parts and a seed; the same request gives the same rows on any machine."""

    parts: tuple[MixPart, ...] = option("the parts, each SOURCE[/SUBSET]:N")
    seed: int = option(
        "seed of the draw; with one seed smaller draws are inside larger ones", default=17, ge=0, le=2**63 - 1
    )
    total: int | None = option("rows of the whole mix; needed when a part is given as a share", default=None, ge=1)
    exclude: tuple[str, ...] = option(
        "sample ids that are never drawn; SOURCE/ID leaves out that source's copy alone", default=(), advanced=True
    )

    def check(self) -> None:
        if not self.parts:
            raise LimitError("a mix needs at least one part; for example --part lima:1000")
        if self.total is None and any(part.share is not None for part in self.parts):
            raise LimitError("a mix with parts given as shares needs a total number of rows; for example --total 6000")
        if sum(part.share or 0 for part in self.parts) > 1 + 1e-9:
            raise LimitError(
                f"the shares of the parts come to {sum(p.share or 0 for p in self.parts):.4g}, more than 1"
            )
        for sample_id in self.exclude:
            if not _SAMPLE_ID.fullmatch(sample_id):
                raise LimitError(
                    f"excluded sample {sample_id[:40]!r} is no sample id; expected 16 hex digits, or SOURCE/ID"
                )
        object.__setattr__(self, "exclude", tuple(sorted(set(self.exclude))))

    def label(self) -> str:
        """Short text such as `lima 1,000 + t0 5,000`."""
        return " + ".join(part.label() for part in self.parts)
