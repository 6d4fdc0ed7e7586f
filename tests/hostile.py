"""A workspace whose every text tries to break the page that shows it."""

from __future__ import annotations

import json
from pathlib import Path

from limit.core import append_jsonl, write_json
from limit.settings import Workspace

TEXTS = (
    "<script>alert('x')</script><img src=x onerror=alert(1)>",
    "# heading **bold** [link](javascript:alert(1)) ![img](http://127.0.0.1:9/x.png) `code` :material/home: :red[x]",
    "$\\frac{1}{0}$ $$\\input{/etc/passwd}$$ ~~~ --- | a | b |",
    "\x1b[31mred\x1b[0m \x07 \x00 \x08\x08\x08 \r\n carriage\rreturn",
    "\u202egnirts desrever\u202c \u2066isolate\u2069 שלום مرحبا 你好 🙂 e\u0301",
    "=cmd|' /C calc'!A0",
    "../../../../etc/passwd ..\\..\\windows \x00.txt",
    "%s %(x)s {0} {x} ${x} {{7*7}} </textarea></pre></style>",
    "long " + "x" * 200_000,
    " \n\t ",
)


def hostile_rows() -> list[dict[str, str]]:
    """One prompt and response for each text, in both seats."""
    return [
        {"prompt": text or "p", "response": TEXTS[-1 - n] + " y", "source": TEXTS[n]} for n, text in enumerate(TEXTS)
    ]


def write_hostile_file(folder: Path) -> Path:
    """A JSONL file of hostile samples."""
    path = folder / "hostile.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in hostile_rows()) + "\n", encoding="utf-8")
    return path


def add_hostile_results(ws: Workspace, mix_id: str) -> str:
    """Write a run, a comparison and a failed job as their contracts say. Returns the run id."""
    run_id = "0123456789ab"
    run = ws.run(run_id)
    write_json(
        run / "run.json",
        {
            "run_id": run_id, "kind": "finetune", "name": TEXTS[0], "model": TEXTS[1], "mix_id": mix_id,
            "recipe_name": TEXTS[2], "recipe": {"epochs": 1.0}, "recipe_changes": {}, "seed": 17,
            "trust_remote_code": False, "created": "2026-01-01T00:00:00.000Z", "versions": {"torch": TEXTS[0]},
        },
    )  # fmt: skip
    append_jsonl(
        run / "train" / "metrics.jsonl",
        [
            {"kind": "train", "step": 1, "epoch": 0.5, "loss": 2.0, "lr": 1e-3, "tokens": 10, "tokens_per_s": 5.0},
            {"kind": "train", "step": 2, "epoch": 1.0, "loss": float("inf"), "lr": 0.0},
            {"kind": "eval", "step": 2, "source": TEXTS[0], "loss": 1.5, "n": 3},
            {"kind": "generation", "step": 2, "prompt": TEXTS[0], "text": TEXTS[1]},
            {"kind": "note", "step": 2, "text": TEXTS[3]},
            {"unknown": TEXTS[0]},
        ],
    )
    with (run / "train" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    comparison = ws.comparison("ba9876543210")
    write_json(
        comparison / "comparison.json",
        {
            "comparison_id": "ba9876543210", "kind": "imported", "baseline": TEXTS[0], "candidate": TEXTS[1],
            "baseline_run": None, "candidate_run": run_id, "prompt_set": TEXTS[2], "judge": TEXTS[1], "order": "both",
            "seeds": [1], "created": "2026-01-01T00:00:00.000Z", "origin": TEXTS[6],
        },
    )  # fmt: skip
    append_jsonl(
        comparison / "judgments.jsonl",
        [
            {
                "judgement_key": f"key{n}", "comparison_id": "ba9876543210", "prompt_id": f"p{n}", "prompt": text,
                "text_1": text, "text_2": TEXTS[-1 - n], "seed": 1, "order": "ab", "first_response": 1, "replicate": 0,
                "status": "ok", "verdict": ("1", "2", "tie")[n % 3], "p_first": None, "raw_text": text,
                "error_text": None, "cost_usd": 0.01, "created": "2026-01-01T00:00:00.000Z",
            }
            for n, text in enumerate(TEXTS)
        ],
    )  # fmt: skip
    job = ws.job("hostile-job")
    subject = {"run_id": run_id}
    write_json(
        job / "job.json",
        {
            "job_id": "hostile-job", "kind": "finetune", "title": TEXTS[0], "arguments": ["finetune", TEXTS[1]],
            "subject": subject, "gpus": 0, "after": [], "request_id": None, "created": "2026-01-01T00:00:00.000Z",
            "created_by": TEXTS[1],
        },
    )  # fmt: skip
    write_json(job / "status.json", {"state": "failed", "reason": TEXTS[0], "exit_code": 1, "step": 1, "total": 2})
    (job / "log.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    (ws.jobs / "garbage").mkdir()
    (ws.jobs / "garbage" / "job.json").write_text("{ not json")
    (ws.runs / "garbage").mkdir()
    (ws.runs / "garbage" / "run.json").write_text("[]")
    (ws.comparisons / "garbage").mkdir()
    (ws.comparisons / "garbage" / "comparison.json").write_bytes(b"\xff\xfe\x00")
    return run_id
