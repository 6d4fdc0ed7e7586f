"""What `limit judge` says to people: each command's result in a sentence or a few lines."""

from __future__ import annotations

from typing import Any

from limit.core import Json
from limit.formats import count, percent, percent_interval
from limit.judge.estimate import estimate_words


def samples_text(value: Json) -> str:
    """One sentence."""
    if "graded" not in value:
        return f"job {value['job_id']} ({value['state']}) grades samples of {value['source']}"
    mean = "n/a" if value["mean"] is None else f"{value['mean']:.1f}"
    return (
        f"{count(value['graded'])} samples of {value['source']} graded, mean {mean}; {count(value['flagged'])} flagged"
    )


def check_text(value: Json) -> str:
    """One or two sentences."""
    return agree_text(value["agreement"]) if "agreement" in value else judge_text(value)


def judge_text(value: Json) -> str:
    """One sentence, and what is missing."""
    if "questions" in value:
        return estimate_words(value)
    if "preference_pct" in value:
        return "\n".join([_summary_line(value), *missing_lines(value)])
    return f"job {value['job_id']} ({value['state']}) judges comparison {value['comparison']}"


def import_text(value: Json) -> str:
    """One sentence."""
    return (
        f"{count(value['rows'])} judgments, {count(value['invalid'])} without a verdict, "
        f"in comparisons {', '.join(value['comparisons'])}"
        + (f"; {count(value['turned'])} had their sides exchanged" if value.get("turned") else "")
    )


def missing_lines(value: Json) -> list[str]:
    """What a judged comparison lacks, a sentence each: questions for want of budget, prompts that only one answered."""
    lines = []
    if value.get("skipped_budget"):
        lines.append(
            f"the budget ended before {count(value['skipped_budget'])} of {count(value['total'])} judgments; "
            "run it again with a higher --budget and it goes on where it stopped"
        )
    if value.get("unpaired"):
        lines.append(f"{count(value['unpaired'])} prompts were answered by one run only and are left out")
    return lines


def show_text(value: Json) -> str:
    """The rates with their intervals, one a line."""
    control, lean, test = value["length_control"], value["leanings"], value["sign_test"]
    equal = percent_interval(control["rate_pct"], control["low"], control["high"])
    lines = [
        _summary_line(value),
        f"ties as half: {percent_interval(value['score_pct'], value['score_low'], value['score_high'])}",
        f"at equal length: {control['reason'] or equal}",
        f"sign test: {test['wins']} prompts better, {test['losses']} worse, p {test['p_value']:.3g}: {test['verdict']}",
    ]
    if value["nested_low"] is not None:
        lines.append(f"over seeds and prompts: [{value['nested_low']:.1f}, {value['nested_high']:.1f}]")
    if lean["longer_pct"] is not None:
        lines.append(f"the longer answer won {lean['longer_pct']:.1f} % of {count(lean['n_longer'])} decided verdicts")
    if lean["consistency_pct"] is not None:
        lines.append(f"same verdict in both orders: {lean['consistency_pct']:.1f} % of {count(lean['n_pairs'])} pairs")
    if not value["is_checked"]:
        lines.append("this judge is unchecked: see `limit judge check`")
    return "\n".join(lines)


def length_text(value: Json) -> str:
    """The controlled rate beside the raw one, and what the fit took it from."""
    unmatched = f"; {count(value['unmatched'])} verdicts on other prompts left out" if value["unmatched"] else ""
    return (
        f"{percent(value['rate_pct'])} at equal length, {percent(value['raw_pct'])} raw, ties as half, of "
        f"{count(value['n'])} verdicts{unmatched} (weights: length {value['length_weight']:.3f}, "
        f"difficulty {value['difficulty_weight']:.3f}, intercept {value['intercept']:.3f})"
    )


def export_text(value: Json) -> str:
    """One sentence."""
    return f"{count(value['rows'])} annotations in {value['path']}"


def summary_text(value: list[Json]) -> str:
    """One line per comparison."""
    return "\n".join(_summary_line(row) for row in value) or "no comparisons yet; `limit judge import` reads some"


def _one_line(text: Any) -> str:
    """A name from a file as a terminal may show it: no line break and no control sequence."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())[:120]


def _summary_line(row: dict[str, Any]) -> str:
    rate = percent_interval(row["preference_pct"], row["ci_low"], row["ci_high"])
    candidate, baseline, prompts, judge = (
        _one_line(row[name]) for name in ("candidate", "baseline", "prompt_set", "judge")
    )
    return (
        f"{row['comparison']}  {candidate} against {baseline} on {prompts}: {rate}  "
        f"{count(row['wins'])} won, {count(row['losses'])} lost, {count(row['ties'])} tied, "
        f"{count(row['invalid'])} invalid, {count(row['n_prompts'])} prompts, judge {judge}"
    )


def agree_text(value: Json) -> str:
    """One sentence."""
    if not value["n"]:
        return "the two comparisons share no judged pair"
    kappa = f"kappa {value['kappa']:.2f}" if value["kappa"] is not None else str(value["why"])
    rate = percent_interval(value["agree_pct"], value["ci_low"], value["ci_high"])
    return f"{' and '.join(map(_one_line, value['judges']))} agree on {rate} of {count(value['n'])} pairs; {kappa}"
