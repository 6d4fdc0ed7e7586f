"""First paint of each page beside an empty Streamlit app in one run, and the server time of reruns.

    python -m tests.bench.bench_app [FOLDER]

Paint: milliseconds from opening the address in a fresh browser context until the frame that shows the page's heading
was painted, by the browser's own clock, median of five interleaved rounds; `seen` is the same by Playwright's, whose
look waits for whatever the page does next. Rerun: milliseconds of `AppTest.run()` after the first run, median of
five. Filters: the same with 1,000 runs, 200,000 judgments and 2 million item rows in the store, each filter changed
for the first time; processor time of the whole process, and the clock. FOLDER keeps that workspace for the next time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from limit.settings import PROJECT, Workspace
from limit.store.queries_gauntlet import CORE
from tests.e2e.conftest import CHROMIUM, FLAGS, free_port

ROUNDS = 5
PAGES = ("", "samples", "mix", "launch", "runs", "gauntlet", "preferences", "compare", "vote", "present")


def serve(script: Path, home: Path) -> tuple[subprocess.Popen[bytes], str, float]:
    """Start a server; returns it, its address and the seconds until it was healthy."""
    port, began = free_port(), time.monotonic()
    words = [sys.executable, "-m", "streamlit", "run", str(script), "--server.headless", "true"]
    server = subprocess.Popen(
        [*words, "--server.port", str(port)],
        cwd=PROJECT,
        env={**os.environ, "LIMIT_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    while True:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
            return server, address, time.monotonic() - began
        except OSError:
            time.sleep(0.05)


NOTE_PAINT = """
new MutationObserver((_, observer) => {
  if (!document.querySelector("h1")) return;
  observer.disconnect();
  requestAnimationFrame(() => {
    const painted = new MessageChannel();
    painted.port1.onmessage = () => { window.headingPainted = performance.now(); };
    painted.port2.postMessage(null);
  });
}).observe(document, { childList: true, subtree: true });
"""


def paint_ms(browser: Any, address: str) -> tuple[float, float]:
    """Milliseconds until the first heading is painted, by the browser's clock and as Playwright sees it."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.add_init_script(NOTE_PAINT)
    began = time.monotonic()
    page.goto(address)
    page.get_by_role("heading", level=1).first.wait_for(timeout=120_000)
    seen = (time.monotonic() - began) * 1000
    page.wait_for_function("window.headingPainted")
    painted = float(page.evaluate("window.headingPainted"))
    context.close()
    return painted, seen


def measure_paint(folder: Path) -> None:
    from playwright.sync_api import sync_playwright

    empty = folder / "empty.py"
    empty.write_text("import streamlit as st\nst.title('Empty')\n")
    peer, peer_address, _ = serve(empty, folder / "peer")
    ours, our_address, started = serve(PROJECT / "app.py", folder / "ws")
    print(f"server healthy after {started:.1f} s")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            began = time.monotonic()
            paint_ms(browser, our_address)
            print(f"very first page, everything cold: {time.monotonic() - began:.1f} s")
            paint_ms(browser, peer_address)
            print(f"{'page':<12} {'ours ms':>8} {'empty ms':>9} {'ratio':>6} {'seen':>6} {'empty':>6} {'ratio':>6}")
            for name in PAGES:
                pairs = [
                    (paint_ms(browser, f"{our_address}/{name}"), paint_ms(browser, peer_address)) for _ in range(ROUNDS)
                ]
                columns = [statistics.median(pair[side][by] for pair in pairs) for by in (0, 1) for side in (0, 1)]
                mine, theirs, seen, others = columns
                words = f"{mine:8.0f} {theirs:9.0f} {mine / theirs:6.2f} {seen:6.0f} {others:6.0f} {seen / others:6.2f}"
                print(f"{name or 'overview':<12} {words}", flush=True)
            browser.close()
    finally:
        for server in (peer, ours):
            server.terminate()
            server.wait(timeout=30)


def measure_reruns(folder: Path) -> None:
    from streamlit.testing.v1 import AppTest

    os.environ["LIMIT_HOME"] = str(Workspace(folder / "ws").make().root)
    print(f"{'page':<12} {'rerun ms':>8}")
    for name in PAGES:
        app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=120).run()
        if name:
            app.switch_page(f"pages/{name}.py").run()
        times = []
        for _ in range(ROUNDS):
            began = time.monotonic()
            app.run()
            times.append((time.monotonic() - began) * 1000)
        print(f"{name or 'overview':<12} {statistics.median(times):8.0f}")


class Filters:
    """A page at size whose filters are changed one by one; prints what each rerun takes."""

    def __init__(self, folder: Path) -> None:
        from streamlit.testing.v1 import AppTest

        os.environ["LIMIT_HOME"] = str(folder)
        self.app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=600).run()
        print(f"{'filter':<44} {'cpu ms':>7} {'wall ms':>8}")

    def open(self, page: str) -> None:
        """Go to a page and draw it once."""
        self.app.switch_page(f"pages/{page}.py").run()
        self.app.run()

    def change(self, name: str, key: str, value: Any, kind: str = "selectbox") -> None:
        """Give a widget a value and time the rerun."""
        getattr(self.app, kind)(key=key).set_value(value)
        busy, began = time.process_time(), time.monotonic()
        self.app.run()
        taken = 1000 * (time.process_time() - busy), 1000 * (time.monotonic() - began)
        failed = "  FAILED" if self.app.exception else ""
        print(f"{name:<44} {taken[0]:7.0f} {taken[1]:8.0f}{failed}", flush=True)


def measure_filters(folder: Path) -> None:
    from tests.bench.bench_store import fill

    ws = Workspace(folder)
    if not ws.runs.exists():
        fill(ws.make())
    at = Filters(folder)
    at.app.run()
    models = list(at.app.multiselect(key="models").options)
    shown = list(at.app.multiselect(key="models").value)
    at.change("overview: one model less", "models", shown[:-1], "multiselect")
    at.change("overview: one model more", "models", [*shown[:-1], models[77]], "multiselect")
    at.change("overview: twelve other models", "models", models[100:112], "multiselect")
    at.change("overview: another study", "study", "The LIMIT paper")
    at.open("compare")
    mine = next(name for name in at.app.selectbox(key="study").options if name.endswith("your runs"))
    at.change("compare: another study", "study", mine)
    at.change("compare: twelve other models", "models", models[40:52], "multiselect")
    at.change("compare: limit curve of the average", "view", "limit curve", "button_group")
    for measure in ("preference", CORE[0], CORE[4]):
        at.change(f"compare: limit curve of {measure}", "measure", measure)
    at.change("compare: is it real?", "view", "is it real?", "button_group")
    for key, place in (("a", 5), ("a", 60), ("b", 90)):
        at.change(f"compare: another pair ({key})", key, at.app.selectbox(key=key).options[place])
    at.change("compare: drill down", "view", "drill down", "button_group")
    at.change("compare: another pair's items", "a", at.app.selectbox(key="a").options[15])
    at.change("compare: another category", "category", "Reading comprehension")
    at.change("compare: other flips", "flip", "both wrong")
    at.open("present")
    at.change("present: another study's suggestions", "study", mine)
    at.open("preferences")
    at.change("preferences: the paper", "view", "The paper", "button_group")
    at.change("preferences: one's own", "view", "Your comparisons", "button_group")
    at.open("gauntlet")
    at.change("gauntlet: another rule", "rule", "acc", "button_group")
    at.change("gauntlet: another category", "category", at.app.selectbox(key="category").options[2])
    at.open("mix")
    at.change("mix: another preset", "preset", at.app.selectbox(key="preset").options[1])
    at.open("launch")
    at.change("launch: another schedule", "launch-tiny-schedule", "constant")
    at.change("launch: a study", "what", "a study", "button_group")
    at.change("launch: another study", "plan", at.app.selectbox(key="plan").options[1])


def main(kept: str | None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        if CHROMIUM:
            measure_paint(Path(scratch))
        else:
            print("chromium is missing: paint not measured")
        measure_reruns(Path(scratch))
        measure_filters(Path(kept) if kept else Path(scratch) / "large")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
