"""AlpacaEval 2's length-controlled win rate, from the files that its authors publish.

The model is `logit P(candidate wins | prompt) = a * tanh(delta / sd) + c * difficulty + k`, with delta = characters of
the baseline's answer minus the candidate's (Dubois et al. 2024, arXiv 2404.04475). The difficulty of each of the 805
prompts, and the rows of a baseline told to be verbose or concise that regularise the fit, come from `df_gamed.csv`
of the dataset tatsu-lab/alpaca_eval; neither is shipped here.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special

from limit.core import Json, LimitError
from limit.judge.judgments import load_comparison, read_judgments
from limit.judge.length import MIN_DECIDED
from limit.judge.summary import resolve_orders
from limit.responses.identity import prompt_id
from limit.responses.outputs import parse_array, read_bytes
from limit.settings import Workspace

Array = NDArray[np.float64]

GAMED_WEIGHT = 0.1  # of each row of the two gamed baselines; an own row weighs 1
COLUMNS = ("index", "preference", "std_delta_len", "instruction_difficulty")


@dataclass(frozen=True)
class Gamed:
    """The rows of `df_gamed.csv`: outcomes in [0, 1], tanh of the scaled length difference, difficulty of prompts."""

    outcome: Array
    feature: Array
    hard: Array
    difficulty: dict[int, float]


def published_length_control(ws: Workspace, comparison_id: str, gamed: Path, prompts: Path) -> Json:
    """A comparison's length-controlled rate as AlpacaEval 2 computes it; only its own 805 prompts can have one.

    `gamed` is df_gamed.csv, `prompts` any model_outputs.json with AlpacaEval's prompts in their published order.
    Difficulty is joined by prompt; alpaca_eval joins it by row, which misplaces it where rows are missing. Returns
    {rate_pct, raw_pct, n, unmatched, length_weight, difficulty_weight, intercept}. Raises LimitError naming the file
    and line that cannot be used, or when fewer than 100 decided verdicts are on these prompts.
    """
    comparison = load_comparison(ws, comparison_id)
    published = read_gamed(gamed)
    numbers = _prompt_numbers(prompts)
    rows = [row for row in resolve_orders(read_judgments(ws, comparison_id)) if row.get("score") is not None]
    found = [(row, published.difficulty.get(numbers.get(str(row["prompt_id"]), -1))) for row in rows]
    usable = [(row, hard) for row, hard in found if hard is not None]
    decided = sum(row["score"] != 0.5 for row, _ in usable)
    if decided < MIN_DECIDED:
        raise LimitError(
            f"{decided} decided verdicts of {comparison.label()} are on the prompts of {prompts} that {gamed} rates; "
            f"AlpacaEval's length control needs {MIN_DECIDED}"
        )
    scores = np.array([float(row["score"]) for row, _ in usable])
    delta = np.array([float(len(row["text_1"] or "") - len(row["text_2"] or "")) for row, _ in usable])
    if delta.std(ddof=1) == 0:
        raise LimitError(f"all answers of {comparison.label()} differ by the same length; there is nothing to control")
    difficulty = np.array([hard for _, hard in usable])
    rate, weights = full_length_control(
        scores, delta, difficulty, [(published.outcome, published.feature, published.hard)]
    )
    return {
        "rate_pct": rate,
        "raw_pct": 100 * float(scores.mean()),
        "n": len(usable),
        "unmatched": len(rows) - len(usable),
        **dict(zip(("length_weight", "difficulty_weight", "intercept"), weights, strict=True)),
    }


def read_gamed(path: Path) -> Gamed:
    """Read df_gamed.csv; rows without an outcome are left out, as upstream does. Raises LimitError."""
    reader = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8-sig", "replace"), newline=""))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise LimitError(f"{path} has no column {missing[0]!r}; give df_gamed.csv of tatsu-lab/alpaca_eval")
    rows = [[_number(path, reader.line_num, row, name) for name in COLUMNS] for row in reader]
    difficulty: dict[int, float] = {}
    for index, _, _, hard in rows:
        if not math.isnan(index) and not math.isnan(hard):
            difficulty.setdefault(int(index), hard)
    table = np.array([row for row in rows if not any(map(math.isnan, row))]).reshape(-1, len(COLUMNS))
    if not len(table):
        raise LimitError(f"{path} holds no complete row; give df_gamed.csv of tatsu-lab/alpaca_eval")
    return Gamed(table[:, 1], np.tanh(table[:, 2]), table[:, 3], difficulty)


def _number(path: Path, line: int, row: dict[str, str | None], name: str) -> float:
    text = (row[name] or "").strip()
    try:
        value = float(text or "nan")
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise LimitError(f"{path} line {line} has {text[:40]!r} as {name!r}, expected a number")
    return value


def _prompt_numbers(path: Path) -> dict[str, int]:
    """Prompt id to number, as they stand in a model_outputs.json."""
    numbers: dict[str, int] = {}
    for number, row in enumerate(parse_array(path, read_bytes(path), "objects with an instruction")):
        if not isinstance(row, dict) or not isinstance(row.get("instruction"), str):
            raise LimitError(f"{path} row {number + 1} has no 'instruction'; give a model_outputs.json of AlpacaEval")
        numbers.setdefault(prompt_id(row["instruction"]), number)
    return numbers


def full_length_control(
    scores: Array,
    delta: Array,
    difficulty: Array,
    gamed: Sequence[tuple[Array, Array, Array]],
) -> tuple[float, tuple[float, float, float]]:
    """AlpacaEval 2's controlled rate in per cent and its weights (length, difficulty, own intercept).

    `difficulty` is joined by instruction (upstream joins by row, which misaligns files with gaps). Each gamed set
    is (soft outcomes, length feature, difficulty). The fit is scikit-learn's LogisticRegressionCV with L1, as upstream.
    """
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import GroupKFold

    own = np.column_stack([np.tanh(delta / delta.std(ddof=1)), difficulty, np.ones_like(delta)])
    blocks = [np.column_stack([feature, hard, np.zeros_like(feature)]) for _, feature, hard in gamed]
    design = np.concatenate([*blocks, own])
    y = np.concatenate([*(np.clip(outcome, 0, 1) for outcome, _, _ in gamed), scores])
    weights = np.concatenate([*(np.full(len(outcome), GAMED_WEIGHT) for outcome, _, _ in gamed), np.ones(len(scores))])
    n = len(y)
    doubled, labels = np.concatenate([design, design]), np.concatenate([np.ones(n), np.zeros(n)])
    sample_weight = np.concatenate([weights * y, weights * (1 - y)])
    groups = np.concatenate([np.arange(n), np.arange(n)])
    model = LogisticRegressionCV(
        fit_intercept=False,
        l1_ratios=(1,),
        solver="liblinear",
        random_state=123,
        cv=list(GroupKFold(5).split(doubled, labels, groups)),
        scoring="neg_log_loss",
        use_legacy_attributes=True,
    )
    model.fit(doubled, labels, sample_weight=sample_weight)
    a, c, k = (float(value) for value in np.ravel(model.coef_))
    return 100 * float(special.expit(c * difficulty + k).mean()), (a, c, k)
