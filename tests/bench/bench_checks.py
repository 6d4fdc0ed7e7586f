"""What the checks find in real sources: duplicates, leaks from the Gauntlet and the test prompts, and alignment.

    python -m tests.bench.bench_checks [DATA] [FOLDER]

DATA holds `sources/*.json*`, `gauntlet/` and `judge/test_prompts/*.txt`. Each source is checked as a mix of its own,
then all of them as one mix; seconds are of this machine. The workspace stays in FOLDER.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from limit.core import Json
from limit.jobs.context import JobContext
from limit.mixes.alignment import align
from limit.mixes.build import build_mix
from limit.mixes.duplicates import find_duplicates
from limit.mixes.leaks import find_leaks
from limit.mixes.listing import mix_samples
from limit.mixes.reference import load_references
from limit.responses.prompt_sets import read_prompts, save_prompt_set
from limit.settings import PROJECT, Workspace
from limit.sources import add_source
from limit.specs import MixPart, MixSpec


def prepare(data: Path, home: Path) -> tuple[Workspace, list[str]]:
    """A workspace with every source and prompt set of the data folder."""
    ws = Workspace(home / "ws").make()
    names = []
    for file in sorted((data / "sources").glob("*.json*")):
        name = file.name.split(".")[0].split("_")[0]
        report = add_source(ws, name, file, title=name)
        print(f"{name}: {report['rows']:,} samples, {report['rejected']:,} rejected, stripped {report['stripped']}")
        names.append(name)
    for file in sorted((data / "judge" / "test_prompts").glob("*.txt")):
        save_prompt_set(ws, file.stem.replace("_", "-"), read_prompts(file), origin=file.name)
    return ws, names


def timed(action: Callable[[], Any]) -> tuple[Any, str]:
    """A result, and the seconds it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = action()
    return result, f"{time.perf_counter() - wall:.1f} s ({time.process_time() - cpu:.1f} s CPU)"


def report(ws: Workspace, names: list[str], references: list[Any], data: Path) -> None:
    """Check the mix of all samples of these sources and print what was found."""
    mix = build_mix(ws, MixSpec(parts=tuple(MixPart(source=name) for name in names)))
    table = mix_samples(ws, mix["mix_id"])
    samples = table.select(["row", "sample_id", "source", "subset", "part", "prompt", "response"]).to_pylist()
    print(f"\n== {' + '.join(names)}: {mix['rows']:,} samples, mix {mix['mix_id']}")
    double, took = timed(lambda: find_duplicates(samples, JobContext(None)))
    print(
        f"duplicates in {took}: {double['exact']:,} exact, {double['near']:,} near, {double['across']:,} across parts"
    )
    leaks, took = timed(lambda: find_leaks(samples, references, JobContext(None)))
    print(f"leaks in {took}: {leaks['samples']:,} samples")
    for group in leaks["groups"]:
        print(
            f"  {group['group']:24} {group['leaked_items']:>6,} of {group['checked']:>6,} items in "
            f"{group['samples']:>6,} samples"
        )
    found, took = timed(lambda: align(ws, table, data / "gauntlet"))
    print(f"alignment in {took}, held-out accuracy {found['accuracy']:.2f} over {len(found['groups'])} groups")
    for group in found["groups"]:
        print(f"  {group['group']:24} {_share(group)}")
    print(f"  {'Gauntlet together':24} {_share(found['gauntlet'])}")


def _share(facts: Json) -> str:
    return f"{100 * facts['share']:5.1f} % [{100 * facts['low']:.1f}, {100 * facts['high']:.1f}]"


def main() -> None:
    """Each source, then all of them."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else PROJECT.parent / "shared" / "data")
    home = Path(sys.argv[2] if len(sys.argv) > 2 else "/tmp/limit-bench-checks")
    if not (data / "sources").is_dir():
        print(f"{data} holds no folder 'sources'; name a folder laid out as the first lines of this file say")
        return
    ws, names = prepare(data, home)
    references, took = timed(lambda: load_references(ws, data / "gauntlet"))
    print(f"{len(references):,} test items and prompts read in {took}")
    for name in names:
        report(ws, [name], references, data)
    report(ws, names, references, data)


if __name__ == "__main__":
    main()
