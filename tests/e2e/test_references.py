"""References, lists and queries fill a batch exactly once, however often they are said and whatever gets lost."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from rfbulk import Client, IngestOptions, IngestReport, RfbulkError
from rfbulk.core import references as limits
from rfbulk.emulator import Emulator
from rfbulk.errors import UsageError

pytestmark = pytest.mark.anyio
QUICK = IngestOptions(quiet_seconds=0.0)


def write_list(
    path: Path, count: int, *, start: int = 0, suffix: str = "png", query: str = "X-Goog-Signature=1"
) -> Path:
    rows = [
        {"name": f"{number}.{suffix}", "url": f"https://bucket.example/{number}?{query}"}
        for number in range(start, start + count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def names(count: int, suffix: str = "png") -> Counter[str]:
    return Counter(f"{number}.{suffix}" for number in range(count))


def options(**values: Any) -> IngestOptions:
    return IngestOptions(quiet_seconds=0.0, **values)


def books(report: IngestReport) -> tuple[int, int, int, int, int]:
    assert report.closes
    return report.planned, report.sent, report.left, report.requests, report.duplicated


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of a few references, so that short lists take several."""
    monkeypatch.setitem(limits.MAX_REFERENCES, "images", 20)


@pytest.mark.usefixtures("small_requests")
async def test_a_list_goes_in_requests_and_is_waited_for(client: Client, emulator: Emulator, tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.jsonl", 50)
    report = await client.ingest_references(path, "refs", "images", options=QUICK)
    assert books(report) == (50, 50, 0, 3, 0)
    assert (report.indexed, report.is_confirmed, report.shards) == (50, True, 3)
    assert emulator.ledger("refs").names == names(50)


@pytest.mark.usefixtures("small_requests")
async def test_said_again_nothing_is_asked_for_again(client: Client, emulator: Emulator, tmp_path: Path) -> None:
    """Also where the URLs were signed anew meanwhile."""
    await client.ingest_references(write_list(tmp_path / "list.jsonl", 50), "refs", "images", options=QUICK)
    write_list(tmp_path / "list.jsonl", 50, query="X-Goog-Signature=2")
    report = await client.ingest_references(tmp_path / "list.jsonl", "refs", "images", options=QUICK)
    assert books(report) == (50, 50, 0, 3, 0)
    assert report.already_sent == 50
    assert emulator.ledger("refs").names == names(50)


@pytest.mark.usefixtures("small_requests")
async def test_a_list_that_has_grown_brings_what_is_new(client: Client, emulator: Emulator, tmp_path: Path) -> None:
    await client.ingest_references(write_list(tmp_path / "list.jsonl", 50), "refs", "images", options=QUICK)
    report = await client.ingest_references(write_list(tmp_path / "list.jsonl", 55), "refs", "images", options=QUICK)
    assert books(report) == (55, 55, 0, 4, 0)
    assert emulator.ledger("refs").names == names(55)


@pytest.mark.usefixtures("small_requests")
async def test_without_its_checkpoint_an_ingest_is_known_again(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    path = write_list(tmp_path / "list.jsonl", 50)
    await client.ingest_references(path, "refs", "images", options=QUICK)
    again = await client.ingest_references(path, "refs", "images", options=options(restart=True))
    assert books(again) == (50, 50, 0, 3, 3)
    assert emulator.ledger("refs").names == names(50)


@pytest.mark.usefixtures("small_requests")
async def test_a_chosen_id_is_the_beginning_of_all(client: Client, tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.jsonl", 50)
    report = await client.ingest_references(path, "refs", "images", options=options(ingest_id="mine"))
    assert report.ingest_ids == ["mine", "mine-2", "mine-3"]


@pytest.mark.usefixtures("small_requests")
@pytest.mark.parametrize(
    "fault", ["references:swallow", "references:reset", "references:status=503", "references:stall,seconds=0"]
)
async def test_lost_answers_double_nothing(client: Client, emulator: Emulator, tmp_path: Path, fault: str) -> None:
    emulator.faults.add(f"{fault},times=2")
    report = await client.ingest_references(write_list(tmp_path / "l.jsonl", 50), "refs", "images", options=QUICK)
    assert report.sent == 50
    assert sum(report.retries.values()) == 2
    assert emulator.ledger("refs").names == names(50)


async def test_videos_need_no_shards(client: Client, emulator: Emulator, tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.jsonl", 12, suffix="mp4")
    report = await client.ingest_references(path, "films", "videos", options=QUICK)
    assert (report.sent, report.is_confirmed) == (12, True)
    assert emulator.ledger("films").names == names(12, "mp4")


async def test_a_query_is_asked_once(client: Client, emulator: Emulator) -> None:
    report = await client.ingest_query("tag:street", "query", options=QUICK)
    assert (report.is_confirmed, report.indexed, report.requests) == (True, 5, 1)
    again = await client.ingest_query("tag:street", "query", options=QUICK)
    assert (again.is_confirmed, again.indexed, again.requests) == (True, 5, 1)
    assert emulator.ledger("query").names.total() == 5


async def test_a_list_elsewhere_is_the_services_to_fetch(client: Client) -> None:
    """The emulator is offline, so that the ingest fails, which the report says."""
    url = "https://bucket.example/list.jsonl?X-Goog-Signature=canary"
    report = await client.ingest_references(url, "refs", "images", options=options(wait_seconds=5))
    assert (report.ingest_failed, report.requests) == (True, 1)
    assert "canary" not in repr(report)
    with pytest.raises(UsageError):
        await client.ingest_references("http://bucket.example/list.jsonl", "refs", "images")


async def test_what_is_wrong_with_a_file_is_told_before_anything_is_sent(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    path = write_list(tmp_path / "list.jsonl", 3)
    lines = path.read_text() + '{"name": "1.png", "url": "https://a.example/x?sig=canary"}\n{"name": "b"}\nnothing\n'
    path.write_text(
        lines + '{"name": "c/d.png", "url": "https://a.example/"}\n{"name": "e", "url": "http://a.example"}'
    )
    with pytest.raises(UsageError) as caught:
        await client.ingest_references(path, "refs", "images")
    text = str(caught.value)
    assert "5 of 8 lines" in text
    for told in (
        "line 4: its name stands in line 2",
        "line 5: ",
        "line 6: ",
        "line 7: ",
        "line 8: the URL is not https",
    ):
        assert told in text
    assert "canary" not in text
    assert emulator.ledger("refs").names == Counter()


async def test_a_batch_that_holds_something_else_is_refused(client: Client, emulator: Emulator, tmp_path: Path) -> None:
    path = write_list(tmp_path / "list.jsonl", 3)
    await client.ingest_references(path, "refs", "images", options=QUICK)
    with pytest.raises(UsageError, match="holds images"):
        await client.ingest_references(path, "refs", "videos", options=QUICK)


async def test_no_url_stays_behind(client: Client, emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.add("references:status=400")
    path = write_list(tmp_path / "list.jsonl", 3, query="X-Goog-Signature=canary")
    with pytest.raises(RfbulkError) as caught:
        await client.ingest_references(path, "refs", "images", options=QUICK)
    assert caught.value.ingest_report is not None
    assert (caught.value.ingest_report.left, caught.value.ingest_report.closes) == (3, True)
    await client.ingest_references(path, "refs", "images", options=QUICK)
    for left in (tmp_path / "state").rglob("*.sqlite*"):
        assert b"canary" not in left.read_bytes()


@pytest.mark.usefixtures("small_requests")
async def test_what_leaves_the_list_while_its_request_is_unanswered_is_named(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    """The request is made again under its name, with what is left of it."""
    emulator.faults.add("references:status=400,after=1")
    path = write_list(tmp_path / "list.jsonl", 50)
    with pytest.raises(RfbulkError):
        await client.ingest_references(path, "refs", "images", options=QUICK)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:30] + lines[40:]))
    report = await client.ingest_references(path, "refs", "images", options=QUICK)
    assert (report.planned, report.sent, report.failed, report.requests) == (50, 40, 10, 3)
    assert [failure.name for failure in report.failures] == [f"{number}.png" for number in range(30, 40)]
    assert emulator.ledger("refs").names.total() == 40
    path.write_text("".join(lines))
    report = await client.ingest_references(path, "refs", "images", options=QUICK)
    assert (report.planned, report.sent, report.failed) == (50, 50, 0)
    assert emulator.ledger("refs").names == names(50)


async def test_a_name_that_leads_elsewhere_now_is_told_and_not_asked_for(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    path = write_list(tmp_path / "list.jsonl", 3)
    await client.ingest_references(path, "refs", "images", options=QUICK)
    path.write_text(path.read_text().replace("bucket.example/1", "bucket.example/other"))
    report = await client.ingest_references(path, "refs", "images", options=QUICK)
    assert (report.sent, report.changed, report.has_failures) == (3, 1, True)
    assert emulator.ledger("refs").names == names(3)


@pytest.mark.usefixtures("small_requests")
@pytest.mark.parametrize("seconds", [0.005, 0.02, 0.05])
async def test_cancelled_anywhere_and_said_again_each_comes_once(
    client: Client, emulator: Emulator, tmp_path: Path, seconds: float
) -> None:
    path = write_list(tmp_path / "list.jsonl", 70)
    with anyio.move_on_after(seconds):
        await client.ingest_references(path, "refs", "images", options=QUICK)
    report = await client.ingest_references(path, "refs", "images", options=QUICK)
    assert (report.sent, report.is_confirmed) == (70, True)
    assert emulator.ledger("refs").names == names(70)


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_45000_references_repeat_without_doubling(client: Client, emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.add("references:swallow,after=1")
    path = write_list(tmp_path / "list.jsonl", 45_000)
    for _ in range(2):
        report = await client.ingest_references(path, "refs", "images", options=options(restart=True))
        assert (report.sent, report.requests, report.is_confirmed) == (45_000, 3, True)
    assert report.duplicated == 3
    ledger = emulator.ledger("refs")
    assert (len(ledger.names), ledger.names.total()) == (45_000, 45_000)


async def test_files_that_the_service_cannot_fetch_are_a_failed_ingest(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    path = write_list(tmp_path / "list.jsonl", 5)
    path.write_text(path.read_text().replace("bucket.example/3", "bucket.invalid/3"))
    report = await client.ingest_references(path, "refs", "images", options=QUICK)
    assert (report.sent, report.indexed, report.ingest_failed, report.is_confirmed) == (5, 4, True, False)
    assert report.ingest_detail == "1 of them are not counted; 3.png: the file could not be fetched"
    assert emulator.ledger("refs").failed == {"3.png": "the file could not be fetched"}


async def test_videos_that_are_never_counted_are_given_up_on(client: Client, tmp_path: Path) -> None:
    """Of videos there are no shards that could tell of them."""
    path = write_list(tmp_path / "list.jsonl", 5, suffix="mp4")
    path.write_text(path.read_text().replace("bucket.example/3", "bucket.invalid/3"))
    report = await client.ingest_references(path, "films", "videos", options=IngestOptions(quiet_seconds=0.01))
    assert (report.indexed, report.ingest_failed, report.ingest_detail) == (4, True, "1 of them are not counted")
