"""A real server and a real browser: the app on a free port of this machine, Debian's Chromium driven by Playwright.

A test that fails is reported with what its pages showed and with the end of the app's log.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from limit.settings import PROJECT, Workspace

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
START_LIMIT_S = 90
SHOWN_CHARS, LOG_LINES = 5000, 40
shown_at_failure: list[tuple[str, str]] = []  # address and text of pages that were closed while a test was failing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="chromium is not installed (apt-get install chromium)"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let a failure explain itself: what the pages showed, and what the app had to say."""
    report = yield
    arguments: dict[str, Any] = getattr(item, "funcargs", {})
    if report.failed:
        still_open = [entry for context in _contexts(arguments) for entry in texts_of(context)]
        for address, text in [*shown_at_failure, *still_open]:
            report.sections.append((f"shown at {address}", text[-SHOWN_CHARS:]))
        for app in (value for value in arguments.values() if isinstance(value, App)):
            lines = app.log.read_text(errors="replace").splitlines() if app.log.is_file() else []
            report.sections.append((f"log of the app on port {app.port}", "\n".join(lines[-LOG_LINES:])))
    if report.when == "call":
        shown_at_failure.clear()
    return report


def _contexts(arguments: dict[str, Any]) -> list[Any]:
    return list(getattr(arguments.get("browser"), "contexts", []))


def texts_of(context: Any) -> list[tuple[str, str]]:
    """Address and visible text of each page of a browser's context."""
    found = []
    for page in context.pages:
        try:
            found.append((str(page.url), str(page.locator("body").inner_text(timeout=5000))))
        except Exception as error:  # a page that is gone must not hide why the test failed
            found.append((str(page.url), f"cannot be read: {error}"))
    return found


def keep_what_is_shown(context_class: Any, patch: pytest.MonkeyPatch) -> None:
    """Note a context's pages when it is closed because a test fails: its `finally` closes them before the report."""
    close = context_class.close

    def closing(self: Any, **options: Any) -> None:
        if sys.exc_info()[0] is not None:
            shown_at_failure.extend(texts_of(self))
        close(self, **options)

    patch.setattr(context_class, "close", closing)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class App:
    """The running dashboard; `stop` and `start` again as a person would, on the same workspace and port."""

    ws: Workspace
    log: Path
    port: int = field(default_factory=free_port)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {**os.environ, "LIMIT_HOME": str(self.ws.root), **self.environment}
        words = [sys.executable, "-m", "streamlit", "run", str(PROJECT / "app.py"), "--server.headless", "true"]
        words += ["--server.port", str(self.port)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, cwd=PROJECT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.wait_until_healthy()

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise AssertionError(f"the app did not start; its log says: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=30)
            self.process = None


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The dashboard on an empty workspace of its own, shared by the tests of one file."""
    folder = tmp_path_factory.mktemp("app")
    running = App(Workspace(folder / "workspace").make(), folder / "app.log")
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """One headless Chromium for the session."""
    from playwright.sync_api import BrowserContext, sync_playwright

    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        keep_what_is_shown(BrowserContext, patch)
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()
