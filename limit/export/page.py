"""One HTML file that works offline: plotly inside, numbers frozen, every text escaped, nothing fetched."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from limit.core import write_atomic
from limit.export.report import Report, Section, items_of_all, mix_words, seeds_text
from limit.formats import accuracy_interval, count, percent_interval
from limit.store.schema import Row

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 "Source Sans 3", "Segoe UI", Helvetica, Arial, sans-serif; color: #1a1c2b; background: #fff;
  max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1, h2 { overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; margin: 0 0 4px; } h2 { font-size: 1.3rem; margin: 40px 0 8px; }
.caption, footer { color: #5b6070; font-size: 0.9rem; overflow-wrap: anywhere; }
.state { border-radius: 4px; padding: 1px 8px; font-size: 0.85rem; border: 1px solid currentColor; }
.green { color: #146c43; } .amber { color: #8a5a00; } .red { color: #a32020; } .grey, .published { color: #5b6070; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: 6px 8px; border-top: 1px solid #e3e5ea; }
td.text { overflow-wrap: anywhere; min-width: 180px; } td.num span { white-space: nowrap; }
td.ids { overflow-wrap: anywhere; min-width: 100px; font-size: 0.8rem; }
small { display: block; color: #5b6070; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
@media print { h2 { break-after: avoid; } section { break-inside: avoid; } }
"""


def render_html(report: Report) -> str:
    """The whole page as text."""
    sections = "\n".join(_section(section, number) for number, section in enumerate(report.sections))
    title = html.escape(report.title)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<style>{STYLE}</style><script>{get_plotlyjs()}</script></head>
<body><main><h1>{title}</h1>
<p class="caption">{_text(report.study)} · {_text(report.created)} · numbers frozen at export</p>
{sections}
<section><h2>The numbers</h2><div class="scroll">{_table(report)}</div></section></main>
<footer><p>{_text(report.provenance())}</p></footer></body></html>
"""


def write_html(report: Report, path: Path) -> None:
    """Write the page. Raises LimitError when `path` cannot be written."""
    write_atomic(path, render_html(report))


def _text(value: object) -> str:
    return html.escape("".join(sign if sign.isprintable() or sign == "\n" else " " for sign in str(value)))


def _section(section: Section, number: int) -> str:
    figure = ""
    if section.figure is not None:
        body = section.figure.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=f"figure-{number}",
            config={"displayModeBar": False, "responsive": True},
        )
        figure = f'<div role="img" aria-label="{_text(section.alt)}">{body}</div>'
    mark = f' <span class="state {section.mark}">{section.state}</span>' if section.mark else ""
    caption = f'<p class="caption">{_text(section.caption)}</p>'
    return f"<section><h2>{_text(section.heading)}{mark}</h2>{figure}{caption}</section>"


def _table(report: Report) -> str:
    """One line for each model: what it is, both scores with what they rest on, and its ids."""
    heads = ("model and mix", "samples", "Gauntlet average", "preferred", "seeds", "runs", "mix ids")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<table><tr>{head}</tr>{''.join(_row(row) for row in report.models)}</table>"


def _row(row: Row) -> str:
    unknown = "not published" if row["origin"] == "published" else "n/a"
    score = accuracy_interval(row["x"], row["x_low"], row["x_high"]) if row["x"] is not None else unknown
    rate = "baseline" if row["is_baseline"] else percent_interval(row["y"], row["y_low"], row["y_high"])
    items, prompts = items_of_all(row), row["n_prompts"]
    cells = (
        ("text", row["label"], mix_words(row)),
        ("num", count(row["samples"]), ""),
        ("num", score, _facts(row["protocol"] if row["x"] is not None else None, items and f"n = {items:,} items")),
        (
            "num",
            rate if row["y"] is not None else unknown,
            _facts(
                row["judge"] and f"judge {row['judge']}",
                row["prompt_set"] and f"{row['prompt_set']} prompts",
                prompts and f"n = {prompts:,}",
            ),
        ),
        ("num", seeds_text(row), ""),
        ("ids", " ".join(row["run_ids"]), ""),
        ("ids", " ".join(row["mix_ids"]), ""),
    )
    return f"<tr>{''.join(_cell(*cell) for cell in cells)}</tr>"


def _facts(*facts: Any) -> str:
    return " · ".join(str(fact) for fact in facts if fact)


def _cell(kind: str, value: object, below: str) -> str:
    small = f"<small>{_text(below)}</small>" if below else ""
    return f'<td class="{kind}"><span>{_text(value)}</span>{small}</td>'
