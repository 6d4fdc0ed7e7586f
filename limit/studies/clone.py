"""A study like another one but for what is changed: kept as `studies/<name>/plan.json` until it is started.

What both have in common is the same mixes, runs and jobs, so a clone computes only what is new in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limit.access import require
from limit.core import Json, LimitError, read_json, utc_now, write_json
from limit.settings import Workspace, safe_name
from limit.specs.mix import MixPart
from limit.studies.spec import PLAN, StudyMix, StudySpec, is_reserved, load_study


def clone_study(
    ws: Workspace, name: str, new: str, changes: Mapping[str, Any] | None = None, spec: StudySpec | None = None
) -> Json:
    """Plan study `new`: `spec`, or study `name` with `changes` to its fields. Nothing is started.

    Returns {study, title, cloned_from, created, spec, changes}; the same plan again is the plan that is there. Raises
    LimitError when the name is taken or a field is wrong.
    """
    require("analyst", "plan studies")
    origin, before = load_study(ws, name)
    after = (spec or before).replace(**(changes or {}))
    study = safe_name(new, "study")
    if (ws.studies / study / "study.json").is_file() or is_reserved(study):
        raise LimitError(f"there is a study {study!r} already; give the clone another name")
    path = ws.studies / study / PLAN
    if path.is_file():
        planned = read_json(path)
        if planned.get("spec") == after.to_dict():
            return planned
        raise LimitError(
            f"there is a plan {study!r} already; give the clone another name, or forget it on the Launch page"
        )
    plan = {
        "study": study,
        "title": after.title,
        "cloned_from": origin,
        "created": utc_now(),
        "spec": after.to_dict(),
        "changes": change_words(before, after),
    }
    write_json(path, plan)
    return plan


def changed_mixes(
    spec: StudySpec, mixes: Sequence[str] = (), drop: Sequence[str] = (), sizes: Sequence[str] = ()
) -> tuple[StudyMix, ...]:
    """The mixes of a study after changes in a command line's words.

    `mixes` are `LABEL=SOURCE:N + SOURCE:N` (added, or in the place of the one with that label), `drop` are labels,
    `sizes` are SOURCE[/SUBSET]:N, given to every part of that source. Raises LimitError.
    """
    labels = [mix.label for mix in spec.mixes]
    for label in drop:
        if label not in labels:
            raise LimitError(f"the study has no mix {label!r}; its mixes are {', '.join(labels)}")
    kept = {mix.label: mix for mix in spec.mixes if mix.label not in drop}
    for size in sizes:
        kept = {mix.label: mix for mix in _resized(list(kept.values()), size)}
    for words in mixes:
        mix = parse_mix(words)
        kept[mix.label] = mix.replace(seeds=kept[mix.label].seeds) if mix.label in kept else mix
    return tuple(kept.values())


def parse_mix(words: str) -> StudyMix:
    """Read `LABEL=SOURCE:N + SOURCE:N`. Raises LimitError."""
    label, sign, parts = words.partition("=")
    listed = tuple(part.strip() for part in parts.split("+") if part.strip())
    if not sign or not label.strip() or not listed:
        raise LimitError(f"mix {words!r} is not LABEL=SOURCE:N + SOURCE:N; for example 'LIMA 500=tiny-lima:500'")
    return StudyMix(label=label.strip(), parts=listed)


def mix_words(mix: StudyMix) -> str:
    """A mix as `parse_mix` reads it; its own seeds are not in it."""
    return f"{mix.label} = {' + '.join(mix.parts)}"


def _resized(mixes: Sequence[StudyMix], size: str) -> list[StudyMix]:
    wanted = MixPart.parse(size)
    out, found = [], False
    for mix in mixes:
        parts = []
        for text in mix.parts:
            part = MixPart.parse(text)
            same = (part.source, part.subset) == (wanted.source, wanted.subset)
            found = found or same
            parts.append(size if same else text)
        out.append(mix.replace(parts=parts))
    if not found:
        raise LimitError(f"no mix of the study draws on {size.rsplit(':', 1)[0]!r}; nothing to resize")
    return out


def change_words(before: StudySpec, after: StudySpec) -> list[str]:
    """What differs between two studies, one line a field; mixes by their labels."""
    words = []
    for field, (now, then) in after.differences(before).items():
        if field == "mixes":
            words += _mix_changes(before, after)
        else:
            words.append(f"{field.replace('_', ' ')}: {_text(then)} -> {_text(now)}")
    return words


def _mix_changes(before: StudySpec, after: StudySpec) -> list[str]:
    old, new = ({mix.label: mix for mix in spec.mixes} for spec in (before, after))
    words = [f"without mix {label}" for label in old if label not in new]
    words += [f"new mix {mix_words(mix)}" for label, mix in new.items() if label not in old]
    for label, mix in new.items():
        if label in old and mix.parts != old[label].parts:
            words.append(f"mix {label}: {' + '.join(old[label].parts)} -> {' + '.join(mix.parts)}")
        elif label in old and mix.seeds != old[label].seeds:
            words.append(f"seeds of mix {label}: {_text(old[label].seeds)} -> {_text(mix.seeds)}")
    return words or ["order of the mixes"]


def _text(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def planned_studies(ws: Workspace) -> list[Json]:
    """Plans that were not started, newest first: {study, title, cloned_from, created, changes}."""
    found = []
    for path in ws.studies.glob(f"*/{PLAN}"):
        if (path.parent / "study.json").is_file():
            continue
        try:
            plan = read_json(path)
            found.append({key: plan[key] for key in ("study", "title", "cloned_from", "created", "changes")})
        except (LimitError, KeyError):
            continue
    return sorted(found, key=lambda plan: str(plan["created"]), reverse=True)


def remove_plan(ws: Workspace, name: str) -> None:
    """Forget a plan that was not started. Raises LimitError when there is none."""
    require("analyst", "remove plans")
    folder = ws.studies / safe_name(name, "study")
    if (folder / "study.json").is_file() or not (folder / PLAN).is_file():
        raise LimitError(f"there is no plan {name!r} that was not started")
    (folder / PLAN).unlink()
