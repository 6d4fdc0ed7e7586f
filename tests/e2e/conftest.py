"""A real server and a real browser: the app on a free port of this machine, Debian's Chromium driven by Playwright.

Loading the app costs a browser without a GPU five seconds of a core and more where its scripts are not cached. So all
tests of a process share one browser context and one port; tests/e2e/visitor.py makes each visitor a stranger.
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
# The same without windows costs a quarter less, and one process for all addresses a tenth.
HEADLESS = shutil.which("chromium-headless-shell") or CHROMIUM
THRIFTY = [*FLAGS, "--disable-site-isolation-trials"]
START_LIMIT_S = 90
SHOWN_CHARS, LOG_LINES = 5000, 40
ports_used: list[int] = []


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
        for page in (page for context in _contexts(arguments) for page in context.pages):
            report.sections.append((f"shown at {page.url}", text_of(page)[-SHOWN_CHARS:]))
        for app in (value for value in arguments.values() if isinstance(value, App)):
            lines = app.log.read_text(errors="replace").splitlines() if app.log.is_file() else []
            report.sections.append((f"log of the app on port {app.port}", "\n".join(lines[-LOG_LINES:])))
    return report


def _contexts(arguments: dict[str, Any]) -> list[Any]:
    return list(getattr(arguments.get("browser"), "contexts", []))


def text_of(page: Any) -> str:
    """The visible text of a page."""
    try:
        return str(page.locator("body").inner_text(timeout=5000))
    except Exception as error:  # a page that is gone must not hide why the test failed
        return f"cannot be read: {error}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def usual_port() -> int:
    """The port of this process's apps, which run one after the other: what the browser has cached belongs to it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections to the app before may linger
        try:
            probe.bind(("127.0.0.1", ports_used[-1]))
        except (IndexError, OSError):  # the first app, or somebody took the port since
            ports_used.append(free_port())
    return ports_used[-1]


@dataclass
class App:
    """The running dashboard; `stop` and `start` again as a person would, on the same workspace and port."""

    ws: Workspace
    log: Path
    port: int = field(default_factory=usual_port)
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
def browser() -> Iterator[Any]:
    """One headless Chromium for the session."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=HEADLESS, args=THRIFTY)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def context(browser: Any) -> Any:
    """Where all pages are opened, so that the app's scripts are fetched once."""
    return browser.new_context()


@pytest.fixture(autouse=True)
def closed_pages(browser: Any, context: Any) -> Iterator[None]:
    """Close what a test opened once its failure has been reported; pages that several tests share stay."""
    shared = list(context.pages)
    yield
    for page in context.pages:
        if page not in shared:
            page.close()
    for other in browser.contexts:
        if other is not context:
            other.close()
