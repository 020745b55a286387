"""One upload's surroundings, which anything may befall: a service with switches, a line, a folder, a state that is cut.

All of it is in this process, and exact: a death or a power cut happens at one point of a shard's life. From that point
on not one byte passes the line, and another process finds the state as it was then, whatever is still unwound here.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.lowlevel
from anyio.from_thread import BlockingPortal, start_blocking_portal

from rfbulk import Client, RfbulkError, Settings, UploadOptions, UploadReport
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.retry import RetryPolicy
from rfbulk.emulator import Emulator, EmulatorOptions
from rfbulk.errors import CheckpointBusy
from tests.support.chaos_proxy import ChaosProxy
from tests.support.world import MEMORY

T = TypeVar("T")
BATCH = "chaos"
PATIENCE = RetryPolicy(first_seconds=0.01, cap_seconds=0.05, budget_seconds=2.0)
STALL_SECONDS = 1.0
MOST_SECONDS = 60.0
"""No run may take longer, whatever is done to it: each wait has its limit."""

CURABLE_RUNS = 5
"""So many undisturbed runs, at most, bring everything to its end."""


class Death(BaseException):
    """The process is dead, as far as the service and the disk can tell."""


class ChaosWorld:
    """Enter it, act on it, and ask `settle` in the end whether the promise was kept."""

    def __init__(self, options: EmulatorOptions, *, seed: int) -> None:
        self.chance = random.Random(seed)
        self.options = options
        self.files: dict[str, str] = {}
        self.ever: set[str] = set()
        self.runs = self.deaths = 0
        self.ends: Counter[str] = Counter()
        self._exits = ExitStack()

    # life

    def __enter__(self) -> ChaosWorld:
        with ExitStack() as exits:
            self.folder = Path(exits.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))
            self.portal: BlockingPortal = exits.enter_context(start_blocking_portal())
            self.proxy = exits.enter_context(self.portal.wrap_async_context_manager(ChaosProxy()))
            served = self.portal.call(self._served)
            self.emulator = exits.enter_context(self.portal.wrap_async_context_manager(served))
            self.proxy.to("127.0.0.1", int(self.emulator.url.rpartition(":")[2]))
            self.source = self.folder / "images"
            self.source.mkdir()
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    async def _served(self) -> Emulator:
        return Emulator(replace(self.options, public_url=self.url))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.proxy.port}"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    # the source

    def write(self, path: str) -> None:
        """Write a file, or write another content into it."""
        content = b"\xff\xd8" + self.chance.randbytes(self.chance.randrange(200, 4000))
        target = self.source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self.files[path] = hashlib.sha256(content).hexdigest()
        self.ever.add(self.files[path])

    def remove(self, path: str) -> None:
        """Remove a file."""
        (self.source / path).unlink()
        del self.files[path]

    # runs

    def run(self, **options: object) -> UploadReport | str:
        """Upload to the end. A report, or the name of the error that ended it."""
        return self._ended(lambda: self._upload(lambda _: None, options))

    def run_until_cancelled(self, steps: int) -> UploadReport | str:
        """Upload, and cancel it after so many turns of the loop."""

        async def work() -> UploadReport | None:
            report: UploadReport | None = None

            async def upload() -> None:
                nonlocal report
                report = await self._upload(lambda _: None, {})
                tasks.cancel_scope.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(upload)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                await anyio.sleep(steps % 7 * 0.01)
                tasks.cancel_scope.cancel()
            return report

        return self._ended(work)

    def run_until_stopped(self, seconds: float) -> UploadReport | str:
        """Upload, and ask it to stop after a while."""

        async def work() -> UploadReport | None:
            stop = anyio.Event()
            report: UploadReport | None = None

            async def upload() -> None:
                nonlocal report
                report = await self._upload(lambda _: None, {"grace_seconds": 0.2}, stop=stop)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(upload)
                await anyio.sleep(seconds)
                stop.set()
            return report

        return self._ended(work)

    def run_twice_at_once(self) -> None:
        """Start the same upload while it runs: the second leaves at once."""
        ends: list[str] = []

        async def one() -> None:
            try:
                await self._upload(lambda _: None, {})
            except CheckpointBusy:
                ends.append("busy")
            except RfbulkError as error:
                ends.append(type(error).__name__)
            else:
                ends.append("done")

        async def work() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(one)
                tasks.start_soon(one)

        self._ended(work)
        assert len(ends) == 2
        assert ends.count("busy") <= 1

    def run_until_death(self, at: int, *, power_is_cut: bool) -> Failpoint | None:
        """Upload, and die the `at`-th time that any failpoint is reached. Returns where, None if it ended before."""
        image = self.folder / "image"
        died_at: list[Failpoint] = []
        reached = 0

        def reach(failpoint: Failpoint) -> None:
            nonlocal reached
            reached += 1
            if died_at:
                raise Death
            if reached == at:
                died_at.append(failpoint)
                self.proxy.is_down = True
                shutil.copytree(self.state, image)
                raise Death

        self._ended(lambda: self._upload(reach, {}))
        self.proxy.is_down = False
        if not died_at:
            return None
        self.deaths += 1
        shutil.rmtree(self.state)
        image.rename(self.state)
        if power_is_cut:
            self._tear()
        return died_at[0]

    def run_on_a_damaged_checkpoint(self, place: float, bit: int) -> UploadReport | str:
        """Flip a bit in the checkpoint, try to upload, and put back what was there."""
        image = self.folder / "sound"
        shutil.copytree(self.state, image)
        (file,) = self.state.rglob("*.sqlite")
        content = bytearray(file.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        file.write_bytes(content)
        before = self.emulator.requests.copy()
        ended = self.run()
        assert self.emulator.requests["put"] == before["put"], "something was sent by a checkpoint that is damaged"
        shutil.rmtree(self.state)
        image.rename(self.state)
        return ended

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is one to damage."""
        return self.state.exists() and any(self.state.rglob("*.sqlite"))

    def _tear(self) -> None:
        """What a power cut leaves besides: no shared memory, and the beginning of a commit that nobody was told of."""
        for path in self.state.rglob("*-shm"):
            path.unlink()
        for path in self.state.rglob("*-wal"):
            if path.stat().st_size:
                with path.open("ab") as log:
                    log.write(self.chance.randbytes(self.chance.randrange(1, 5000)))

    def _ended(
        self, work: Callable[[], Awaitable[UploadReport | None]] | Callable[[], Awaitable[None]]
    ) -> UploadReport | str:
        self.runs += 1

        async def bounded() -> UploadReport | BaseException | None:
            try:
                with anyio.fail_after(MOST_SECONDS):
                    return await work()
            except BaseException as error:  # noqa: BLE001 - it would end the portal; what is none of ours is raised below
                return error

        report = self.portal.call(bounded)
        if isinstance(report, BaseException):
            name = _name_of(report)
            self.ends[name] += 1
            return name
        self.ends["report"] += 1
        if report is None:
            return "cancelled"
        assert report.closes, report
        return report

    async def _upload(
        self, reach: Callable[[Failpoint], None], options: dict[str, object], stop: anyio.Event | None = None
    ) -> UploadReport:
        settings = Settings(
            api_url=self.url, state_dir=self.state, retry=PATIENCE, stall_seconds=STALL_SECONDS, connect_seconds=2.0
        )
        defaults = {"shard_images": 4, "quiet_seconds": 0.2, "wait_seconds": 5.0, "concurrency": 3, "processes": 1}
        async with Client("emulator", settings=settings, reach=reach) as client:
            chosen = UploadOptions(**(defaults | options))  # type: ignore[arg-type]  # each caller's own
            return await client.upload_images(self.source, BATCH, options=chosen, stop=stop)

    # the oracle

    def held(self) -> Counter[str]:
        """What the service holds, once it has taken in all that it was sent."""
        self.portal.call(self.emulator.settled)
        return self.emulator.ledger(BATCH).hashes

    def check_nothing_strange(self) -> None:
        """At any time: only what was once in the source is there, and never twice where the store has no second PUT."""
        held = self.held()
        assert set(held) <= self.ever | self._damaged_hashes(held)
        if self.options.if_generation_match or self.options.second_put == "replaces":
            assert max(held.values(), default=0) <= 1, "an image is in the batch twice"

    def _damaged_hashes(self, held: Counter[str]) -> set[str]:
        """What was damaged on the way by a fault that was asked for is allowed, if something was."""
        is_spoiled = any(fault.action == "corrupt" for fault in self.emulator.faults.consumed) or any(
            trouble.kind == "flip" for trouble in self.proxy.met
        )
        return set(held) if is_spoiled else set()

    def settle(self) -> UploadReport | None:
        """Let it run undisturbed until it is done, and hold what it says against what the service holds."""
        self.proxy.is_down = False
        self.proxy.clear()
        spoiled = self._damaged_hashes(self.held())
        self.emulator.faults.clear()
        if not self.files:
            return None
        last: UploadReport | str = ""
        for _ in range(CURABLE_RUNS):
            last = self.run()
            if not isinstance(last, str) and not last.left and not last.shards_unsure:
                break
        assert not isinstance(last, str), last
        self._compare(last, spoiled)
        return last

    def _compare(self, report: UploadReport, spoiled: set[str]) -> None:
        held = self.held()
        named = {failure.path for failure in report.failures}
        lost = [path for path, content in self.files.items() if not held[content] and not _is_named(path, named)]
        assert lost == [], (report, self.files)
        doubled = [content for content, count in held.items() if count > 1]
        assert not doubled or report.doubled or report.extra, (doubled, report)
        assert set(held) <= self.ever | spoiled
        assert report.closes
        assert (report.left, report.shards_unsure) == (0, 0)


def _is_named(path: str, named: set[str]) -> bool:
    return any(each == path or each.endswith(f"/{path}") for each in named)


def _name_of(error: BaseException) -> str:
    """Return what ended a run: an error of ours, or a death. Anything else is a defect, and raised."""
    if isinstance(error, RfbulkError | Death):
        return type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        _, others = error.split((RfbulkError, Death))
        if others is None:
            return "Death" if error.subgroup(Death) else "RfbulkError"
    raise error
