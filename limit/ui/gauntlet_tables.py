"""The Gauntlet page's charts and items as tables, and as CSV with whole numbers and text that no spreadsheet runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from limit import charts
from limit.export.tables import defuse
from limit.formats import accuracy, accuracy_interval, count
from limit.store.schema import Row
from limit.ui.shell import printable

SHORT = 90  # characters of a text in a line of a table


def bars_table(rows: Sequence[Row], paper: str) -> None:
    """The bars; `paper` stands where an evaluation would be named."""
    shown = [
        {
            "model": row["label"],
            "base": row["group"],
            "category": charts.category_label(row["category"]),
            "score": "not published" if row["score"] is None else accuracy(row["score"]),
            "low": accuracy(row["low"]),
            "high": accuracy(row["high"]),
            "items": count(row.get("n")),
            "without": ", ".join(row.get("missing") or []),
            "evaluation": row.get("eval_id") or paper,
        }
        for row in rows
    ]
    st.dataframe(pd.DataFrame(shown), hide_index=True, alt="Gauntlet scores by model and category")
    whole = [
        {
            "model": row["label"],
            "base": row["group"],
            "category": row["category"],
            "score": row["score"],
            "low": row["low"],
            "high": row["high"],
            "items": row.get("n"),
            "partial": bool(row.get("partial")),
            "without": ", ".join(row.get("missing") or []),
            "protocol": row.get("note"),
            "evaluation": row.get("eval_id") or paper,
        }
        for row in rows
    ]
    download(whole, "gauntlet.csv")


def tasks_table(rows: Sequence[Row]) -> None:
    """The tasks of a category."""
    shown = [
        {
            "model": row["label"],
            "task": row["task"],
            "shots": row["num_fewshot"],
            "n": count(row["n"]),
            "score": accuracy_interval(row["score"], row["low"], row["high"]),
            "accuracy": accuracy(row["accuracy"]),
            "chance": accuracy(row["baseline"]),
            "acc": accuracy(row["acc_sum"]),
            "acc_norm": accuracy(row["acc_norm"]),
            "near ties": count(row["near_ties"]),
            "NaN": count(row["nan"]),
            "rule": row["metric"],
        }
        for row in rows
    ]
    st.dataframe(pd.DataFrame(shown), hide_index=True, alt="Tasks of the category")
    names = ("label", "eval_id", "category", "task", "num_fewshot", "n", "score", "low", "high", "stderr", "accuracy",
             "baseline", "acc_sum", "acc_norm", "near_ties", "nan", "metric")  # fmt: skip
    download([{name: row.get(name) for name in names} for row in rows], "tasks.csv")


def items_table(items: Sequence[Row], twins: Sequence[Row | None], key: str) -> int | None:
    """Items one line each; returns the place of the one that was clicked. `twins` are the other model's, if any."""
    lines = [_item_words(item, twin) for item, twin in zip(items, twins, strict=True)]
    told = [name for name in lines[0] if any(line[name] not in ("", None) for line in lines)]
    shown = [{name: line[name] for name in told} for line in lines]
    event = st.dataframe(
        pd.DataFrame(shown),
        hide_index=True,
        height=35 * min(len(items), 12) + 40,
        on_select="rerun",
        selection_mode="single-row",
        key=key,
        alt="Items of the task; click one to read it",
    )
    names = ("task", "num_fewshot", "subcategory", "idx", "correct", "prediction", "gold", "margin", "near_tie", "nan",
             "n_cut", "context", "continuation", "choices", "generated")  # fmt: skip
    download([{name: _cell(item.get(name)) for name in names} for item in items], "items.csv")
    picked = list(event.selection.rows) if event and event.selection else []
    return int(picked[0]) if picked and picked[0] < len(items) else None


def pairs_table(rows: Sequence[Row], names: Sequence[str]) -> None:
    """What is really different between every two models on a task; `names` by their places."""
    whole = [
        {
            "first": names[row["first"]],
            "second": names[row["second"]],
            "verdict on the first": row["verdict"],
            **{
                title: row[key]
                for title, key in (
                    ("difference", "difference"),
                    ("low", "ci_low"),
                    ("high", "ci_high"),
                    ("items", "n"),
                    ("only the first right", "only_a"),
                    ("only the second", "only_b"),
                    ("p", "p_holm"),
                    ("needed", "needed_n"),
                )
            },
        }
        for row in rows
    ]
    shown = pd.DataFrame([{name: _rounded(name, value) for name, value in line.items()} for line in whole])
    st.dataframe(shown, hide_index=True, alt="Every pair of models on this task")
    download(whole, "pairs.csv")


def _rounded(name: str, value: object) -> object:
    return format(value, ".3f" if name == "p" else "+.3f") if isinstance(value, float) else value


def download(rows: Sequence[Row], name: str) -> None:
    """A button that makes the file only when it is pressed."""
    st.download_button("CSV", lambda: csv_text(rows), name, "text/csv", icon=":material/download:", on_click="ignore")


def csv_text(rows: Sequence[Row]) -> bytes:
    """UTF-8 with a mark at the start, so that spreadsheets read names right; unknown values are empty cells."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(rows[0] if rows else ())
    writer.writerows([defuse(value) for value in row.values()] for row in rows)
    return ("\ufeff" + out.getvalue()).encode("utf-8", "replace")


def _item_words(item: Row, twin: Row | None) -> Row:
    choices = item["choices"] or []
    answer = item["generated"] if item["generated"] is not None else _choice(choices, item["prediction"])
    return {
        "record": item["idx"],
        "part": item["subcategory"] or "",
        "answer was": "right" if item["correct"] else "wrong",
        "the other": "" if twin is None else "right" if twin["correct"] else "wrong",
        "question": _end(item["context"] or ""),
        "answered": _start(answer),
        "right answer": _start(_choice(choices, item["gold"]) or (choices[0] if choices else "")),
        "margin": item["margin"],
        "doubt": "NaN" if item["nan"] else "near tie" if item["near_tie"] else "",
    }


def _choice(choices: Sequence[str], number: int | None) -> str:
    return choices[number] if number is not None and 0 <= number < len(choices) else ""


def _start(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= SHORT else f"{line[:SHORT]} ..."


def _end(text: str) -> str:
    """The last lines of a prompt: examples stand before them."""
    line = printable(" ".join(text[-4 * SHORT :].split()))
    return line if len(line) <= SHORT else f"... {line[-SHORT:]}"


def _cell(value: object) -> object:
    return " | ".join(value) if isinstance(value, list) else value
