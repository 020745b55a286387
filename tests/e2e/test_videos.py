"""Videos arrive once, under URLs of their own, whatever happens; what is none is named and asks for no grant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from rfbulk import Client, UploadOptions
from rfbulk.core.model import RefusalReason
from rfbulk.emulator import Emulator, EmulatorOptions
from rfbulk.errors import UsageError
from rfbulk.events import Event, ShardSent, UploadProgress, Warned
from tests.crash.commands import hashes_of
from tests.support.clips import write_clips

pytestmark = pytest.mark.anyio
CLIPS = 24


def options(**values: Any) -> UploadOptions:
    return UploadOptions(quiet_seconds=0.05, **values)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips", CLIPS)


async def test_every_video_arrives_once_and_is_compared(client: Client, emulator: Emulator, clips: Path) -> None:
    report = await client.upload_videos(clips, "films", options=options())
    assert (report.sent, report.is_confirmed, report.unverified_shards, report.unused_grants) == (CLIPS, True, 0, 0)
    assert (report.content, report.closes) == ("videos", True)
    ledger = emulator.ledger("films")
    assert ledger.hashes == hashes_of(clips)
    assert "night__clip-0002.mkv" in ledger.names
    again = await client.upload_videos(clips, "films", options=options())
    assert (again.sent, again.already_sent) == (CLIPS, CLIPS)
    assert emulator.ledger("films").hashes == hashes_of(clips)


def larger_than(folder: Path, size: int) -> list[Path]:
    return [path for path in folder.rglob("*.*") if path.stat().st_size > size]


FAULTS = [
    "put:swallow,times=3",
    "put:reset,after-bytes=5000,times=3",
    "put:status=503,times=4",
    "put:corrupt,times=2,keep=false",
    "put:status=403",
    "video:status=503,times=3",
    "video:swallow,times=2",
    "put:stall,seconds=0,times=2",
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_goes_wrong_each_video_arrives_once(
    client: Client, emulator: Emulator, clips: Path, fault: str
) -> None:
    emulator.faults.add(fault)
    report = await client.upload_videos(clips, "films", options=options())
    assert (report.sent, report.is_confirmed, report.closes) == (CLIPS, True, True)
    assert emulator.ledger("films").hashes == hashes_of(clips)


async def test_what_is_no_video_is_named_and_asks_for_no_grant(client: Client, emulator: Emulator, clips: Path) -> None:
    for name, content in (("text.mp4", b"no video at all"), ("zeros.mkv", b"\0" * 5000), ("empty.avi", b"")):
        await anyio.Path(clips / name).write_bytes(content)
    await anyio.Path(clips / "other.ts").write_bytes(b"G" * 400)
    await anyio.Path(clips / "notes.txt").write_bytes(b"notes")
    report = await client.upload_videos(clips, "films", options=options())
    named = {Path(failure.path).name: failure.reason for failure in report.failures}
    assert named == {
        "text.mp4": RefusalReason.NO_VIDEO,
        "zeros.mkv": RefusalReason.NO_VIDEO,
        "empty.avi": RefusalReason.EMPTY,
        "other.ts": RefusalReason.UNSUPPORTED_VIDEO,
    }
    assert (report.sent, report.quarantined, report.skipped, report.closes) == (CLIPS, 2, 1, True)
    assert report.unused_grants == 0
    assert emulator.ledger("films").names.total() == CLIPS


async def test_a_video_that_changes_while_it_is_sent_is_not_finished(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    clips = write_clips(tmp_path / "one", 1, size=2 << 20)
    (clip,) = clips.iterdir()
    changed = False

    def on_event(event: Event) -> None:
        nonlocal changed
        if not changed and isinstance(event, UploadProgress) and event.bytes_on_the_wire:
            changed = True
            clip.write_bytes(clip.read_bytes()[:-1] + b"!")

    report = await client.upload_videos(clips, "films", options=options(limit_rate=1 << 20), on_event=on_event)
    assert changed
    assert report.retries["source changed"] == 1
    assert emulator.ledger("films").hashes == hashes_of(clips)


@pytest.mark.parametrize("options_", [EmulatorOptions(max_shard_bytes=15_000)])
async def test_a_video_that_no_grant_holds_is_named(tmp_path: Path, clips: Path, options_: EmulatorOptions) -> None:
    async with Emulator(options_) as emulator, Client(emulator.api_key, api_url=emulator.url) as client:
        report = await client.upload_videos(clips, "films", options=options())
        large = len(larger_than(clips, 15_000))
        assert large
        assert [failure.reason for failure in report.failures] == [RefusalReason.TOO_LARGE] * large
        assert emulator.ledger("films").names.total() == CLIPS - large


async def test_images_and_videos_do_not_meet_in_a_batch(client: Client, clips: Path, tmp_path: Path) -> None:
    await client.upload_videos(clips, "films", options=options())
    with pytest.raises(UsageError, match="holds videos"):
        await client.upload_images(Path(__file__).parent, "films", options=options(include=("none",)))


@pytest.mark.slow
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_a_batch_of_more_than_a_thousand_is_hinted_at_and_many_go_at_once(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    events: list[Event] = []
    clips = write_clips(tmp_path / "many", 1001, size=60)
    report = await client.upload_videos(clips, "films", options=options(), on_event=events.append)
    assert report.sent == 1001
    assert [event.text for event in events if isinstance(event, Warned) and "1,000 videos" in event.text]
    assert sum(isinstance(event, ShardSent) for event in events) == 1001
    assert emulator.ledger("films").names.total() == 1001
