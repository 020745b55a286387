"""A real browser, driven: Chromium without a window, the pages served in a thread of their own, and what axe says.

Where there is none, tests are skipped with the reason. `make browser` installs what it can; then nothing is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from rfbulk.dashboard.address import Address
from rfbulk.dashboard.chronicle import Chronicle
from rfbulk.dashboard.frames import Frames
from rfbulk.dashboard.picture import Painter
from rfbulk.dashboard.server import Site, serving
from rfbulk.events import Event
from tests.dashboard.histories import ABOUT

T = TypeVar("T")
IS_REQUIRED = os.environ.get("RFBULK_TEST_BROWSER") == "required"
AXE = Path(__file__).parents[2] / ".venv/browser/node_modules/axe-core/axe.min.js"
SHOTS = os.environ.get("RFBULK_SCREENSHOTS", "")
"""A folder to leave screenshots in, to be looked at."""

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --force-device-scale-factor=1 --hide-scrollbars"
)
LONGEST_SECONDS = 15.0


def missing(what: str) -> None:
    """Skip, saying what is missing; fail where all was to be there."""
    text = f"NOT TRIED IN A BROWSER: there is no {what}; `make browser` installs it where it can"
    if IS_REQUIRED:
        pytest.fail(text)
    pytest.skip(text)


@contextmanager
def started_browser() -> Iterator[Browser]:
    """Start a browser with an empty profile."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        missing("Chromium with its chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(program)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
            options.add_argument(flag)
        chrome = webdriver.Chrome(options=options, service=Service(str(driver)))
        try:
            yield Browser(chrome)
        finally:
            chrome.quit()


class Browser:
    """A browser's one page, in words of these tests."""

    def __init__(self, chrome: webdriver.Chrome) -> None:
        self.chrome = chrome

    def open(self, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Go to a page, in a window of this size and a scheme of colours, with an empty log."""
        self.media(scheme)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.chrome.get("about:blank")
        self.complaints()
        self.chrome.get(url)

    def media(self, scheme: str = "light", motion: str = "no-preference", kind: str = "") -> None:
        """Choose what the page is told of its reader."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": features})

    def ask(self, script: str, *values: Any) -> Any:
        """Return what an expression is in the page."""
        return self.chrome.execute_script(f"return ({script})", *values)

    def text(self, selector: str) -> str:
        """Return the text that is seen of the first element."""
        return " ".join(str(self.ask("document.querySelector(arguments[0])?.innerText ?? ''", selector)).split())

    def until(self, holds: Callable[[], T]) -> T:
        """Wait until something holds."""
        return WebDriverWait(self.chrome, LONGEST_SECONDS, poll_frequency=0.05).until(lambda _chrome: holds())

    def says(self, selector: str, words: str) -> bool:
        """Wait until an element says words."""
        return bool(self.until(lambda: words in self.text(selector)))

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, where the focus is."""
        for key in keys:
            self.chrome.switch_to.active_element.send_keys(key)

    def focus(self, selector: str) -> None:
        """Put the focus on an element."""
        self.ask("document.querySelector(arguments[0]).focus()", selector)

    def focused(self) -> str:
        """Tell what has the focus: its role or name, and its label."""
        script = (
            "(e => `${e.getAttribute('role') ?? e.localName}: ${e.getAttribute('aria-label') ?? e.innerText ?? ''}`)"
        )
        return str(self.ask(f"{script}(document.activeElement)"))

    def complaints(self) -> list[str]:
        """Return what the console says: errors, and what the policy of contents refused."""
        entries = self.chrome.get_log("browser")  # type: ignore[no-untyped-call]  # selenium leaves this one untyped
        return [str(entry["message"]) for entry in entries]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(self.ask("document.documentElement.scrollWidth - innerWidth"))

    def hosts(self) -> set[str]:
        """Return where all that the page loaded came from."""
        return set(self.ask("performance.getEntriesByType('resource').map(each => new URL(each.name).host)"))

    def violations(self) -> list[str]:
        """Return what axe finds wrong with the page for who sees, hears or moves otherwise."""
        if not AXE.exists():
            missing("axe-core")
        self.chrome.execute_script(AXE.read_text("utf-8"))
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        script = (
            "const done = arguments[1]; axe.run(document, {runOnly: arguments[0]})"
            ".then(found => done(found.violations), error => done([{id: String(error), nodes: []}]))"
        )
        self.chrome.set_script_timeout(LONGEST_SECONDS)
        found: list[dict[str, Any]] = self.chrome.execute_async_script(script, tags)
        return [f"{one['id']}: {json.dumps([node['html'][:200] for node in one['nodes'][:3]])}" for one in found]

    def shoot(self, name: str) -> None:
        """Leave a picture of the whole page, if they were asked for."""
        if SHOTS:
            height = int(self.ask("document.documentElement.scrollHeight"))
            width = int(self.ask("innerWidth"))
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self.chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            self.chrome.save_screenshot(str(Path(SHOTS, f"{name}.png")))


class Stage:
    """A chronicle that is served from a thread, as a command serves its own."""

    def __init__(
        self, chronicle: Chronicle | None = None, address: Address | None = None, site: Site | None = None
    ) -> None:
        self.chronicle = chronicle or Chronicle()
        self.site = site or Site(Frames(Painter(self.chronicle, ABOUT)))
        self._address = address or Address("127.0.0.1", 0)
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._url: Future[str] = Future()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Stage:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address to open."""
        return self._url.result(LONGEST_SECONDS)

    def close(self) -> None:
        """End as a command ends."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(LONGEST_SECONDS)
            self._loop.close()

    def tell(self, *events: Event, now: float = 20.0) -> None:
        """Tell the chronicle events, in its own loop."""

        def take() -> None:
            for event in events:
                self.chronicle.take(event, now)

        self.call(take)

    def call(self, work: Callable[[], None]) -> None:
        """Do something in the loop."""
        self._loop.call_soon_threadsafe(work)

    async def _serve(self) -> None:
        try:
            async with serving(self.site, self._address) as url:
                self._url.set_result(url)
                await self._over.wait()
        except BaseException as error:
            if not self._url.done():
                self._url.set_exception(error)
            raise


class Line:
    """A line to a port that can be cut, and mended: the browser comes through it at a port of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Line:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONGEST_SECONDS)
        self._loop.close()

    def mend(self) -> None:
        """Let connections through, at the same port again."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(LONGEST_SECONDS)

    def cut(self) -> None:
        """Break all connections, and take no new ones."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(LONGEST_SECONDS)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.sleep(0.05)  # what hangs on them ends

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, inner_writer]
        await asyncio.gather(_pour(reader, inner_writer), _pour(inner_reader, writer))


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
