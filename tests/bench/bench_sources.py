"""A source of millions of rows: time and peak memory to add it, index it, page, search and draw.

    python tests/bench/bench_sources.py [ROWS] [FOLDER]

Rows are made from a small vocabulary, about 250 characters each. Each step runs in a process of its own, so that its
peak memory is its own. The workspace stays in FOLDER for a look at the pages.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))


def make_file(path: Path, rows: int) -> None:
    """A JSON-lines file of prompts and responses from 20 subsets."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = ["".join(rng.choice(letters, rng.integers(3, 10))) for _ in range(20_000)]
    popular = rng.zipf(1.3, 1_000_000) % len(words)
    with path.open("w") as file:
        for start in range(0, rows, 10_000):
            at = rng.integers(0, len(popular) - 60, 10_000)
            for offset, first in enumerate(at):
                text = [words[i] for i in popular[first : first + 40]]
                number = start + offset
                row = {
                    "prompt": f"{number} " + " ".join(text[:25]),
                    "response": " ".join(text[25:]),
                    "source": f"task{number % 20}",
                }
                file.write(json.dumps(row) + "\n")


def timed(action: object, repeats: int = 5) -> float:
    """Median milliseconds of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()  # type: ignore[operator]
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times)[len(times) // 2]


def step(name: str, home: Path) -> None:
    """One step, run in a process of its own."""
    from limit.jobs.context import JobContext
    from limit.mixes.build import build_mix
    from limit.settings import Workspace
    from limit.sources import Filter, add_source, browse, search
    from limit.sources.searching import build_index
    from limit.specs import MixPart, MixSpec

    ws = Workspace(home / "ws").make()
    start = time.perf_counter()
    if name == "add":
        print("rows", add_source(ws, "big", home / "big.jsonl")["rows"])
    elif name == "index":
        print("index bytes", build_index(ws, "big", JobContext(None))["bytes"])
    elif name == "draw":
        build_mix(ws, MixSpec(parts=(MixPart(source="big", take=60_000),)))
    elif name == "page":
        last = browse(ws, "big")["pages"]
        print("first page ms", timed(lambda: browse(ws, "big")))
        print("page in the middle ms", timed(lambda: browse(ws, "big", last // 2)))
        print("last page ms", timed(lambda: browse(ws, "big", last)))
        print("page of a subset ms", timed(lambda: browse(ws, "big", 1000, where=Filter(subset="task7"))))
    elif name == "search":
        row = browse(ws, "big", 1000)["rows"][0]
        word = row["prompt"].split()[3]
        print("indexed search, common word, ms", timed(lambda: search(ws, "big", word, limit=25)))
        rare = row["prompt"].split()[0]
        print("indexed search, rare word, ms", timed(lambda: search(ws, "big", rare, limit=25)))
        print("regex, first page, ms", timed(lambda: search(ws, "big", f"(?i){word[:4]}", "regex", 25, seconds=1.0)))
        print(
            "regex, no hit, stopped at 1 s, ms", timed(lambda: search(ws, "big", "zz9zz", "regex", 25, seconds=1.0), 2)
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{name}: {time.perf_counter() - start:.1f} s, peak {peak:.2f} GB", flush=True)


def main() -> None:
    """Run all steps."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    home = Path(sys.argv[2] if len(sys.argv) > 2 else "/tmp/limit-bench-sources")
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "big.jsonl").exists():
        make_file(home / "big.jsonl", rows)
    for name in ("add", "page", "draw", "index", "search"):
        subprocess.run([sys.executable, __file__, "--step", name, str(home)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        step(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
