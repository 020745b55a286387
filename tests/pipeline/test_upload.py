"""Whole uploads over fakes: every end of one, every crash of one, and books that close after each."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfbulk.core.model import Refusal, RefusalReason
from rfbulk.core.report import UploadReport
from rfbulk.core.transfer import ShardState
from rfbulk.errors import (
    NoRoom,
    NotAuthorised,
    RfbulkError,
    SourceError,
    TransferFailed,
    TroublePassing,
    UsageError,
)
from rfbulk.events import (
    ConfirmProgress,
    Event,
    FileNamed,
    PhaseChanged,
    ShardSent,
    TransferEnded,
    UploadProgress,
    Warned,
)
from rfbulk.pipeline.endings import gravest
from tests.pipeline.conftest import MakeWorld
from tests.support.fakes import (
    BUSY,
    CUT,
    DAMAGED,
    EXPIRED,
    FORBIDDEN,
    GOOD,
    LOST,
    MAYBE,
    REFUSED,
    TOO_LARGE,
    Act,
    FakeSource,
)
from tests.support.world import MEMORY, WRITES, Crash, Interruption, World

pytestmark = pytest.mark.anyio
CHANGED = Act(changed={0: RefusalReason.CHANGED})


def everything(world: World) -> Counter[str]:
    """Each file of the source once."""
    return Counter(world.source.entry(path).name for path in world.source.files)


# the straight way


async def test_every_image_arrives_once_and_is_confirmed(world: World) -> None:
    report = await world.upload()
    assert everything(world) == world.service.ledger
    assert (report.planned, report.sent, report.shards_sent, report.indexed) == (6, 6, 3, 6)
    assert report.is_confirmed
    assert report.closes
    assert not report.has_failures


async def test_phases_and_progress_are_told(world: World) -> None:
    await world.upload()
    phases = [event.phase for event in world.events if isinstance(event, PhaseChanged)]
    assert phases == ["scanning", "sending", "confirming", "done"]
    last = [event for event in world.events if isinstance(event, UploadProgress)][-1]
    assert (last.images_planned, last.images_sent, last.shards_in_flight, last.bytes_in_flight) == (6, 6, 0, 0)
    assert sum(job.tar_bytes for job in world.sender.jobs) == last.bytes_on_the_wire
    assert len([event for event in world.events if isinstance(event, ShardSent)]) == 3


async def test_the_first_shard_is_on_the_wire_before_the_scan_ends(make_world: MakeWorld) -> None:
    world = make_world(6, group_size=2)
    sent_before_group: list[int] = []

    def wait_for_the_line() -> None:
        while len(world.sender.jobs) < len(sent_before_group) - 1:
            anyio.from_thread.run(anyio.lowlevel.checkpoint)
        sent_before_group.append(len(world.sender.jobs))

    world.source.before_group = wait_for_the_line
    await world.upload()
    assert len(sent_before_group) == 3
    assert sent_before_group[-1] >= 1


async def test_the_same_again_sends_nothing(world: World) -> None:
    await world.upload()
    await world.restart()
    report = await world.upload()
    assert len(world.sender.jobs) == 3
    assert (report.planned, report.sent, report.already_sent, report.is_confirmed) == (6, 6, 6, True)


async def test_new_files_are_added_to_what_is_there(world: World) -> None:
    await world.upload()
    await world.restart()
    world.source.files[b"new.png"] = (100, 1)
    report = await world.upload()
    assert everything(world) == world.service.ledger
    assert (report.planned, report.sent, report.is_confirmed) == (7, 7, True)


async def test_a_changed_file_is_named_and_left_alone(world: World) -> None:
    await world.upload()
    await world.restart()
    world.source.change("001.png")
    report = await world.upload()
    assert (report.planned, report.sent, report.changed, report.closes) == (6, 6, 1, True)
    assert [(one.reason, one.path) for one in report.failures] == [(RefusalReason.CHANGED, "/source/001.png")]


async def test_refused_and_skipped_files_are_counted_apart_from_the_books(world: World) -> None:
    world.source.refusals = [Refusal(0, b"a.gif", RefusalReason.UNSUPPORTED_IMAGE)]
    world.source.refusals += [Refusal(0, b"notes.txt", RefusalReason.NOT_AN_IMAGE)]
    report = await world.upload()
    assert (report.planned, report.refused, report.skipped, report.closes) == (6, 1, 1, True)
    assert report.skipped_examples == ["/source/notes.txt"]
    named = [event.failure.path for event in world.events if isinstance(event, FileNamed)]
    assert named == ["/source/a.gif"]


async def test_without_waiting_nothing_is_confirmed(world: World) -> None:
    report = await world.upload(wait=False)
    assert (report.sent, report.is_confirmed, report.indexed) == (6, False, None)


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 3, None])
async def test_no_shard_is_carried_twice_at_once_while_others_are_split(
    make_world: MakeWorld, concurrency: int | None
) -> None:
    world = make_world(24, group_size=4)
    world.sender.seconds = 1.0
    world.sender.script.extend([TOO_LARGE, GOOD, BUSY, TOO_LARGE, CHANGED, FORBIDDEN] * 2)
    report = await world.upload(concurrency=concurrency, shard_images=4)
    assert everything(world) == world.service.ledger
    assert (report.planned, report.sent, report.closes) == (24, 24, True)


async def test_a_checkpoint_that_answers_late_loses_no_shard_planned_meanwhile(make_world: MakeWorld) -> None:
    """That nothing is pending must not be concluded from an answer older than the end of the scan."""
    world = make_world(6, group_size=2)

    async def until_the_scan_has_ended() -> None:
        while "scan-finished" not in world.reached:
            await anyio.lowlevel.checkpoint()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()

    world.late["pending_after"] = until_the_scan_has_ended
    report = await world.upload()
    assert (report.sent, report.left) == (6, 0)


# ends


async def test_an_empty_selection_is_an_error(make_world: MakeWorld) -> None:
    world = make_world(0)
    with pytest.raises(UsageError, match="it holds no image") as caught:
        await world.upload()
    assert caught.value.report is not None
    assert caught.value.report.closes


async def test_a_source_of_unfit_files_alone_is_an_error_that_counts_them(make_world: MakeWorld) -> None:
    world = make_world(0)
    world.source.refusals = [Refusal(0, b"a.gif", RefusalReason.UNSUPPORTED_IMAGE)]
    with pytest.raises(UsageError, match="only 1 images that cannot be sent and 0 other files"):
        await world.upload()


async def test_a_batch_that_is_gone_is_found_before_anything_is_sent(world: World) -> None:
    await world.upload()
    await world.restart()
    world.service.exists = False
    world.source.files[b"new.png"] = (100, 1)
    with pytest.raises(UsageError, match="does not know it any more") as caught:
        await world.upload()
    assert len(world.sender.jobs) == 3
    assert caught.value.report is not None
    assert (caught.value.report.planned, caught.value.report.closes) == (6, True)


async def test_a_batch_of_single_uploads_is_refused(world: World) -> None:
    world.service.exists, world.service.batch_type = True, "simple-batch"
    with pytest.raises(UsageError, match="filled by single uploads"):
        await world.upload()
    assert world.sender.jobs == []


async def test_a_batch_of_somebody_else_is_added_to_with_a_warning(world: World) -> None:
    world.service.exists, world.service.others = True, ["other.png"]
    report = await world.upload()
    assert (report.sent, report.indexed, report.is_confirmed) == (6, 6, True)
    assert any("exists already" in event.text for event in world.events if isinstance(event, Warned))


@pytest.mark.parametrize(
    "trouble",
    [SourceError("read", "the source"), NoRoom("write", "the checkpoint"), ValueError("a defect")],
    ids=["ours", "no room", "a defect"],
)
async def test_an_error_of_the_scan_comes_out_as_itself(world: World, trouble: Exception) -> None:
    world.source.trouble = trouble
    trouble.__cause__ = OSError("the disk")
    with pytest.raises(type(trouble)) as caught:
        await world.upload()
    assert caught.value is trouble
    assert isinstance(caught.value.__cause__, OSError)


async def test_an_error_in_the_midst_carries_a_report_that_closes(world: World) -> None:
    world.sender.script.extend([GOOD, *[CUT] * 100])
    with pytest.raises(TroublePassing) as caught:
        await world.upload()
    report = caught.value.report
    assert report is not None
    assert (report.planned, report.sent, report.left, report.closes) == (6, 2, 4, True)


async def test_an_error_is_not_hidden_by_a_checkpoint_that_fails_next(world: World) -> None:
    world.service.troubles["batch"] = deque([NotAuthorised("look at", "batch")])
    strike = _raise(NoRoom("write", "the checkpoint"))
    world.interruption = Interruption(2, of=frozenset({"totals"}), strike=strike)
    with pytest.raises(NotAuthorised) as caught:
        await world.upload()
    assert caught.value.report is None


async def test_a_listener_that_raises_ends_the_upload_with_its_own_error(world: World) -> None:
    def listen(event: Event) -> None:
        if event == PhaseChanged("sending"):
            raise LookupError

    world.listener = listen
    with pytest.raises(LookupError):
        await world.upload()


def test_what_is_not_ours_hides_behind_nothing() -> None:
    ours, defect, end = NoRoom("write"), ValueError(), KeyboardInterrupt()
    inner = ExceptionGroup("", [ours, defect])
    assert gravest(ExceptionGroup("", [ours, NoRoom("write")])) is ours
    assert gravest(ExceptionGroup("", [ours, inner])) is defect
    assert gravest(BaseExceptionGroup("", [inner, end])) is end


@pytest.mark.parametrize(("most", "ends"), [(0, True), (1, True), (2, False), (None, False)])
async def test_more_failures_than_are_borne_end_the_upload(world: World, most: int | None, ends: bool) -> None:
    world.sender.script.append(REFUSED)
    if not ends:
        assert (await world.upload(max_failures=most)).failed == 2
        return
    with pytest.raises(TransferFailed, match="2 images have failed") as caught:
        await world.upload(max_failures=most)
    report = caught.value.report
    assert report is not None
    assert (report.planned, report.failed, report.sent + report.left, report.closes) == (6, 2, 4, True)


async def test_refused_files_count_as_failures_too(world: World) -> None:
    world.source.refusals = [Refusal(0, b"%d.gif" % number, RefusalReason.UNSUPPORTED_IMAGE) for number in range(3)]
    with pytest.raises(TransferFailed) as caught:
        await world.upload(max_failures=2)
    assert caught.value.report is not None
    assert caught.value.report.closes


async def test_what_the_store_refused_is_tried_again_by_the_next_run(world: World) -> None:
    world.sender.script.append(REFUSED)
    assert (await world.upload()).failed == 2
    await world.restart()
    report = await world.upload()
    assert (report.sent, report.failed, report.is_confirmed) == (6, 0, True)
    assert everything(world) == world.service.ledger


# stopping


async def test_a_stop_lets_shards_in_flight_finish_and_begins_no_other(world: World) -> None:
    stop = anyio.Event()
    world.sender.seconds = 3.0
    world.sender.script.append(Act(meanwhile=stop.set))
    report = await world.upload(stop=stop, grace_seconds=5.0)
    assert (report.planned, report.sent, report.left, report.closes) == (6, 2, 4, True)
    assert len(world.sender.jobs) == 1
    assert not report.is_confirmed


async def test_a_stop_ends_within_the_grace(world: World) -> None:
    stop = anyio.Event()
    world.sender.script.append(dataclasses.replace(BUSY, retry_after=50.0, meanwhile=stop.set))
    report = await world.upload(stop=stop, grace_seconds=5.0)
    assert (report.sent, report.left, report.closes) == (0, 6, True)
    assert world.clock.now <= 1005.5
    await world.restart()
    assert (await world.upload()).sent == 6
    assert everything(world) == world.service.ledger


async def test_a_stop_before_the_first_shard_is_no_empty_selection(world: World) -> None:
    stop = anyio.Event()
    stop.set()
    report = await world.upload(stop=stop)
    assert (report.planned, report.sent, report.closes) == (0, 0, True)
    assert world.sender.jobs == []


async def test_a_stop_while_the_scan_has_found_nothing_yet_is_no_empty_selection(world: World) -> None:
    stop = anyio.Event()
    world.source.before_group = lambda: anyio.from_thread.run_sync(stop.set)
    report = await world.upload(stop=stop)
    assert report.sent == 0
    assert report.closes


async def test_a_stop_before_a_resume_reports_what_earlier_runs_did(world: World) -> None:
    await world.upload()
    await world.restart()
    stop = anyio.Event()
    stop.set()
    report = await world.upload(stop=stop)
    assert (report.planned, report.sent, report.closes) == (6, 6, True)


@pytest.mark.parametrize("phase", ["batch", "count", "shards"])
async def test_a_stop_ends_the_waiting_for_the_service(world: World, phase: str) -> None:
    """Confirming may take two hours: who asks to stop must not be made to wait for it."""
    stop = anyio.Event()
    troubles = [TroublePassing(phase, status=503, retry_after=50.0) for _ in range(20)]
    world.service.troubles[phase] = deque(troubles)
    world.interruption = Interruption(2, of=frozenset({phase}), strike=stop.set)
    report = await world.upload(stop=stop)
    assert report.closes
    assert not report.is_confirmed
    assert world.clock.now <= 1000.0 + 2 * 50.0


async def test_a_stop_ends_confirming_at_once(world: World) -> None:
    stop = anyio.Event()
    world.service.indexing_seconds = 500.0
    world.interruption = Interruption(3, of=frozenset({"shards"}), strike=stop.set)
    report = await world.upload(stop=stop)
    assert (report.sent, report.is_confirmed, report.closes) == (6, False, True)
    assert world.clock.now < 1100.0
    told = [each for each in world.events if not isinstance(each, UploadProgress | TransferEnded)]
    assert isinstance(told[-1], ConfirmProgress)


async def test_a_stop_ends_the_deciding_of_what_is_unsure(world: World) -> None:
    stop = anyio.Event()
    world.sender.script.extend([LOST, EXPIRED])
    world.interruption = Interruption(3, of=frozenset({"shards"}), strike=stop.set)
    report = await world.upload(stop=stop)
    assert (report.sent, report.left, report.shards_unsure, report.closes) == (4, 2, 1, True)
    assert world.clock.now < 1100.0


# crashes


async def test_an_image_quarantined_at_the_beginning_of_a_resume_is_planned_once(make_world: MakeWorld) -> None:
    """The scan looks at what is known before sending changes it: found as new, it would stand in the books twice."""
    world = make_world({"a.png": 100, "large.png": 9000})
    world.service.troubles["grant"] = deque([NotAuthorised("ask for", "a grant")])
    with pytest.raises(NotAuthorised):
        await world.upload()
    await world.restart()
    world.service.max_bytes = 4096

    def wait_for_the_line() -> None:
        deadline = time.monotonic() + 0.05
        while not world.sender.jobs and time.monotonic() < deadline:
            time.sleep(0.001)

    world.before_known = wait_for_the_line  # a thread that is slow to begin
    report = await world.upload()
    assert (report.planned, report.sent, report.quarantined, report.closes) == (2, 1, 1, True)


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["instead of", "after"])
@pytest.mark.parametrize(
    "script",
    [[], [LOST, GOOD, DAMAGED], [CHANGED, TOO_LARGE, FORBIDDEN, CUT], [MAYBE, EXPIRED]],
    ids=["plain", "answers", "members", "unsure"],
)
async def test_any_prefix_of_the_commits_resumes_to_the_same_end(
    make_world: MakeWorld, script: list[Act], after: bool
) -> None:
    number, has_crashed = 0, True
    while has_crashed:
        number += 1
        world = make_world(3)
        world.sender.script.extend(script)
        has_crashed = await _crashed_at(world, number, after=after)
        await world.restart()
        world.sender.script.clear()
        report = await world.upload()
        assert everything(world) == world.service.ledger, f"dead at commit {number}"
        assert (report.planned, report.sent, report.is_confirmed, report.closes) == (3, 3, True, True)
    assert number > 10


async def _crashed_at(world: World, number: int, *, after: bool) -> bool:
    world.interruption = Interruption(number, after=after, of=WRITES)
    world.interruption.strike = world.interruption.crash
    try:
        await world.upload()
    except Crash:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("once_only", [False, True], ids=["again", "once only"])
async def test_a_crash_around_a_damaged_copy_never_doubles(make_world: MakeWorld, once_only: bool) -> None:
    """Killed between the answer and its record, a 412 later cannot tell a damaged copy: it is told as unverified."""
    number, has_crashed = 0, True
    while has_crashed:
        number += 1
        world = make_world(2)
        world.service.once_only = once_only
        world.sender.script.append(DAMAGED)
        has_crashed = await _crashed_at(world, number, after=False)
        has_damaged = bool(world.service.objects)
        await world.restart()
        world.sender.script.clear()
        report = await world.upload(wait=False)
        assert len(world.service.objects) == 1
        assert report.closes
        if once_only and has_damaged:
            assert report.failed == 2 or report.unverified_shards == 1
        elif has_damaged or not has_crashed:
            assert (report.sent, report.unverified_shards) == (2, 0)


async def test_killed_in_doubt_a_shard_whose_grant_ends_is_looked_up(world: World) -> None:
    """The bytes may have arrived before the process died, so no second grant is asked for."""
    world.sender.script.append(Act(meanwhile=_raise(Crash())))
    with pytest.raises(Crash):
        await world.upload()
    await world.restart()
    world.clock.now += 4000.0
    report = await world.upload()
    assert everything(world) == world.service.ledger
    assert report.retries["unsure"] == 1


# the books


ACTS = [GOOD, LOST, CUT, BUSY, MAYBE, DAMAGED, FORBIDDEN, REFUSED, TOO_LARGE, EXPIRED, CHANGED]
ACTS += [Act(changed={0: RefusalReason.UNREADABLE}), dataclasses.replace(BUSY, retry_after=70.0)]


@dataclasses.dataclass(frozen=True)
class Story:
    """Runs of one upload: what each attempt comes to, when the process dies, how the service behaves."""

    scripts: list[list[Act]]
    crashes: list[int]
    once_only: bool
    max_bytes: int | None
    lifetime: float
    concurrency: int | None
    wait: bool


stories = st.builds(
    Story,
    scripts=st.lists(st.lists(st.sampled_from(ACTS), max_size=12), min_size=1, max_size=3),
    crashes=st.lists(st.integers(1, 60), max_size=3),
    once_only=st.booleans(),
    max_bytes=st.sampled_from([None, 4096, 3000]),
    lifetime=st.sampled_from([3600.0, 5.0]),
    concurrency=st.sampled_from([1, 2, None]),
    wait=st.booleans(),
)


@pytest.mark.slow
@given(story=stories)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_books_close_and_nothing_doubles_whatever_happens(story: Story) -> None:
    """A damaged or refused shard is named; all else is in the batch once, after as many runs as it takes."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as text:
        files = {f"{number}.png": 100 for number in range(5)}
        world = World(Path(text), FakeSource(files | {"large.png": 2000}, group_size=4))
        await anyio.to_thread.run_sync(world.open)
        try:
            await _live_through(world, story)
        finally:
            await anyio.to_thread.run_sync(world.close)


async def _live_through(world: World, story: Story) -> None:
    world.service.once_only, world.service.max_bytes = story.once_only, story.max_bytes
    world.service.lifetime = story.lifetime
    crashes = deque(story.crashes)
    for script in story.scripts:
        world.sender.script = deque(script)
        if crashes:
            world.interruption = Interruption(crashes.popleft(), of=WRITES)
            world.interruption.strike = world.interruption.crash
        await _run_and_check(world, story)
        await world.restart()
    world.sender.script.clear()
    world.service.lifetime = 3600.0
    report = await _run_and_check(world, story)
    assert report is not None
    named = {failure.name for failure in report.failures}
    for path in world.source.files:
        name = world.source.entry(path).name
        assert name in named or world.service.ledger[name] == 1, name
    assert report.left == 0


async def _run_and_check(world: World, story: Story) -> UploadReport | None:
    try:
        report = await world.upload(wait=story.wait, concurrency=story.concurrency, quiet_seconds=1.0)
    except Crash:
        return None
    except RfbulkError as error:
        report = error.report or UploadReport(batch_id="", planned=-1)
    assert report.closes, report
    totals = await world.inner.totals()
    live = frozenset(ShardState) - {ShardState.SPLIT}
    assert report.planned == totals.count(live) + report.quarantined
    assert max(world.service.ledger.values(), default=1) == 1
    return report


def _raise(error: BaseException) -> Callable[[], None]:
    def strike() -> None:
        raise error

    return strike
