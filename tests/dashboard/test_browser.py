"""The pages as people meet them: in a real browser, by mouse, by keyboard, in the dark, on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

pytest.importorskip("selenium", reason="NOT TRIED IN A BROWSER: there is no selenium; `make browser` installs it")

from selenium.webdriver.common.keys import Keys

from rfbulk.core.report import UploadReport
from rfbulk.dashboard.address import Address
from rfbulk.dashboard.checkpoints import Shelf, cells_of, row_of
from rfbulk.dashboard.chronicle import Chronicle, Ending
from rfbulk.dashboard.frames import Frames
from rfbulk.dashboard.report import report_page
from rfbulk.dashboard.server import Site
from rfbulk.events import JobProgress, ShardChanged, UploadProgress
from tests.dashboard.histories import ABOUT, EVIL, MIB, SENDING, named, told, upload
from tests.support.browser import Browser, Line, Stage, started_browser

pytestmark = pytest.mark.slow
WIDTHS = [360, 768, 1280, 1920]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with started_browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """The browser; whatever a test did with it, the console has nothing to complain of."""
    yield chromium
    lost = "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "favicon.ico"
    assert [line for line in chromium.complaints() if not any(word in line for word in lost)] == []
    chromium.open("about:blank")


def busy() -> Chronicle:
    """A chronicle with something of everything."""
    chronicle = told(upload())
    for second in range(10, 120):
        progress = replace(
            SENDING,
            seconds=float(second),
            bytes_on_the_wire=second * 22 * MIB,
            images_sent=300 + second,
            shards_in_flight=2 + second % 5,
            retries={"store 503": second // 9, "connection": second // 30},
        )
        chronicle.take(progress, float(second))
    for number in range(40):
        chronicle.take(named(number), 119.0)
    chronicle.take(JobProgress("job-1", "running", "processing", 1, 2, 40, 12, 1, 4, 0.3, 90.0), 119.0)
    return chronicle


def ended() -> Chronicle:
    chronicle = busy()
    chronicle.report(
        UploadReport(batch_id="spring", planned=1000, sent=990, failed=10, is_confirmed=True, shards_sent=9)
    )
    chronicle.end(Ending(3, "finished, but some files failed", "the disk is full"), 121.0)
    return chronicle


def test_the_page_shows_what_was_told_and_asks_nobody_else(browser: Browser) -> None:
    with Stage(busy()) as stage:
        browser.open(stage.url)
        assert browser.says("#pill", "sending")
        assert browser.text("h1") == "upload images → batch spring"
        assert "419 of 1,000 images planned" in browser.text("#progress")
        assert "sent by earlier runs: 100" in browser.text("#progress")
        assert "store 503" in browser.text("#retries")
        assert "for a place: as many as may be are under way" in browser.text("#waits")
        assert "shard 4" in browser.text("#slowest")
        assert "processing (1 of 2)" in browser.text("#jobs")
        assert "10 shards" in browser.text("#map")
        assert {urlsplit(stage.url).netloc} == browser.hosts()
        browser.shoot("running-light")


def test_names_of_strangers_are_text(browser: Browser) -> None:
    with Stage(busy()) as stage:
        browser.open(stage.url)
        assert browser.says("#failures", "<img src=x onerror=alert(1)>\\u001b[31m\\u202egnp.jpg")
        assert browser.ask("document.images.length") == 0
        assert EVIL not in browser.ask("document.body.innerText")


def test_it_follows_and_hears_of_the_end(browser: Browser) -> None:
    with Stage() as stage:
        browser.open(stage.url)
        assert browser.says("#link", "live")
        assert "Nothing has been told yet." in browser.text("#progress")
        for now, event in upload():
            stage.tell(event, now=now)
        assert browser.says("#progress", "300 of 1,000 images planned")
        stage.tell(replace(SENDING, images_sent=999, seconds=11.0), now=11.0)
        assert browser.says("#progress", "999 of 1,000 images planned")
        stage.call(lambda: stage.chronicle.end(Ending(0, "done and confirmed"), 12.0))
    assert browser.says("#pill", "✔ done and confirmed")
    assert browser.says("#link", "this page stays as it is")
    assert browser.says("#live", "done and confirmed")
    assert "done and confirmed" in browser.chrome.title


def test_a_lost_line_is_told_and_found_again(browser: Browser) -> None:
    with Stage(busy()) as stage, Line(urlsplit(stage.url).port or 0) as line:
        browser.open(f"http://127.0.0.1:{line.port}/")
        assert browser.says("#link", "live")
        line.cut()
        assert browser.says("#link", "trying again")
        assert "What you see is what was last told" in browser.text("#notice")
        assert "419 of 1,000 images planned" in browser.text("#progress")
        stage.tell(replace(SENDING, images_sent=777, seconds=130.0), now=130.0)
        line.mend()
        assert browser.says("#link", "live")
        assert browser.says("#progress", "777 of 1,000 images planned")
        assert browser.text("#notice") == ""


def test_charts_and_map_are_read_by_keyboard(browser: Browser) -> None:
    with Stage(busy()) as stage:
        browser.open(stage.url)
        browser.says("#pill", "sending")
        browser.focus("#time svg")
        before = browser.ask("document.activeElement.getAttribute('aria-valuetext')")
        browser.press(Keys.HOME)
        first = browser.ask("document.activeElement.getAttribute('aria-valuetext')")
        assert re.match(r"0\.0 s to 0\.5 s: .*/s, .* images/s", first)
        assert first != before
        browser.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        assert browser.ask("document.activeElement.getAttribute('aria-valuenow')") == "2"
        assert browser.text("#time .readout").startswith("Here 1.0 s to 1.5 s:")
        browser.focus("#map svg")
        browser.press(Keys.ARROW_RIGHT)
        assert browser.text("#map .readout") == "shard 2: stored"
        browser.press(Keys.ARROW_RIGHT)
        assert browser.ask("document.activeElement.getAttribute('aria-valuetext')") == "shard 3: failed"


def test_everything_is_reached_by_tabs_and_the_focus_is_seen(browser: Browser) -> None:
    with Stage(busy()) as stage:
        browser.open(stage.url)
        browser.says("#pill", "sending")
        reached = []
        for _ in range(20):
            browser.chrome.switch_to.active_element.send_keys(Keys.TAB)
            reached.append(browser.focused())
            assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") != "none", reached[-1]
            if "Settings" in reached[-1]:
                break
        kinds = [each.partition(":")[0] for each in reached]
        assert kinds[0] == "a"
        assert kinds.count("slider") == 2
        assert {"button", "region", "summary", "pre"} <= set(kinds)


def test_failures_are_shown_by_reason_and_the_focus_stays(browser: Browser) -> None:
    with Stage(busy()) as stage:
        stage.tell(named(99, reason="damaged-image", path="/photos/broken.jpg"))  # type: ignore[arg-type]  # a reason's text
        browser.open(stage.url)
        browser.says("#failures", "damaged-image 1")
        browser.focus("#failures button[data-reason='damaged-image']")
        browser.press(Keys.SPACE)
        assert browser.says("#failures caption", "1 shown of 1")
        assert "/photos/broken.jpg" in browser.text("#failures tbody")
        stage.tell(named(100, path="/photos/late.jpg"))
        assert browser.says("#failures", "empty 42")
        assert browser.focused().startswith("button: damaged-image")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("is_over", [False, True], ids=["running", "ended"])
def test_nobody_is_shut_out(browser: Browser, scheme: str, is_over: bool) -> None:
    with Stage(ended() if is_over else busy()) as stage:
        browser.open(stage.url, scheme=scheme)
        browser.says("#pill", "failed" if is_over else "sending")
        assert browser.violations() == []
        browser.shoot(f"{'ended' if is_over else 'running'}-{scheme}")


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_phones_and_walls(browser: Browser, width: int) -> None:
    with Stage(busy()) as stage:
        stage.tell(*(ShardChanged(shard, "sent", 500, 1) for shard in range(1, 80_001, 9)))
        stage.tell(named(7, path="/photos/" + "long" * 80 + ".jpg"))
        browser.open(stage.url, width=width)
        assert browser.says("#map", "Each cell is 128 shards")
        assert browser.overflow() == 0
        browser.shoot(f"width-{width}")


def test_what_moves_is_still_for_who_asks_for_that(browser: Browser) -> None:
    with Stage(busy()) as stage:
        browser.open(stage.url)
        browser.says("#pill", "sending")
        assert browser.ask("getComputedStyle(document.querySelector('.bar span')).transitionDuration") == "0.3s"
        browser.media(motion="reduce")
        assert browser.ask("getComputedStyle(document.querySelector('.bar span')).transitionDuration") in {"0s", ""}


def test_the_token_is_taken_out_of_the_address(browser: Browser) -> None:
    with Stage(busy(), Address("0.0.0.0", 0)) as stage:  # noqa: S104 - so that a token is needed
        port, query = urlsplit(stage.url).port, urlsplit(stage.url).query
        browser.open(f"http://127.0.0.1:{port}/?{query}")
        assert browser.says("#pill", "sending")
        assert browser.chrome.current_url == f"http://127.0.0.1:{port}/"
        assert browser.ask("document.cookie") == ""
        browser.chrome.delete_all_cookies()
        browser.chrome.get(f"http://127.0.0.1:{port}/")
        assert "a token is needed" in browser.text("body")
        assert any("403" in line for line in browser.complaints())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_reads_well_without_network_or_script(
    browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report_page(ended(), ABOUT), "utf-8")
    browser.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.open(file.as_uri(), width=width, scheme=scheme)
    browser.chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "finished, but some files failed" in browser.text("header")
    assert browser.overflow() == 0
    assert browser.ask("document.scripts.length") == 0
    browser.shoot(f"report-{scheme}-{width}")
    browser.open(file.as_uri(), width=width, scheme=scheme)
    assert browser.violations() == []


def test_a_progress_of_long_ago_takes_no_longer_to_draw(browser: Browser) -> None:
    """Two days of history and a million shards, redrawn in less than a frame lasts."""
    chronicle = told(upload())
    for second in range(0, 172_800, 60):
        progress: UploadProgress = replace(SENDING, seconds=float(second), bytes_on_the_wire=second * MIB)
        chronicle.take(progress, float(second))
    for shard in range(1, 80_001):
        chronicle.take(ShardChanged(shard, "sent", 500, 1), 172_800.0)
    with Stage(chronicle) as stage:
        browser.open(stage.url, width=1920)
        browser.says("#pill", "sending")
        stage.tell(ShardChanged(5, "failed", 1, 1), now=172_801.0)
        assert browser.says("#map", "failed")
        assert "d" in browser.text("#time")
        browser.shoot("two-days")


SUMMARY: dict[str, Any] = {"kind": "upload", "holder": "", "modified": 1_800_000_000.0, "sources": ["/photos"]}


def shelf_of(*summaries: dict[str, Any]) -> tuple[Shelf, Site]:
    """A page of checkpoints, one of which has failures, and one a name that is not to be believed."""
    shelf = Shelf("1.2.3")
    shelf.put((row_of(SUMMARY | one, str(one["state"])) for one in summaries), 1_800_000_100.0)

    async def detail(name: str) -> dict[str, Any] | None:
        cells = [[cell, "sent", 1] for cell in range(90)] + [[90, "granted", 1], [91, "failed", 1]]
        found = {"shards": 92, "per_cell": 1, "cells": cells}
        files = [{"path": EVIL, "reason": "refused-by-service", "detail": "too blue"}]
        return found | {
            "map": cells_of(found, is_held=True),
            "files": files,
            "reasons": {"refused-by-service": 1},
            "checkpoint": name,
        }

    return shelf, Site(Frames(shelf), "checkpoints.html", detail)


def some() -> list[dict[str, Any]]:
    held = {
        "id": "autumn-1",
        "batch": "autumn",
        "state": "unfinished",
        "holder": "process 7 on here",
        "images_sent": 50,
    }
    return [
        held | {"images_left": 50, "bytes_sent": 5 * MIB, "scan_finished": True},
        {"id": "spring-1", "batch": "spring", "state": "confirmed", "images_sent": 1000, "failures": 3},
        {"id": "evil-1", "batch": EVIL, "state": "damaged", "error": "it is damaged or no checkpoint"},
        {"id": "results-1", "kind": "export", "batch": "results", "state": "here", "target": "/here", "files_here": 9},
    ]


def test_checkpoints_are_listed_and_one_of_them_is_opened(browser: Browser) -> None:
    _, site = shelf_of(*some())
    with Stage(site=site) as stage:
        browser.open(stage.url)
        assert browser.says("#summary", "4 checkpoints, 1 under way")
        assert "running" in browser.text("tbody tr:nth-child(1)")
        assert "\\u202egnp.jpg" in browser.text("tbody tr:nth-child(3)")
        browser.focus("tbody tr:nth-child(1) button")
        browser.press(Keys.ENTER)
        assert browser.says("#map", "92 shards")
        assert "upload into batch autumn: ● running" in browser.text("#h-one")
        assert "refused-by-service" in browser.text("#failures")
        assert browser.ask("document.activeElement.id") == "one"
        assert browser.chrome.current_url.endswith("#upload%3Aautumn-1")
        assert browser.ask("document.images.length") == 0
        browser.shoot("checkpoints-light")


def test_checkpoints_are_followed_and_kept_where_the_reader_is(browser: Browser) -> None:
    shelf, site = shelf_of(*some())
    with Stage(site=site) as stage:
        browser.open(stage.url)
        browser.says("#summary", "1 under way")
        browser.focus("tbody tr:nth-child(2) button")
        quiet = [row_of(SUMMARY | one | {"holder": ""}, str(one["state"])) for one in some()]
        stage.call(lambda: shelf.put(quiet, 1_800_000_200.0))
        assert browser.says("#summary", "0 under way")
        assert browser.says("#live", "nothing is under way")
        assert browser.focused().startswith("button: spring")
        browser.focus("#filters button[data-name='unfinished']")
        browser.press(Keys.SPACE)
        assert browser.says("#list caption", "1 shown")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_list_of_checkpoints_shuts_nobody_out(browser: Browser, scheme: str, width: int) -> None:
    _, site = shelf_of(*some())
    with Stage(site=site) as stage:
        browser.open(f"{stage.url}#upload%3Aautumn-1", scheme=scheme, width=width)
        assert browser.says("#map", "92 shards")
        assert browser.violations() == []
        assert browser.overflow() == 0
        browser.shoot(f"checkpoints-{scheme}-{width}")


def test_no_checkpoints_is_said(browser: Browser) -> None:
    _, site = shelf_of()
    with Stage(site=site) as stage:
        browser.open(stage.url)
        assert browser.says("#list", "Nothing has been uploaded")
