"""Ways in which a command can die, each at a point that can be named, and the death itself."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.to_thread

from tests.crash.commands import RFBULK, Ended, Running
from tests.support.powerloss import Disk, Mode
from tests.support.strace import injecting, read_log, recording, why_no_strace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.crash.worlds import Road, World

Kind = Literal["failpoint", "call", "power", "moment", "signal", "twice"]
KILLED = 128 + signal.SIGKILL
LONGEST_SECONDS = 60.0
CALLS = {"fdatasync,fsync": 30, "sendto,sendmsg": 24, "pwrite64": 60, "write,writev": 40, "recvfrom,read": 90}
"""Calls of the system at which a process is killed, and up to the how many-th one of a thread."""

SYNCS = "fdatasync,fsync,syncfs"
MODES: tuple[Mode, ...] = ("lost", "torn", "kept")


@dataclass(frozen=True, slots=True)
class Death:
    """How, and where. `point` names a failpoint, or a call of the system and its number, or a moment."""

    kind: Kind
    point: str
    number: float = 1
    mode: Mode = "lost"

    def __str__(self) -> str:
        return f"{self.kind} {self.point}:{self.number:g}" + (f" {self.mode}" if self.kind == "power" else "")


def deaths_of(road: Road, chance: random.Random) -> Iterator[Death]:
    """Every failpoint, the first and second time; then deaths of all kinds, for ever, each another."""
    named = [Death("failpoint", each, number) for each in sorted(road.failpoints) for number in (1, 2)]
    chance.shuffle(named)
    seen: set[Death] = set()
    while True:
        death = _random_death(road, named, chance)
        if death not in seen:
            seen.add(death)
            yield death


def _random_death(road: Road, named: list[Death], chance: random.Random) -> Death:
    kinds: list[Kind] = ["failpoint", "call", "call", "power", "power", "moment", "signal", "twice"]
    match chance.choice(kinds):
        case "failpoint" if named:
            return named.pop()
        case "call" if not why_no_strace():
            call = chance.choice(sorted(CALLS))
            return Death("call", call, chance.randint(1, CALLS[call]))
        case "power" if not why_no_strace():
            call, most = chance.choice([(SYNCS, 24), ("pwrite64", 70)])
            return Death("power", call, chance.randint(1, most), chance.choice(MODES))
        case "signal":
            return Death("signal", chance.choice(["SIGINT", "SIGTERM"]), round(chance.uniform(0.1, road.seconds), 4))
        case "twice":
            return Death("twice", chance.choice(["SIGINT", "SIGTERM"]), round(chance.uniform(0.1, road.seconds), 4))
        case _:
            return Death("moment", "SIGKILL", round(chance.uniform(0.15, road.seconds), 4))


async def die(world: World, death: Death) -> tuple[Ended, bool]:
    """Say the command and let it die there. Tells how it ended, and whether that was this death."""
    match death.kind:
        case "failpoint":
            ended = await run(world, RFBULK_FAILPOINT=f"{death.point}:{death.number:g}")
        case "call":
            program = (*injecting(death.point, f"signal=KILL:when={death.number:g}"), *RFBULK)
            ended = await run(world, program=program)
        case "power":
            return await _lose_power(world, death)
        case _:
            ended = await _at_a_moment(world, death)
    return ended, ended.code in {KILLED, 130, 143} and not world.is_done()


async def run(world: World, *, program: tuple[str, ...] = RFBULK, **environment: str) -> Ended:
    """Say the command and wait for its end; one that never ends is stopped once it has done its work."""
    async with _started(world, program, **environment) as running:
        if world.road.is_done is not None:
            await _until_done_or_dead(world, running)
        return await running.ended(LONGEST_SECONDS)


@asynccontextmanager
async def _started(world: World, program: tuple[str, ...] = RFBULK, **environment: str) -> AsyncIterator[Running]:
    line = await anyio.to_thread.run_sync(lambda: world.line)
    async with world.commands.started(*line, program=program, cwd=None, **environment) as running:
        yield running


async def _until_done_or_dead(world: World, running: Running) -> None:
    with anyio.fail_after(LONGEST_SECONDS):
        while running.process.returncode is None:
            if world.is_done():
                os.killpg(running.process.pid, signal.SIGTERM)  # strace keeps to itself what is sent to it alone
                return
            await anyio.sleep(0.02)


async def _lose_power(world: World, death: Death) -> tuple[Ended, bool]:
    log: Path = world.home / "strace.key"
    disk = await anyio.to_thread.run_sync(Disk.of, world.roots)
    ended = await run(world, program=(*recording(log, f"{death.point}:signal=KILL:when={death.number:g}"), *RFBULK))
    if ended.code != KILLED:
        return ended, False

    def fail() -> None:
        disk.apply(read_log(log, world.roots))
        disk.cut_power(world.roots, death.mode, random.Random(str(death)))
        log.unlink()

    await anyio.to_thread.run_sync(fail)
    return ended, True


async def _at_a_moment(world: World, death: Death) -> Ended:
    async with _started(world) as running:
        with anyio.move_on_after(death.number):
            await running.process.wait()
        number = signal.Signals[death.point]
        running.signal(number)
        if death.kind == "twice":
            await anyio.sleep(0.03)
            running.signal(number)
        if world.road.is_done is not None:
            await _until_done_or_dead(world, running)
        return await running.ended(LONGEST_SECONDS)
