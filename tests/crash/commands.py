"""The real command as a process of its own: started, waited for, killed; and every byte that it said is kept."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.abc
import trustme

T = TypeVar("T")
KEY = "canary-9f2c41d7e6b05a38"
"""The api key of all commands. Whatever leaves a process must not hold it."""

RFBULK = (sys.executable, "-m", "rfbulk")
SMALL = ("--shard-images", "40", "--quiet-period", "100ms")
"""Options that suit small folders: some shards, short waits."""

LONGEST_SECONDS = 40.0
_SIGNATURE = re.compile(rb"X-Goog-Signature(=|%3D)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended: its exit code as a shell tells it, and what it said."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object that was printed."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self
        values: dict[str, Any] = json.loads(lines[0])
        return values

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects that were printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(slots=True)
class Running:
    """A command under way. Its words go to files, so that nobody has to read for it to go on."""

    process: anyio.abc.Process
    out: Path
    err: Path
    began: float

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def ended(self, seconds: float = LONGEST_SECONDS) -> Ended:
        """Wait for its end. One that takes longer than `seconds` fails the test."""
        with anyio.fail_after(seconds):
            code = await self.process.wait()
        return Ended(128 - code if code < 0 else code, read(self.out), read(self.err), time.monotonic() - self.began)

    async def said(self, text: str, seconds: float = 10.0) -> None:
        """Wait until it has said `text` on stderr."""
        await until(lambda: text in read(self.err), seconds)


@dataclass(slots=True)
class Commands:
    """Runs commands as one user against one service, and keeps what they said until `look_for_secrets`."""

    url: str
    home: Path
    key: str | None = KEY
    said: list[Path] = field(default_factory=list)

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.home / "state"

    def environment(self, more: dict[str, str]) -> dict[str, str]:
        """Nothing of this process's settings but where programs are."""
        values = {"PATH": os.environ["PATH"], "HOME": str(self.home), "RFBULK_STATE_DIR": str(self.state)}
        values |= {"SSL_CERT_FILE": str(self._authorities()), "SSL_CERT_DIR": str(self.home / "none")}
        values |= {"ROBOFLOW_API_URL": self.url} | ({"ROBOFLOW_API_KEY": self.key} if self.key else {})
        return values | {"PYTHONWARNINGS": "default", "COLUMNS": "110"} | more

    def _authorities(self) -> Path:
        """One certificate instead of the system's many: reading those is a fifth of a command's start."""
        path = self.home / "authorities.pem"
        if not path.exists():
            path.write_bytes(_authority())
        return path

    @asynccontextmanager
    async def started(
        self, *arguments: str | Path, program: tuple[str, ...] = RFBULK, cwd: Path | None = None, **environment: str
    ) -> AsyncIterator[Running]:
        """Start a command. If it still runs at the end of the block, it is killed with all its children."""
        folder = Path(tempfile.mkdtemp(dir=self.home))
        out, err = folder / "out", folder / "err"
        self.said += [out, err]
        with out.open("wb") as out_file, err.open("wb") as err_file:
            began = time.monotonic()
            process = await anyio.open_process(
                [*program, *map(str, arguments)],
                stdin=None,
                stdout=out_file,
                stderr=err_file,
                env=self.environment(environment),
                cwd=cwd,
                start_new_session=True,
            )
        async with process:
            try:
                yield Running(process, out, err, began)
            finally:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)

    async def run(
        self,
        *arguments: str | Path,
        seconds: float = LONGEST_SECONDS,
        program: tuple[str, ...] = RFBULK,
        cwd: Path | None = None,
        **environment: str,
    ) -> Ended:
        """Run a command to its end."""
        async with self.started(*arguments, program=program, cwd=cwd, **environment) as running:
            return await running.ended(seconds)

    def look_for_secrets(self) -> None:
        """Fail if the key, or a signature, is anywhere in what was said or left behind by finished uploads."""
        left_behind = [path for path in self.home.rglob("*") if path.is_file() and path.suffix != ".key"]
        for path in {*self.said, *left_behind}:
            content = path.read_bytes()
            assert KEY.encode() not in content, path
            assert not _SIGNATURE.search(content), path


async def together(work: Callable[[T], Awaitable[None]], cases: Iterable[T], *, at_once: int = 3) -> None:
    """Try cases side by side: each waits for processes most of its time. A failure names its case."""
    room = anyio.CapacityLimiter(at_once)

    async def one(case: T) -> None:
        async with room:
            try:
                await work(case)
            except Exception as error:
                error.add_note(f"in the case {case!r}")
                raise

    async with anyio.create_task_group() as tasks:
        for case in cases:
            tasks.start_soon(one, case)


@cache
def _authority() -> bytes:
    return trustme.CA().cert_pem.bytes()


def read(path: Path) -> str:
    """Read what a command has said so far."""
    return path.read_text(errors="surrogateescape")


async def until(holds: Callable[[], T], seconds: float = 10.0) -> T:
    """Wait until something is true, and return it. The state of other processes can only be asked for."""
    with anyio.fail_after(seconds):
        while not (result := holds()):  # noqa: ASYNC110 - other processes set no event here
            await anyio.sleep(0.005)
        return result


def chance_of(*seed: int) -> random.Random:
    """Chance that is the same on every run."""
    return random.Random(repr(seed))


def write_images(folder: Path, count: int, *, size: int = 2000, seed: int = 1) -> Path:
    """Write files that are images by their names, a third of them in subfolders, each of another content."""
    chance = chance_of(seed)
    for number in range(count):
        path = folder / ["", "day-1", "day-1/cam-2"][number % 3] / f"img-{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8" + chance.randbytes(chance.randrange(size // 2, size)))
    return folder


def hash_of(content: bytes) -> str:
    """Hash an image as the emulator's ledger does."""
    return hashlib.sha256(content).hexdigest()


def hashes_of(folder: Path) -> Counter[str]:
    """Hash every file of a folder."""
    return Counter(hash_of(path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def closes(report: dict[str, Any]) -> bool:
    """Whether the books of a report close."""
    sides = report["sent"] + report["quarantined"] + report["failed"] + report["left"]
    return bool(report["planned"] == sides)
