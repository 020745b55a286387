"""The report: made from what is durable, and closing."""

from __future__ import annotations

import pytest

from rfbulk.core.model import Refusal, RefusalReason
from rfbulk.core.report import MAX_NAMED
from rfbulk.pipeline.bookkeeping import build_report
from rfbulk.pipeline.confirming import Confirmation
from rfbulk.pipeline.tally import Tally
from tests.pipeline.conftest import MakeWorld
from tests.support.fakes import EXPIRED, FORBIDDEN, LOST, REFUSED, TOO_LARGE, Act
from tests.support.world import BATCH, World

pytestmark = pytest.mark.anyio


async def test_every_image_stands_on_one_side(make_world: MakeWorld) -> None:
    """Of six shards one is refused, one in doubt, one loses a member, one is split, and one image is not taken in."""
    world = make_world(12)
    world.service.hidden = {"010.png"}
    world.sender.script.extend([REFUSED, LOST, EXPIRED, Act(changed={1: RefusalReason.UNREADABLE}), Act(), TOO_LARGE])
    report = await world.upload(on_unsure="skip")
    assert (report.planned, report.sent, report.quarantined, report.failed, report.left) == (12, 7, 1, 2, 2)
    assert (report.shards_failed, report.shards_unsure) == (1, 1)
    assert report.closes
    await world.restart()
    world.service.lifetime = 3600.0
    report = await world.upload()
    assert (report.planned, report.sent, report.failed, report.left, report.closes) == (12, 11, 1, 0, True)
    assert [failure.name for failure in report.failures] == ["010.png"]


async def test_a_file_is_named_once_though_scan_and_checkpoint_both_know_it(world: World) -> None:
    world.sender.script.append(REFUSED)
    report = await world.upload()
    assert sorted(failure.path for failure in report.failures) == ["/source/000.png", "/source/001.png"]


async def test_names_are_limited_and_counts_are_not(world: World) -> None:
    tally = Tally(world.events.append, 0.0, world.source.roots)
    for number in range(MAX_NAMED + 5):
        tally.name(Refusal(0, b"%d.gif" % number, RefusalReason.UNSUPPORTED_IMAGE))
    report = await build_report(world.ports(), tally, None, BATCH)
    assert (report.refused, len(report.failures)) == (MAX_NAMED + 5, MAX_NAMED)


async def test_what_was_granted_and_not_used_is_counted(world: World) -> None:
    world.sender.script.extend([FORBIDDEN, TOO_LARGE])
    report = await world.upload()
    assert (report.sent, report.unused_grants) == (6, 2)
    assert report.retries == {"forbidden": 1, "too large": 1}


async def test_what_the_service_said_is_in_the_report(world: World) -> None:
    tally = Tally(world.events.append, world.clock.monotonic(), world.source.roots)
    said = Confirmation(is_confirmed=False, images=4, extra=1, doubled=["a"], failed_shards=2, detail="why")
    report = await build_report(world.ports(), tally, said, BATCH)
    assert (report.indexed, report.extra, report.doubled, report.is_confirmed) == (4, 1, ["a"], False)
    assert (report.ingest_failed, report.ingest_detail) == (True, "why")


async def test_an_unfinished_upload_has_its_rest_left(world: World) -> None:
    await world.planned("000.png", "001.png")
    tally = Tally(world.events.append, 0.0, world.source.roots, images_planned=2)
    report = await build_report(world.ports(), tally, None, BATCH)
    assert (report.left, report.closes) == (2, True)


def test_paths_that_are_no_text_are_shown_escaped() -> None:
    tally = Tally(lambda _event: None, 0.0, (b"/source/", b"/other"))
    assert tally.shown_path(0, b"a\xff.png") == "/source/a\\xff.png"
    assert tally.shown_path(1, b"") == "/other"
