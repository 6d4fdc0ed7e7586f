"""What an export holds, collected once: figures, captions, claims and the numbers with where they come from.

Numbers are frozen here; every format writes the same report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from limit import __version__, charts
from limit.claims.evidence import before, evaluate, model_index, state, state_words
from limit.claims.ledger import read_claims
from limit.claims.sizes import curve_rows, value_of
from limit.core import LimitError
from limit.settings import Workspace
from limit.store import Store
from limit.store.queries_gauntlet import CORE
from limit.store.queries_models import COUNTS, own_rows, paper_rows, protocols, study_rows
from limit.store.queries_runs import mixes, studies
from limit.store.schema import Row

PAPER_STUDY = "paper"
Kind = Literal["plane", "gauntlet", "preference", "curve", "claim", "text"]


@dataclass(frozen=True)
class Section:
    """One heading with its figure and caption; `rows` are the plain data behind the figure, for native charts."""

    kind: Kind
    heading: str
    caption: str
    figure: Any = None
    alt: str = ""
    rows: tuple[Row, ...] = ()
    measure: str = "average"
    mark: str = ""
    state: str = ""  # of a claim, in words


@dataclass(frozen=True)
class Report:
    """A whole export: sections in order, and one table row for each number."""

    title: str
    study: str
    created: str
    version: str
    sections: tuple[Section, ...]
    models: tuple[Row, ...]
    numbers: tuple[Row, ...] = field(default=())
    palette: charts.Palette | None = None

    def provenance(self, most: int | None = None) -> str:
        """Date, version and ids in one line; of more than `most` ids of a kind the first, and where the others are."""
        words = [f"LIMIT {self.version}", self.created, f"study {self.study}"]
        if any(row["origin"] == "published" for row in self.models):
            words.append("published numbers of arXiv 2311.13133")
        runs = [run for row in self.models for run in row["run_ids"]]
        mixes_used = list(dict.fromkeys(mix for row in self.models for mix in row["mix_ids"]))
        words += [f"{kind} {_listed(ids, most)}" for kind, ids in (("runs", runs), ("mixes", mixes_used)) if ids]
        return " · ".join(words)


def _listed(ids: Sequence[str], most: int | None) -> str:
    if most is None or len(ids) <= most:
        return ", ".join(ids)
    return f"{', '.join(ids[:most])} and {len(ids) - most:,} more, all in the table"


def study_names(store: Store) -> list[str]:
    """Names that an export takes: one's own studies, newest first, base models, then `paper` and what ships."""
    known = studies(store)
    mine = [row["study"] for row in known if row["origin"] == "workspace"]
    rows = own_rows(store)
    own = [row["layer"] for row in rows if row["origin"] == "workspace"]
    shipped = [*(row["study"] for row in known), *(row["layer"] for row in rows)]
    return list(dict.fromkeys([*mine, *own, PAPER_STUDY, "paper-7B", "paper-30B", *shipped]))


def study_models(store: Store, study: str | None) -> list[Row]:
    """The models of a study; without a name one's own, else what ships, else the paper's. Raises LimitError."""
    own = own_rows(store)
    if study is None:
        mine = [row for row in own if row["origin"] == "workspace"] or own
        return mine or paper_rows(store)
    if study == PAPER_STUDY:
        return paper_rows(store)
    if study in ("paper-7B", "paper-30B"):
        return paper_rows(store, [study.removeprefix("paper-")])
    found = study_rows(store, study) or _started(store, own, study)
    found = found or [row for row in own if study in (row["layer"], row["label"])]
    if not found:
        raise LimitError(f"there is no study {study!r}; known: {', '.join(study_names(store))}")
    return [row for row in found if row["origin"] == "workspace"] or found


def _started(store: Store, own: Sequence[Row], study: str) -> list[Row]:
    """Models of the jobs that a study without a plan of its own has started."""
    jobs = store.rows("select distinct run_id from jobs where study = ? and run_id is not null", [study])
    wanted = {row["run_id"] for row in jobs}
    return [row for row in own if wanted & set(row["run_ids"])]


def build_report(
    store: Store,
    ws: Workspace,
    study: str | None = None,
    palette: charts.Palette | None = None,
    now: datetime | None = None,
) -> Report:
    """Collect a study's report. Raises LimitError for an unknown study."""
    models = study_models(store, study)
    palette = palette or charts.Palette.light().with_mixes(mix["series"] for mix in mixes(store))
    name = study or (models[0]["layer"] if models else PAPER_STUDY)
    sections = [*_claims(store, ws, models, palette), *_figures(models, palette)]
    created = (now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M UTC")
    return Report(
        title="Which small mix is good under both evaluation paradigms?",
        study=name,
        created=created,
        version=__version__,
        sections=tuple(sections),
        models=tuple(models),
        numbers=tuple(number_rows(models, name, created)),
        palette=palette,
    )


def _figures(models: Sequence[Row], palette: charts.Palette) -> list[Section]:
    rows = [{**row, "hover": [charts.composition_text(row["parts"])] if row["parts"] else []} for row in models]
    bars, pairs = category_rows(models), preference_rows(models)
    sections = [
        Section("plane", "Both paradigms", plane_caption(models), charts.plane(rows, palette, height=480),
                charts.plane_alt(rows), tuple(rows)),
        Section("gauntlet", "Eval Gauntlet by category", gauntlet_caption(models),
                charts.gauntlet_panels(bars, palette), charts.panels_alt(bars), tuple(bars)),
        Section("preference", "Preference", preference_caption(models), charts.preference_bars(pairs, palette),
                charts.preference_alt(pairs), tuple(pairs)),
    ]  # fmt: skip
    for measure in ("average", "preference"):
        drawn = [row for row in curve_rows(models, measure) if row["score"] is not None]
        if len({row["size"] for row in drawn}) > 1:
            title = "preferred over the baseline (%)" if measure == "preference" else "Gauntlet average"
            figure = charts.limit_curve(drawn, palette, y_title=title)
            caption = f"{title} by number of samples in the mix; {gauntlet_caption(models)}"
            sections.append(Section("curve", f"How much is enough: {title}", caption, figure,
                                    charts.curve_alt(drawn, title), tuple(drawn), measure))  # fmt: skip
    return sections


def category_rows(models: Sequence[Row]) -> list[Row]:
    """Model rows as `charts.gauntlet_panels` takes them, average first."""
    out = []
    for row in models:
        for category in ("average", *row["categories"]):
            score, low, high = value_of(row, category)
            facts = row["categories"].get(category, {})
            head = {key: row[key] for key in ("group", "series", "label", "key")}
            if row["origin"] == "published":
                head["label"] = charts.series_label(row["series"])
            interval = {"score": score, "low": low, "high": high, "category": category, "note": row["protocol"]}
            out.append({**head, **interval, **{key: facts.get(key) for key in ("n", "partial", "missing")}})
    return out


def preference_rows(models: Sequence[Row]) -> list[Row]:
    """Model rows as `charts.preference_bars` takes them; the baseline itself is left out."""
    baselines = {row["key"]: row for row in models if row["is_baseline"]}
    out = []
    for row in models:
        if row["is_baseline"] or row["y"] is None:
            continue
        baseline = baselines.get(row["baseline"])
        against = baseline["label"] if baseline else "the baseline"
        out.append(
            {
                "label": f"{row['label']} vs {against}",
                "candidate_series": row["series"],
                "baseline_series": baseline["series"] if baseline else None,
                "preference_pct": row["y"],
                "low": row["y_low"],
                "high": row["y_high"],
                "seeds": [seed["y"] for seed in row["seeds"] if seed["y"] is not None],
                **{name: row[name] for name in COUNTS},
                "note": f"judge {row['judge']}" if row["judge"] else None,
                "key": row["key"],
            }
        )
    return out


def _first(models: Sequence[Row], key: str) -> Any:
    return next((row[key] for row in models if row[key]), None)


def gauntlet_caption(models: Sequence[Row]) -> str:
    """Protocol and what the intervals are."""
    paper = any(row["origin"] == "published" for row in models)
    kind = "error bars are the reading error of the figure" if paper else "intervals 95 %"
    found = protocols(models)
    words = [*found, "not evaluated alike" if len(found) > 1 else ""] if found else ["no evaluation yet"]
    return " · ".join(word for word in ["Score above chance, 0 is guessing", *words, items_text(models), kind] if word)


def items_text(models: Sequence[Row]) -> str:
    """How many items stand behind the averages, as `n = 1,000 items`; empty where no model says it."""
    known = sorted({items for row in models if row["x"] is not None and (items := items_of_all(row))})
    if not known:
        return ""
    return f"n = {known[0]:,} items" if len(known) == 1 else f"n = {known[0]:,} to {known[-1]:,} items"


def preference_caption(models: Sequence[Row]) -> str:
    """Judge, prompts, n, rule and what the interval is."""
    n = max((row["n_prompts"] or 0 for row in models), default=0)
    words = [f"judge {_first(models, 'judge') or 'none yet'}", f"{_first(models, 'prompt_set') or 'no'} prompts"]
    rule = "wins over wins and losses in each seed, mean over seeds"
    return " · ".join([*words, f"n up to {n:,} prompts", rule, "95 % bootstrap over prompts"])


def plane_caption(models: Sequence[Row]) -> str:
    """Both axes' facts and the models that are missing."""
    missing = [row["label"] for row in models if row["x"] is None or row["y"] is None]
    gap = f" · not drawn: {', '.join(missing)}" if missing else ""
    return f"{gauntlet_caption(models)} · {preference_caption(models)}{gap}"


def claim_figure(
    models: Mapping[str, Row], test: Mapping[str, Any], palette: charts.Palette, scale: float = 1.0
) -> tuple[Any, str, list[Row]]:
    """The chart behind a claim: bars of its two models, or the preference bar of its one; with alt text and rows."""
    chosen = [models[key] for key in (str(test["a"]), str(test.get("b"))) if key in models]
    if test["measure"] == "preference" or len(chosen) < 2:
        baselines = [models[row["baseline"]] for row in chosen if row["baseline"] in models]
        rows = preference_rows([*baselines, *chosen])
        return charts.preference_bars(rows, palette, scale=scale), charts.preference_alt(rows), rows
    rows = [row for row in category_rows(chosen) if row["category"] == test["measure"]]
    figure = charts.gauntlet_panels(rows, palette, columns=1, height=round(300 * scale))
    figure.update_yaxes(automargin=True, title_font_size=round(13 * scale), title_standoff=round(14 * scale))
    figure.update_annotations(font_size=round(13 * scale))
    legend = {"font": {"size": round(12 * scale)}, "entrywidth": (figure.layout.legend.entrywidth or 0) * scale}
    look = {"font": {"size": round(13 * scale)}, "legend": legend, "margin": {"l": round(52 * scale)}}
    return figure.update_layout(look), charts.panels_alt(rows), rows


def _claims(store: Store, ws: Workspace, shown: Sequence[Row], palette: charts.Palette) -> list[Section]:
    """Claims about models of this study, in the order they are told, each with its state."""
    keys, runs = {row["key"] for row in shown}, {run for row in shown for run in row["run_ids"]}
    claims = read_claims(ws)
    models = {**model_index(store, [claim["test"] for claim in claims]), **{row["key"]: row for row in shown}}
    sections = []
    for claim in claims:
        told = models.get(claim["test"]["a"], {"run_ids": ()})
        if claim["test"]["a"] not in keys and not runs & set(told["run_ids"]):
            continue
        evidence = evaluate(store, claim["test"], models)
        figure, alt, rows = claim_figure(models, claim["test"], palette)
        sections.append(
            Section(
                "claim",
                claim["sentence"],
                evidence.caption + before(evidence, claim["bound"]),
                figure,
                alt,
                tuple(rows),
                claim["test"]["measure"],
                state(evidence, claim["bound"]),
                state_words(evidence, claim["bound"]),
            )
        )
    return sections


def mix_words(row: Row) -> str:
    """What a model was finetuned on."""
    if row["samples"] == 0:
        return "not finetuned"
    return row["composition"] or charts.composition_text(row["parts"])


def items_of_all(row: Row) -> int | None:
    """Items behind an average: those of the five categories, where each says how many it has."""
    counts: list[int | None] = [(row["categories"].get(category) or {}).get("n") for category in CORE]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def seed_count(row: Row, preference: bool) -> int | None:
    """Seeds behind a model's preference rate, or behind its Gauntlet scores; the paper's are those it names."""
    if row["origin"] == "published":
        return row["n_seeds"] or None
    return sum(seed["y" if preference else "x"] is not None for seed in row["seeds"]) or None


def seeds_text(row: Row) -> str:
    """Seeds of a model; where fewer of them were judged than evaluated, or the other way round, both numbers."""
    evaluated, judged = seed_count(row, preference=False), seed_count(row, preference=True)
    if evaluated and judged and evaluated != judged:
        return f"{evaluated} evaluated, {judged} judged"
    return str(evaluated or judged or row["n_seeds"] or "")


def number_rows(models: Sequence[Row], study: str, created: str) -> list[Row]:
    """One row for each number: model, measure, value, interval, n and everything that it depends on."""
    out = []
    for row in models:
        for measure in ("average", *CORE, *sorted(set(row["categories"]) - set(CORE)), "preference"):
            value, low, high = value_of(row, measure)
            preference = measure == "preference"
            facts = row["categories"].get(measure, {})
            items = items_of_all(row) if measure == "average" else facts.get("n")
            out.append(
                {
                    "study": study,
                    "model": row["label"],
                    "base_model": row["group"],
                    "mix_id": row["mix_id"],
                    "mix_ids": " ".join(row["mix_ids"]),
                    "composition": mix_words(row),
                    "samples": row["samples"],
                    "measure": measure,
                    "unit": "per cent" if preference else "score above chance",
                    "value": value,
                    "low": low,
                    "high": high,
                    "n": row["n_prompts"] if preference else items,
                    **{name: row[name] if preference else None for name in COUNTS[1:]},
                    "partial": bool(facts.get("partial")),
                    "seeds": seed_count(row, preference) if value is not None else None,
                    "protocol": row["protocol"] if not preference else None,
                    "judge": row["judge"] if preference else None,
                    "prompt_set": row["prompt_set"] if preference else None,
                    "run_ids": " ".join(row["run_ids"]),
                    "eval_ids": " ".join(row["eval_ids"]),
                    "comparison_ids": " ".join(row["comparison_ids"]),
                    "origin": row["origin"],
                    "exported": created,
                    "limit_version": __version__,
                }
            )
    return out
