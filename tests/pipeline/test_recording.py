"""What has landed is durable on its disk before the checkpoint says so, some of it at a time, and none is lost."""

from __future__ import annotations

import anyio
import pytest
from msgspec.structs import replace

from rfbulk.core.exporting import Element, ElementState, Listed, Part
from rfbulk.core.fetching import Check, FetchKind, FetchOutcome, FetchResult, Fingerprint
from rfbulk.errors import NoRoom
from rfbulk.events import FilesFetched
from rfbulk.pipeline.export_tally import ExportTally
from rfbulk.pipeline.recording import MAX_UNRECORDED, RECORD_SECONDS, Recorder
from tests.support.export_world import ExportWorld
from tests.support.world import Interruption

pytestmark = pytest.mark.anyio
WHOLE = Part(0, "", "")
RESULT = FetchResult(FetchOutcome.FETCHED, 5, size=5, crc32c=1, check=Check.CRC32C, fingerprint=Fingerprint(5, 1, 2))


async def listed(world: ExportWorld, count: int) -> list[Element]:
    await world.inner.begin_run()
    files = [Listed("", f"{number}.jpg", FetchKind.PLAIN) for number in range(count)]
    return (await world.inner.take_page(WHOLE, files))[0]


def recorder_of(world: ExportWorld) -> tuple[Recorder, ExportTally]:
    tally = ExportTally(world.events.append, world.clock.monotonic())
    return Recorder(world.ports(), tally), tally


async def recorded(world: ExportWorld) -> int:
    return (await world.inner.totals([WHOLE])).states.get(ElementState.FETCHED, 0)


async def test_nothing_is_recorded_before_the_disk_has_it(exporting: ExportWorld) -> None:
    elements = await listed(exporting, 3)
    recorder, tally = recorder_of(exporting)
    await recorder.add_files([(element, RESULT) for element in elements])
    assert (await recorded(exporting), tally.fetched, tally.bytes_fetched) == (0, 3, 15)
    await recorder.flush()
    assert exporting.calls[-2:] == ["sync", "record_fetched"]
    assert await recorded(exporting) == 3
    assert exporting.events == [FilesFetched(3, 15)]


async def test_what_gathers_is_recorded_about_once_a_second(exporting: ExportWorld) -> None:
    elements = await listed(exporting, 3)
    recorder, _ = recorder_of(exporting)

    async def work() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recorder.run)
            for element in elements:
                await recorder.add_files([(element, RESULT)])
            await exporting.clock.sleep(2.5 * RECORD_SECONDS)
            tasks.cancel_scope.cancel()

    await exporting.clock.run(work)
    assert exporting.calls.count("sync") == 1
    assert await recorded(exporting) == 3


async def test_much_that_gathers_does_not_wait_for_the_second(exporting: ExportWorld) -> None:
    elements = await listed(exporting, 1)
    recorder, _ = recorder_of(exporting)
    await recorder.add_files([(elements[0], RESULT)] * MAX_UNRECORDED)
    assert await recorded(exporting) == 1


async def test_an_archive_is_recorded_with_its_members(exporting: ExportWorld) -> None:
    (element,) = await listed(exporting, 1)
    element = replace(element, kind=FetchKind.TAR)
    recorder, tally = recorder_of(exporting)
    await recorder.add_archive(element, {0: Fingerprint(7, 1, 1), 1: Fingerprint(8, 1, 1)})
    await recorder.flush()
    assert (tally.fetched, tally.bytes_fetched, await recorded(exporting)) == (1, 15, 1)


@pytest.mark.parametrize("where", ["sync", "record_fetched"])
async def test_what_could_not_be_recorded_is_recorded_by_the_next_flush(exporting: ExportWorld, where: str) -> None:
    elements = await listed(exporting, 2)
    recorder, _ = recorder_of(exporting)
    await recorder.add_files([(elements[0], RESULT)])

    def fail() -> None:
        raise NoRoom("write")

    exporting.interruption = Interruption(1, of=frozenset({where}), strike=fail)
    with pytest.raises(NoRoom):
        await recorder.flush()
    await recorder.add_files([(elements[1], RESULT)])
    await recorder.flush()
    assert await recorded(exporting) == 2
