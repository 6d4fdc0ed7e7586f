"""60,000 of 2 million rows: our build beside the usual `datasets` recipe; and the live panel on a 60,000-row mix.

    python tests/bench/bench_mix.py [ROWS] [FOLDER]

Twelve of twenty subsets, 5,000 of each. Every variant runs in a process of its own, in turn, three rounds; the table
gives the best round, its peak memory and the ratio to the peer of the same run. Both sides read zstd Parquet files
with the same texts; the peer's first build is timed with an empty cache, as the first build of a mix is.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))
SUBSETS = [f"task{n}" for n in range(12)]
EACH = 5_000
ROUNDS = 3


def prepare(home: Path, rows: int) -> None:
    """A source of ours and the same rows as plain Parquet, written through the same reader."""
    import pyarrow.parquet as pq

    from limit.settings import Workspace
    from limit.sources import add_source
    from tests.bench.bench_sources import make_file

    ws = Workspace(home / "ws").make()
    make_file(home / "big.jsonl", rows)
    add_source(ws, "big", home / "big.jsonl")
    (home / "plain").mkdir()
    for file in sorted(ws.source("big").glob("samples-*.parquet")):
        table = pq.read_table(file, columns=["prompt", "response", "subset"])
        pq.write_table(table, home / "plain" / file.name, compression="zstd")
    (home / "big.jsonl").unlink()


def ours(home: Path) -> str:
    """Build the mix; returns the hash of its rows."""
    from limit.mixes.build import build_mix
    from limit.settings import Workspace
    from limit.specs import MixPart, MixSpec

    ws = Workspace(home / "ws")
    shutil.rmtree(ws.mixes, ignore_errors=True)
    parts = tuple(MixPart(source="big", subset=name, take=EACH) for name in SUBSETS)
    mix = build_mix(ws, MixSpec(parts=parts))
    return hashlib.sha256((Path(mix["path"]) / "samples.parquet").read_bytes()).hexdigest()[:12]


def usual(home: Path) -> str:
    """Filter by subset, shuffle, select, concatenate: the recipe of most fine-tuning scripts."""
    import datasets

    datasets.disable_progress_bars()
    cache = home / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    files = [str(file) for file in sorted((home / "plain").glob("*.parquet"))]
    data = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(cache))
    parts = []
    for name in SUBSETS:
        part = data.filter(
            lambda batch, wanted=name: [s == wanted for s in batch], input_columns="subset", batched=True
        )
        parts.append(part.shuffle(seed=17).select(range(EACH)))
    datasets.concatenate_datasets(parts).to_parquet(str(home / "usual.parquet"))
    return hashlib.sha256((home / "usual.parquet").read_bytes()).hexdigest()[:12]


def live(home: Path) -> None:
    """Milliseconds of one change of the live panel on 60,000 rows."""
    from limit.mixes.contents import describe_spec
    from limit.settings import Workspace
    from limit.specs import MixPart, MixSpec

    ws = Workspace(home / "ws")
    times = []
    for step in range(12):
        parts = (MixPart(source="big", take=60_000 - 100 * step),)
        start = time.perf_counter()
        describe_spec(ws, MixSpec(parts=parts))
        times.append(1000 * (time.perf_counter() - start))
    print(
        json.dumps(
            {
                "first_ms": round(times[0]),
                "median_ms": round(float(np.median(times[1:]))),
                "max_ms": round(max(times[1:])),
            }
        )
    )


def one(name: str, home: Path) -> None:
    """One variant in this process."""
    start, cpu = time.perf_counter(), time.process_time()
    digest = ours(home) if name == "ours" else usual(home)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        json.dumps(
            {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu, "gb": peak, "rows": digest}
        )
    )


def run(name: str, home: Path) -> dict[str, float | str]:
    """One variant in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", name, str(home)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Rounds in turn, then the table."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000
    home = Path(sys.argv[2] if len(sys.argv) > 2 else "/tmp/limit-bench-mix")
    if not (home / "plain").exists():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, __file__, "--prepare", str(rows), str(home)], check=True)
    results: dict[str, list[dict[str, float | str]]] = {"ours": [], "usual": []}
    for _ in range(ROUNDS):
        for name, found in results.items():
            found.append(run(name, home))
    best = {name: min(found, key=lambda r: float(r["cpu_s"])) for name, found in results.items()}
    print(f"{rows:,} rows, {len(SUBSETS) * EACH:,} drawn from {len(SUBSETS)} subsets")
    for name, found in best.items():
        ratio, wall = (
            float(best["usual"]["cpu_s"]) / float(found["cpu_s"]),
            float(best["usual"]["wall_s"]) / float(found["wall_s"]),
        )
        print(
            f"{name:6} wall {found['wall_s']:6.1f} s (x{wall:.1f})  cpu {found['cpu_s']:6.1f} s (x{ratio:.1f})  "
            f"{found['gb']:.2f} GB"
        )
    same = {name: len({r["rows"] for r in found}) == 1 for name, found in results.items()}
    print("same bytes in every round:", same)
    subprocess.run([sys.executable, __file__, "--live", "", str(home)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--prepare"]:
        prepare(Path(sys.argv[3]), int(sys.argv[2]))
    elif sys.argv[1:2] == ["--one"]:
        one(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--live"]:
        live(Path(sys.argv[3]))
    else:
        main()
