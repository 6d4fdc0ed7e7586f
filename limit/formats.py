"""How numbers look, everywhere alike: pages, charts, exports and the command line."""

from __future__ import annotations

import math

THIN = "\u2009"


def count(value: float | None) -> str:
    """Whole number with separators: 11,277."""
    return "n/a" if value is None else f"{value:,.0f}"


def accuracy(value: float | None) -> str:
    """A score between 0 and 1 with three decimals: 0.351."""
    return "n/a" if value is None else f"{value:z.3f}"


def percent(value: float | None) -> str:
    """A rate given in per cent, one decimal: 65.1 %."""
    return "n/a" if value is None else f"{value:z.1f}{THIN}%"


def percent_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A rate with its interval: 65.1 % [62.0, 68.2]."""
    return percent(value) if low is None or high is None else f"{percent(value)} [{low:z.1f}, {high:z.1f}]"


def accuracy_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A score with its interval: 0.351 [0.340, 0.362]."""
    return accuracy(value) if low is None or high is None else f"{accuracy(value)} [{low:z.3f}, {high:z.3f}]"


def p_value(value: float | None) -> str:
    """A p-value with three decimals, or < 0.001: what follows the letter p."""
    if value is None or math.isnan(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def duration(seconds: float | None) -> str:
    """1 h 12 min, 3 min 20 s, 12 s or 0.4 s."""
    if seconds is None:
        return "n/a"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(value: float | None) -> str:
    """Bytes in decimal units: 4.1 MB."""
    if value is None:
        return "n/a"
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def tokens(value: float | None) -> str:
    """Tokens in short: 870, 12.4 k, 1.92 M."""
    if value is None:
        return "n/a"
    if value < 1000:
        return f"{value:.0f}"
    return f"{value / 1000:.1f} k" if value < 1e6 else f"{value / 1e6:.2f} M"


def money(value: float | None) -> str:
    """US dollars: USD 1.25."""
    return "n/a" if value is None else f"USD {value:,.2f}"
