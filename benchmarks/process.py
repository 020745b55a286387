"""Run one command to its end and say what it cost: wall time, CPU time and memory of its whole process tree."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LIMIT_SECONDS = 900.0  # a contender that takes longer hangs
SAMPLE_SECONDS = 0.01
TAIL_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and the environment variables it gets besides ours."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cost:
    """What one command took. `started` is of the monotonic clock; `peak_bytes` is known only if memory was watched."""

    started: float
    wall_seconds: float
    cpu_seconds: float
    exit_code: int
    peak_bytes: int | None
    output: str  # the last of what it printed


def monotonic() -> float:
    """Tell the time by the clock that the sink uses as well."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def run_command(command: Command, *, watch_memory: bool = False) -> Cost:
    """Run a command and wait for it. CPU time includes all descendants that were waited for.

    Watching memory takes CPU time from what is watched: do it in a run whose times are not used.
    """
    with tempfile.TemporaryFile() as output:
        started = monotonic()
        process = subprocess.Popen(
            command.arguments,
            env={**os.environ, **command.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",  # a folder named like a package would be taken for it
        )
        with _killed_after(process.pid, LIMIT_SECONDS), _watched(process.pid, watch_memory) as peak:
            _, status, usage = os.wait4(process.pid, 0)
        wall_seconds = monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL_BYTES))
        return Cost(
            started=started,
            wall_seconds=wall_seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            exit_code=process.returncode,
            peak_bytes=max(peak, default=None),
            output=output.read().decode(errors="replace"),
        )


def output_of(*arguments: str) -> str | None:
    """Return what a command prints, or None if there is no such command or it fails."""
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def idle_share(seconds: float = 0.3) -> float | None:
    """Watch the machine for a moment: the share of its processors' time that nobody used (None if it cannot tell)."""
    before = _processor_times()
    time.sleep(seconds)
    after = _processor_times()
    if before is None or after is None:
        return None
    spent = [now - then for then, now in zip(before, after, strict=True)]
    return (spent[3] + spent[4]) / max(1, sum(spent))  # idle and waiting for disks


def _processor_times() -> list[int] | None:
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return None
    return [int(ticks) for ticks in first.split()[1:9]]


@contextmanager
def _killed_after(pid: int, seconds: float) -> Iterator[None]:
    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _watched(pid: int, watch: bool) -> Iterator[list[int]]:
    peak: list[int] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            peak[:] = [max(*peak, _tree_bytes(pid), 0)]

    thread = threading.Thread(target=sample)
    if watch:
        thread.start()
    try:
        yield peak
    finally:
        ended.set()
        if watch:
            thread.join()


def _tree_bytes(pid: int) -> int:
    return _own_bytes(pid) + sum(_tree_bytes(child) for child in _children(pid))


def _children(pid: int) -> list[int]:
    """Children of every thread: a pool's workers belong to the thread that made them."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text(encoding="ascii").split())
    return found


def _own_bytes(pid: int) -> int:
    """Proportional set size: pages shared within the tree count once."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
