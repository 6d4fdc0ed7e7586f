"""First paint of each page beside an empty Streamlit app in one run, and the server time of a rerun.

    python -m tests.bench.bench_app

Paint: milliseconds from opening the address in a fresh browser context until the page's heading shows, median of
five interleaved rounds. Rerun: seconds of `AppTest.run()` after the first run, median of five.
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


def paint_ms(browser: Any, address: str) -> float:
    """Milliseconds until the first heading is visible."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    began = time.monotonic()
    page.goto(address)
    page.get_by_role("heading", level=1).first.wait_for(timeout=120_000)
    taken = (time.monotonic() - began) * 1000
    context.close()
    return taken


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
            print(f"{'page':<12} {'ours ms':>8} {'empty ms':>9} {'ratio':>6}")
            for name in PAGES:
                pairs = [
                    (paint_ms(browser, f"{our_address}/{name}"), paint_ms(browser, peer_address)) for _ in range(ROUNDS)
                ]
                mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
                print(f"{name or 'overview':<12} {mine:8.0f} {theirs:9.0f} {mine / theirs:6.2f}")
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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        if CHROMIUM:
            measure_paint(Path(scratch))
        else:
            print("chromium is missing: paint not measured")
        measure_reruns(Path(scratch))
