"""Mixes: draw them from sources, see what is in them, check them, compare them."""

from limit.mixes.build import build_mix, label_mix
from limit.mixes.listing import diff, list_mixes, load_mix, mix_samples

__all__ = ["build_mix", "diff", "label_mix", "list_mixes", "load_mix", "mix_samples"]
