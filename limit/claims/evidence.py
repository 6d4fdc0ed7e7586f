"""What supports a claim: a test over model rows with a three-valued outcome, and the numbers that it rests on.

A test is data: {kind, a, b, measure, relation, baseline}. `a` and `b` are keys of `queries_models` rows (`b` absent:
the even rate of 50 % against `baseline`), `relation` is `above`, `below` or `level` (cannot be told apart).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from limit.claims.difference import READING_ERROR, leaves_out_zero, verdicts_with
from limit.claims.sizes import value_of
from limit.core import Json, LimitError
from limit.formats import accuracy_interval, percent_interval
from limit.store import Store
from limit.store.queries_gauntlet import CORE
from limit.store.queries_models import own_rows, paper_rows, study_rows
from limit.store.queries_runs import studies
from limit.store.schema import Row

Outcome = Literal["supported", "as published", "unclear", "contradicted", "no data"]
State = Literal["green", "amber", "red", "grey", "published"]
RELATIONS = ("above", "below", "level")
AS_PUBLISHED = (
    "The published scores read so, and they lie further apart than a figure can be misread. How far they would move "
    "with other items or seeds was not published, so nothing was tested."
)
MEASURES = ("average", "preference")


@dataclass(frozen=True)
class Evidence:
    """The outcome of a test with its numbers; `value` is a difference (or a rate when the test has no `b`)."""

    outcome: Outcome
    value: float | None
    low: float | None
    high: float | None
    caption: str
    run_ids: tuple[str, ...]

    def numbers(self) -> Json:
        """What is kept with a claim to notice that the numbers moved."""
        return {"outcome": self.outcome, "value": self.value, "low": self.low, "high": self.high}


def model_index(store: Store, tests: Iterable[Mapping[str, Any]] = ()) -> dict[str, Row]:
    """All models, the paper's and one's own, by key; with those that only a study knows as `tests` name them."""
    index = {row["key"]: row for row in (*paper_rows(store), *own_rows(store))}
    missing = {test[name] for test in tests for name in ("a", "b") if test.get(name)} - index.keys()
    for study in studies(store) if missing else ():
        index = {row["key"]: row for row in study_rows(store, study["study"])} | index
        missing -= index.keys()
        if not missing:
            break
    return index


def check_test(test: Mapping[str, Any]) -> None:
    """Raise LimitError unless `test` can be evaluated."""
    for name in ("a", "measure", "relation"):
        if not isinstance(test.get(name), str):
            raise LimitError(f"a claim's test needs {name!r} as text, got {test.get(name)!r}")
    for name in ("b", "baseline"):
        if test.get(name) is not None and not isinstance(test[name], str):
            raise LimitError(f"{name!r} of a claim's test is the key of a model, not {test[name]!r}")
    if test["relation"] not in RELATIONS:
        raise LimitError(f"claim relation is {test['relation']!r}; choose one of {', '.join(RELATIONS)}")
    if test.get("b") is None and test["measure"] != "preference":
        raise LimitError("a claim about a Gauntlet score needs a second model to compare with")


def evaluate(store: Store, test: Mapping[str, Any], models: Mapping[str, Row] | None = None) -> Evidence:
    """Run a claim's test on the present data."""
    return evaluate_all(store, [test], models if models is not None else model_index(store, [test]))[0]


def evaluate_all(store: Store, tests: Sequence[Mapping[str, Any]], models: Mapping[str, Row]) -> list[Evidence]:
    """Run several tests, in their order; items of models that are compared with one other are read once."""
    lines: dict[tuple[str, str, str], Row] = {}
    pairs = [(t["measure"], t["b"], t["a"]) for t in tests if t.get("b") in models and t["a"] in models]
    for measure, b in dict.fromkeys(pair[:2] for pair in pairs):
        keys = list(dict.fromkeys(pair[2] for pair in pairs if pair[:2] == (measure, b)))
        found = verdicts_with(store, [models[key] for key in keys], models[b], measure)
        lines |= {(measure, b, key): line for key, line in zip(keys, found, strict=True)}
    return [_evidence(test, models, lines) for test in tests]


def _evidence(
    test: Mapping[str, Any], models: Mapping[str, Row], lines: Mapping[tuple[str, str, str], Row]
) -> Evidence:
    a, b = models.get(test["a"]), models.get(test.get("b") or "")
    if a is None or (test.get("b") and b is None):
        return Evidence("no data", None, None, None, "a model of this claim is not in the workspace", ())
    if b is None and a["y"] is not None and a["baseline"] != test.get("baseline", a["baseline"]):
        words = f"{a['label']} is judged against another baseline now than when the claim was written"
        return Evidence("no data", None, None, None, words, tuple(a["run_ids"]))
    if b is None:
        return _against_even(a, test["relation"])
    return _of_line(lines[test["measure"], test["b"], test["a"]], a, b, test["relation"])


def _against_even(a: Row, relation: str) -> Evidence:
    value, low, high = value_of(a, "preference")
    caption = preference_caption(a)
    if value is None or low is None or high is None:
        return Evidence("no data", value, low, high, caption, tuple(a["run_ids"]))
    return Evidence(_outcome(low - 50, high - 50, relation), value, low, high, caption, tuple(a["run_ids"]))


def _outcome(low: float, high: float, relation: str) -> Outcome:
    above, below = low > 0, high < 0
    if relation == "level":
        return "contradicted" if above or below else "supported"
    supported, contradicted = (above, below) if relation == "above" else (below, above)
    return "supported" if supported else "contradicted" if contradicted else "unclear"


def _of_line(line: Row, a: Row, b: Row, relation: str) -> Evidence:
    """What a line of `verdicts_with` says about the claim that `a` stands in this relation to `b`."""
    runs = (*a["run_ids"], *b["run_ids"])
    if line["estimate"] is None or math.isnan(line["estimate"]):
        return Evidence("no data", None, None, None, line["sentence"], runs)
    words = {"better": "above", "worse": "below", "cannot tell": "level"}
    found = words[line["verdict"]]
    agrees: Outcome = "as published" if line["basis"] == READING_ERROR else "supported"
    outcome: Outcome = agrees if found == relation else "unclear" if found == "level" else "contradicted"
    level = line["verdict"] == "cannot tell"
    if (
        relation == "level" and level and leaves_out_zero(line)
    ):  # a correction is there against bold claims, not for them
        outcome = "unclear"
    return Evidence(outcome, line["estimate"], line["low"], line["high"], difference_caption(line, a, b), runs)


def preference_caption(row: Row) -> str:
    """n, judge, prompts and interval of a model's preference rate."""
    if row["y"] is None:
        return "nobody has judged it"
    shown = percent_interval(row["y"], row["y_low"], row["y_high"])
    words = [
        f"{row['label']} preferred: {shown}",
        f"n = {row['n_prompts']:,} prompts" if row["n_prompts"] else "",
        f"{row['prompt_set']} prompts",
    ]
    seeds = sum(seed["y"] is not None for seed in row["seeds"]) or row["n_seeds"]
    words += [
        f"judge {row['judge']}" if row["judge"] else "",
        f"{seeds} seed{'s' if seeds != 1 else ''}" if seeds else "",
    ]
    return " · ".join(word for word in [*words, "95 % interval over prompts"] if word)


def difference_caption(line: Row, a: Row, b: Row) -> str:
    """n, basis and interval of a difference."""
    show = percent_interval if line["measure"] == "preference" else accuracy_interval
    basis = {"paired": "paired, 95 % bootstrap, Holm-corrected", READING_ERROR: "reading error of the figure only"}
    n = f"n = {line['n']:,} {line['unit']}" if line["n"] else ""
    shown = show(line["estimate"], line["low"], line["high"])
    words = [
        f"{a['label']} less {b['label']}: {shown}",
        n,
        basis.get(line["basis"], line["basis"]),
        a["protocol"] or "",
        "partial evaluation" if _is_partial(line["measure"], a, b) else "",
    ]
    return " · ".join(word for word in words if word)


def _is_partial(measure: str, *rows: Row) -> bool:
    """Whether tasks are missing behind a score."""
    wanted = CORE if measure == "average" else (measure,)
    return any((row["categories"].get(name) or {}).get("partial") for row in rows for name in wanted)


def before(evidence: Evidence, bound: Mapping[str, Any]) -> str:
    """What the number was when the claim was written, where it has moved since."""
    value = bound.get("value")
    if not isinstance(value, (int, float)) or evidence.value is None or not moved(evidence, bound):
        return ""
    shown = f"{value:.1f}" if max(abs(value), abs(evidence.value)) > 1 else f"{value:.3f}"
    return f" · {shown} when the claim was written"


def state(evidence: Evidence, bound: Mapping[str, Any]) -> State:
    """Green while the data support the claim, amber when the numbers it was written on moved, red when they deny it.

    A claim that rests on published numbers without their sampling error is neither: it is as published.
    """
    if evidence.outcome == "no data":
        return "grey"
    if evidence.outcome == "contradicted":
        return "red"
    if evidence.outcome == "unclear" or moved(evidence, bound):
        return "amber"
    return "published" if evidence.outcome == "as published" else "green"


STATE_WORDS: dict[State, str] = {
    "green": "the data support it",
    "amber": "the numbers moved",
    "red": "the data deny it",
    "grey": "no data here",
    "published": "as published, not tested",
}


def state_words(evidence: Evidence, bound: Mapping[str, Any]) -> str:
    """The state in words; amber says which of its two reasons there is, or both."""
    found = state(evidence, bound)
    if found != "amber" or evidence.outcome != "unclear":
        return STATE_WORDS[found]
    return "cannot tell, and the numbers moved" if moved(evidence, bound) else "cannot tell"


def moved(evidence: Evidence, bound: Mapping[str, Any]) -> bool:
    """Whether the value differs from the one the claim was bound to, as far as it would be printed."""
    then = bound.get("value")
    if not isinstance(then, (int, float)) or evidence.value is None:
        return then is not evidence.value
    step = 0.05 if max(abs(then), abs(evidence.value)) > 1 else 0.0005
    return bool(abs(then - evidence.value) > step)
