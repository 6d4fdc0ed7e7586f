"""What a user can ask for, as frozen, validated models."""

from limit.specs.base import OptionInfo, Spec, option, parse_text
from limit.specs.gauntlet import GauntletSpec
from limit.specs.judge import JudgeSpec, RespondSpec
from limit.specs.mix import MixPart, MixSpec
from limit.specs.run import Recipe, RunSpec

__all__ = [
    "GauntletSpec",
    "JudgeSpec",
    "MixPart",
    "MixSpec",
    "OptionInfo",
    "Recipe",
    "RespondSpec",
    "RunSpec",
    "Spec",
    "option",
    "parse_text",
]
