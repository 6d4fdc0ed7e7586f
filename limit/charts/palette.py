"""Colours that stay with the data: the paper's five series, and further ones that a mix gets and keeps.

The paper's colours are fixed on both grounds; on the dark ground every mark gets a light edge, since midnight blue
alone would vanish there. Own mixes draw from a list that colour-blind readers can tell apart (after Okabe and Ito,
2008, and Tol, 2021), less what is close to the paper's five.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

Mode = Literal["light", "dark"]

PAPER: dict[str, str] = {
    "base": "#6CC5D9",
    "lima": "#2B2D6E",
    "subset": "#C9B458",
    "subset+lima": "#8FB1CC",
    "full": "#E4572E",
}
PAPER_LABELS: dict[str, str] = {
    "base": "base",
    "lima": "LIMA",
    "subset": "Instruct subset",
    "subset+lima": "Instruct subset + LIMA",
    "full": "full Instruct",
}
OWN: tuple[str, ...] = (
    "#009E73",
    "#AA4499",
    "#882255",
    "#117733",
    "#CC79A7",
    "#997700",
    "#44AA99",
    "#7F3C8D",
    "#5D4E37",
    "#3B7DD8",
)
SYMBOLS: tuple[str, ...] = ("circle", "square", "diamond", "cross", "triangle-up", "star", "hexagon", "pentagon")


@dataclass(frozen=True)
class Palette:
    """Ground, ink and the colours of series; made with `Palette.light()` or `Palette.dark()`.

    `edge` outlines marks, `halo` stands behind thin lines that cross them.
    """

    mode: Mode
    ink: str
    muted: str
    grid: str
    tie: str
    edge: str
    halo: str
    own: dict[str, str] = field(default_factory=dict)

    @classmethod
    def light(cls) -> Palette:
        """Dark ink for a white ground."""
        return cls(
            "light", ink="#1A1C2B", muted="#5B6070", grid="#E3E5EA", tie="#B9BDC7", edge="#FFFFFF", halo="#FFFFFF"
        )

    @classmethod
    def dark(cls) -> Palette:
        """Light ink for a near-black ground; marks get a light edge."""
        return cls(
            "dark", ink="#ECEDF2", muted="#A6ABBA", grid="#33374A", tie="#6B7080", edge="#D5DAF0", halo="#0F1218"
        )

    @classmethod
    def of(cls, mode: Mode) -> Palette:
        """The palette of a mode."""
        return cls.dark() if mode == "dark" else cls.light()

    def with_mixes(self, series: Iterable[str]) -> Palette:
        """Give each series that is not the paper's a colour, in the order given; oldest first keeps old ones fixed.

        A series starts from the colour its id hashes to and takes the next free one, so a later mix never changes an
        earlier one's colour. Beyond the list, colours repeat and marker symbols tell series apart.
        """
        own = dict(self.own)
        for key in series:
            if key in PAPER or key in own:
                continue
            start = _slot(key, len(OWN))
            order = [OWN[(start + step) % len(OWN)] for step in range(len(OWN))]
            used = set(own.values())
            own[key] = next((colour for colour in order if colour not in used), order[0])
        return replace(self, own=own)

    def colour(self, series: str | None) -> str:
        """The colour of a series; one that was never assigned takes the colour that its id hashes to."""
        if series is None:
            return self.muted
        return PAPER.get(series) or self.own.get(series) or OWN[_slot(series, len(OWN))]

    def symbol(self, series: str | None) -> str:
        """A marker symbol, so that series can be told apart without colour."""
        if series in PAPER:
            return SYMBOLS[list(PAPER).index(str(series))]
        return SYMBOLS[_slot(series or "", len(SYMBOLS))]

    def text_on(self, colour: str) -> str:
        """Black or white, whichever reads better on `colour` (WCAG relative luminance)."""
        return "#111111" if _luminance(colour) > 0.22 else "#FFFFFF"

    def tint(self, colour: str, opacity: float) -> str:
        """`colour` as rgba text, for bands."""
        red, green, blue = _channels(colour)
        return f"rgba({red},{green},{blue},{opacity})"


def _slot(key: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "replace")).digest()[:4], "big") % count


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _luminance(colour: str) -> float:
    def linear(channel: int) -> float:
        value = channel / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(channel) for channel in _channels(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
