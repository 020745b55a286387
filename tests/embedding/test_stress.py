"""A host may cancel anywhere, nest, run side by side, use any loop, close it at once: nothing is lost or stays."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from rfbulk import Client, ExportOptions, Settings, UploadOptions, WorkflowJob
from rfbulk.client.running import RunOptions
from rfbulk.core.job_wire import Job
from rfbulk.core.retry import RetryPolicy
from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions, JobScript
from rfbulk.emulator.images import sample_image
from tests.crash.commands import hashes_of, write_images
from tests.embedding.hosts import LOOPS, Host, nothing_stays, points, service
from tests.support.batches import content_of, small_files, tree_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
IMAGES = 24
POINTS = 8
QUICK = RetryPolicy(first_seconds=0.01, cap_seconds=0.05, budget_seconds=20.0)
OPTIONS = UploadOptions(shard_images=6, quiet_seconds=0.02)
FILES = small_files(12)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    async def offer(emulator: Emulator) -> None:
        await emulator.add_batch("results", files=FILES)

    with service(EmulatorOptions(jobs=JobOptions(JobScript(seconds=0.05), task_files=4)), offer) as emulator:
        yield emulator


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", IMAGES)


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def client(emulator: Emulator, tmp_path: Path) -> Client:
    settings = Settings(api_url=emulator.url, state_dir=tmp_path / "state", retry=QUICK, stall_seconds=5.0)
    return Client(emulator.api_key, settings=settings)


async def upload(emulator: Emulator, tmp_path: Path, batch: str, options: UploadOptions = OPTIONS) -> int:
    async with client(emulator, tmp_path) as opened:
        report = await opened.upload_images(tmp_path / "images", batch, options=options)
    assert report.closes
    assert report.is_confirmed
    return report.sent


async def export(emulator: Emulator, tmp_path: Path, target: str) -> int:
    async with client(emulator, tmp_path) as opened:
        report = await opened.export("results", tmp_path / target, options=ExportOptions(concurrency=3))
    assert (report.failed, report.left) == (0, 0)
    return report.files


async def run(emulator: Emulator, tmp_path: Path, batch: str) -> str:
    async with client(emulator, tmp_path) as opened:
        job = WorkflowJob(batch_id="-", workflow_id="detect")
        options = RunOptions(batch_id=batch, upload=OPTIONS)
        report = await opened.run(tmp_path / "images", job, tmp_path / batch, options=options)
    assert report.is_done
    return report.job_id


Work = Callable[[str], Coroutine[Any, Any, object]]


def cancel_everywhere(loop: str, name: str, work: Work, check: Callable[[str], None]) -> int:
    """Cancel the call at waits spread over all of it, each time on new data, and make it again to its end."""
    whole = Host(loop)
    with nothing_stays():
        whole.run(lambda: work(f"{name}-whole"))
    assert whole.waits > POINTS
    cancelled = 0
    for point in points(whole.waits, POINTS):
        batch = f"{name}-{point}"
        with nothing_stays():
            cancelled += Host(loop, cancel_at=point).run(lambda batch=batch: work(batch)) is None  # type: ignore[misc]
        with nothing_stays():
            assert Host(loop).run(lambda batch=batch: work(batch)) is not None  # type: ignore[misc]
        check(batch)
    return cancelled


def test_an_upload_is_cancelled_at_any_await(emulator: Emulator, images: Path, tmp_path: Path, loop: str) -> None:
    def check(batch: str) -> None:
        assert hashes_of(images) == emulator.ledger(batch).hashes

    cancelled = cancel_everywhere(loop, f"up-{loop}", lambda batch: upload(emulator, tmp_path, batch), check)
    assert cancelled >= POINTS // 2


def test_an_export_is_cancelled_at_any_await(emulator: Emulator, tmp_path: Path, loop: str) -> None:
    tree = {file.name: content_of(file) for file in FILES}

    def check(target: str) -> None:
        assert tree == {path: data for path, data in tree_of(tmp_path / target).items() if "manifest" not in path}

    cancelled = cancel_everywhere(loop, f"out-{loop}", lambda target: export(emulator, tmp_path, target), check)
    assert cancelled >= POINTS // 2


def test_a_run_is_cancelled_at_any_await(emulator: Emulator, tmp_path: Path) -> None:
    folder, checked = tmp_path / "images", 0
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.png").write_bytes(sample_image(number))

    def check(batch: str) -> None:
        nonlocal checked
        checked += 1
        assert hashes_of(folder) == emulator.ledger(batch).hashes

    assert cancel_everywhere("uvloop", "run", lambda batch: run(emulator, tmp_path, batch), check) >= POINTS // 2
    jobs: list[Job] = []

    async def list_jobs() -> None:
        async with client(emulator, tmp_path) as opened:
            await opened.each_job(jobs.append)

    anyio.run(list_jobs)
    assert len(jobs) == checked + 1, "one job for each batch"


def test_sending_processes_end_with_the_call(emulator: Emulator, images: Path, tmp_path: Path, loop: str) -> None:
    options = UploadOptions(shard_images=2, quiet_seconds=0.02, processes=2, concurrency=4)
    whole = Host(loop)
    with nothing_stays():
        whole.run(lambda: upload(emulator, tmp_path, f"processes-{loop}", options))
    for point in points(whole.waits, 3):
        batch = f"processes-{loop}-{point}"
        with nothing_stays():
            Host(loop, cancel_at=point).run(lambda batch=batch: upload(emulator, tmp_path, batch, options))  # type: ignore[misc]


def test_nested_in_task_groups_its_neighbours_end_it(
    emulator: Emulator, images: Path, tmp_path: Path, loop: str
) -> None:
    """A sibling that fails cancels it; what comes out is the sibling's error alone, and a scope's end is quiet."""

    async def nested() -> str:
        with pytest.raises(ExceptionGroup) as raised:  # noqa: PT012 - groups are the point
            async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
                inner.start_soon(upload, emulator, tmp_path, f"nested-{loop}")
                outer.start_soon(fails)
        with anyio.move_on_after(0.001) as scope:
            await upload(emulator, tmp_path, f"nested-{loop}")
        return repr(raised.value.exceptions) + str(scope.cancelled_caught)

    async def fails() -> None:
        await anyio.sleep(0.05)
        raise LookupError("the neighbour")

    with nothing_stays():
        said = Host(loop).run(nested)
    assert said == "(LookupError('the neighbour'),)True"
    with nothing_stays():
        Host(loop).run(lambda: upload(emulator, tmp_path, f"nested-{loop}"))
    assert hashes_of(images) == emulator.ledger(f"nested-{loop}").hashes


def test_two_clients_in_one_loop_do_not_disturb_each_other(
    emulator: Emulator, images: Path, tmp_path: Path, loop: str
) -> None:
    """One is cancelled in the middle; the other, and an export beside them, end well."""

    async def three() -> tuple[object, ...]:
        first = asyncio.ensure_future(upload(emulator, tmp_path, f"first-{loop}"))
        second = asyncio.ensure_future(upload(emulator, tmp_path / "b", f"second-{loop}"))
        third = asyncio.ensure_future(export(emulator, tmp_path, f"third-{loop}"))
        await asyncio.sleep(0.03)
        first.cancel()
        return tuple(await asyncio.gather(first, second, third, return_exceptions=True))

    write_images(tmp_path / "b" / "images", IMAGES)
    with nothing_stays():
        first, second, third = Host(loop).run(three) or (None, None, None)
    assert isinstance(first, asyncio.CancelledError | int)
    assert (second, third) == (IMAGES, len(FILES))
    assert hashes_of(images) == emulator.ledger(f"second-{loop}").hashes


def test_loops_of_their_own_in_threads_at_once(emulator: Emulator, images: Path, tmp_path: Path, loop: str) -> None:
    sent: dict[int, object] = {}

    def work(number: int) -> None:
        call = lambda: upload(emulator, tmp_path, f"thread-{loop}-{number}")  # noqa: E731
        sent[number] = Host(loop).run(call)

    with nothing_stays():
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sent == dict.fromkeys(range(3), IMAGES)


def test_a_loop_that_is_closed_while_it_works_leaves_nothing(
    emulator: Emulator, images: Path, tmp_path: Path, loop: str
) -> None:
    """`asyncio.run` whose main function returns cancels what it left behind, and closes."""

    async def leave_it() -> None:
        asyncio.ensure_future(upload(emulator, tmp_path, f"left-{loop}"))  # noqa: RUF006 - the point
        await asyncio.sleep(0.03)

    with nothing_stays(), asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(leave_it())
    with nothing_stays():
        Host(loop).run(lambda: upload(emulator, tmp_path, f"left-{loop}"))
    assert hashes_of(images) == emulator.ledger(f"left-{loop}").hashes


def test_a_task_that_stays_is_found() -> None:
    """The search can fail."""
    kept: list[object] = []

    async def forgets() -> None:
        kept.append(asyncio.ensure_future(asyncio.sleep(60)))

    with pytest.raises(AssertionError, match="a task stays"):
        Host("asyncio").run(forgets)


def test_a_thread_or_a_file_that_stays_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.embedding.hosts.SETTLE_SECONDS", 0.05)
    ends = threading.Event()
    thread = threading.Thread(target=ends.wait, name="stays")
    with pytest.raises(AssertionError, match="stays"), nothing_stays():
        thread.start()
    ends.set()
    thread.join()
    with pytest.raises(AssertionError, match="stays"), nothing_stays():
        kept = (tmp_path / "file").open("wb")
    kept.close()
