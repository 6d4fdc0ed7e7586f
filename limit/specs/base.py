"""Frozen, validated models of what a user can ask for.

One dataclass per request: the form on a page, the command line's help and the JSON file all come from its fields,
and each field carries its one-line description and bounds in `option`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, Union, dataclass_transform, get_args, get_origin

from limit.core import Json, LimitError, content_id

_REQUIRED = dataclasses.MISSING


def option(
    help: str,
    *,
    default: Any = _REQUIRED,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    choices: Sequence[Any] | None = None,
    advanced: bool = False,
    later: bool = False,
) -> Any:
    """A dataclass field with its description, bounds and choices; `advanced` ones sit behind an expander.

    A `later` one joined a request that had ids already: at its default it is no part of the id.
    """
    metadata = {
        "help": help, "ge": ge, "gt": gt, "le": le, "choices": choices, "advanced": advanced, "later": later,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class OptionInfo:
    """What a form or a command line needs to know of one field."""

    name: str
    type: Any
    default: Any
    help: str
    ge: float | None
    gt: float | None
    le: float | None
    choices: tuple[Any, ...] | None
    advanced: bool
    later: bool
    required: bool


@functools.cache
def _options(cls: Any) -> tuple[OptionInfo, ...]:
    hints = typing.get_type_hints(cls)
    infos: list[OptionInfo] = []
    for field in dataclasses.fields(cls):
        meta = field.metadata
        required = field.default is _REQUIRED and field.default_factory is _REQUIRED
        default = None if required else field.default
        if field.default_factory is not _REQUIRED:
            default = field.default_factory()
        declared = meta.get("choices") or _literal_values(hints[field.name])
        infos.append(
            OptionInfo(
                name=field.name,
                type=hints[field.name],
                default=default,
                help=meta.get("help", ""),
                ge=meta.get("ge"),
                gt=meta.get("gt"),
                le=meta.get("le"),
                choices=tuple(declared) if declared else None,
                advanced=bool(meta.get("advanced")),
                later=bool(meta.get("later")),
                required=required,
            )
        )
    return tuple(infos)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(option,))
class Spec:
    """Base of all requests: subclasses are frozen dataclasses by declaration and validated on creation."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        for info in self.options():
            _check_value(type(self).__name__, info, getattr(self, info.name))
        self.check()

    def check(self) -> None:
        """Hook for rules between fields; raises LimitError."""

    @classmethod
    def options(cls) -> list[OptionInfo]:
        """The fields in order, with their description, bounds and choices."""
        return list(_options(typing.cast(Any, cls)))

    @classmethod
    def settings_help(cls, *left_out: str) -> str:
        """Each field with its explanation and default, as the help of a `--set KEY=VALUE` option."""
        words = [f"{o.name} ({_help_words(o)})" for o in cls.options() if o.name not in left_out]
        return ", ".join(words).replace("%", "%%")

    @classmethod
    def from_dict(cls, data: Json) -> Self:
        """Build from JSON. Raises LimitError on an unknown, missing, mistyped or out-of-range field."""
        known = {info.name: info for info in cls.options()}
        for key in data:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known fields: {', '.join(known)}"
                raise LimitError(f"{cls.__name__} has no field {key!r}; {hint}")
        for info in known.values():
            if info.required and info.name not in data:
                raise LimitError(f"{cls.__name__} needs a value for {info.name!r} ({info.help})")
        return cls(**{key: _from_json(known[key].type, value) for key, value in data.items()})

    def to_dict(self) -> Json:
        """Plain JSON types; `from_dict(to_dict())` is the same request."""
        return {info.name: _to_json(getattr(self, info.name)) for info in self.options()}

    def replace(self, **changes: Any) -> Self:
        """A validated copy with some fields changed. Raises LimitError like `from_dict`."""
        return type(self).from_dict({**self.to_dict(), **changes})

    def with_settings(self, settings: Sequence[str]) -> Self:
        """Apply `KEY=VALUE` strings, as given to `--set`. Raises LimitError naming the setting."""
        known = {info.name: info for info in self.options()}
        changes: Json = {}
        for setting in settings:
            key, sign, text = setting.partition("=")
            if not sign:
                raise LimitError(f"setting {setting!r} is not KEY=VALUE")
            if key not in known:
                self.from_dict({**self.to_dict(), key: text})
            changes[key] = parse_text(known[key], text)
        return self.replace(**changes) if changes else self

    def differences(self, other: Spec) -> dict[str, tuple[Any, Any]]:
        """Fields whose values differ: {name: (mine, theirs)}."""
        mine, theirs = self.to_dict(), other.to_dict()
        return {k: (mine.get(k), theirs.get(k)) for k in mine if mine.get(k) != theirs.get(k)}

    def id(self, length: int = 12) -> str:
        """Content hash of the request."""
        return content_id(self._identity(), length)

    def _identity(self) -> Json:
        """The request as JSON, without later fields that stand at their default."""
        kept = [info for info in self.options() if not info.later or getattr(self, info.name) != info.default]
        values = {info.name: getattr(self, info.name) for info in kept}
        return {key: item._identity() if isinstance(item, Spec) else _to_json(item) for key, item in values.items()}


def _help_words(option: OptionInfo) -> str:
    words = option.help + (f": {', '.join(map(str, option.choices))}" if option.choices else "")
    default = "none" if option.default is None else str(option.default)
    return f"{words}; default: {default.lower() if isinstance(option.default, bool) else default}"


def parse_text(info: OptionInfo, text: str) -> Any:
    """Read one field's value from text, as a command line or a URL gives it. Raises LimitError."""
    kind, optional = _unwrap(info.type)
    if optional and text.lower() in ("", "none", "null"):
        return None
    try:
        if kind is bool:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if kind is int:
            return int(text.replace(",", "").replace("_", ""))
        if kind is float:
            return float(text)
    except (KeyError, ValueError):
        raise LimitError(f"{info.name}={text!r} is not {_type_name(kind)}") from None
    if get_origin(kind) is tuple:
        item = OptionInfo(**{**info.__dict__, "type": get_args(kind)[0]})
        return [parse_text(item, part.strip()) for part in text.split(",") if part.strip()]
    return text


@functools.cache
def _unwrap(kind: Any) -> tuple[Any, bool]:
    if get_origin(kind) in (Union, types.UnionType):
        rest = [arg for arg in get_args(kind) if arg is not type(None)]
        optional = len(rest) < len(get_args(kind))
        return (rest[0] if len(rest) == 1 else functools.reduce(operator.or_, rest)), optional
    return kind, False


def _literal_values(kind: Any) -> tuple[Any, ...] | None:
    kind, _ = _unwrap(kind)
    return get_args(kind) if get_origin(kind) is Literal else None


def _type_name(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(kind, str(kind))


def _from_json(kind: Any, value: Any) -> Any:
    kind, _ = _unwrap(kind)
    if isinstance(kind, type) and issubclass(kind, Spec) and isinstance(value, dict):
        return kind.from_dict(value)
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_from_json(get_args(kind)[0], item) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _to_json(value: Any) -> Any:
    if isinstance(value, Spec):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    return value


def _fits(kind: Any, value: Any) -> bool:
    kind, optional = _unwrap(kind)
    if value is None:
        return optional
    origin = get_origin(kind)
    if origin is Literal:
        return value in get_args(kind)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(get_args(kind)[0], item) for item in value)
    if origin in (Union, types.UnionType):
        return any(_fits(arg, value) for arg in get_args(kind))
    if origin is not None:
        return isinstance(value, origin)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind is Any or isinstance(value, kind)


def _check_value(owner: str, info: OptionInfo, value: Any) -> None:
    where = f"{owner}.{info.name}"
    if info.choices and value is not None and not isinstance(value, tuple) and value not in info.choices:
        raise LimitError(f"{where} is {value!r}; choose one of {', '.join(map(str, info.choices))}")
    if not _fits(info.type, value):
        raise LimitError(f"{where} is {value!r}, expected {_type_name(_unwrap(info.type)[0])}")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if not math.isfinite(value):
        raise LimitError(f"{where} is {value}; give a finite number")
    for bound, ok, words in (
        (info.ge, info.ge is None or value >= info.ge, "at least"),
        (info.gt, info.gt is None or value > info.gt, "more than"),
        (info.le, info.le is None or value <= info.le, "at most"),
    ):
        if not ok:
            raise LimitError(f"{where} is {value}; it must be {words} {bound}")
