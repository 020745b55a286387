"""Compile, start and question the sink: the service and the store that all contenders send to."""

from __future__ import annotations

import http.client
import json
import platform
import subprocess
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from benchmarks.bench import HOME

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Stats:
    """What arrived since the last reset. Moments are of the monotonic clock, 0 where there was none."""

    requests: int
    grants: int
    puts: int
    malformed: int
    body_bytes: int
    images: int
    image_bytes: int
    image_sum: int
    cpu_seconds: float  # of the sink itself, since its start
    first_request: float
    first_put: float
    last_put: float


class Sink:
    """A running sink. It ends with its context, or with this process."""

    def __init__(self, build: Path) -> None:
        self._program = compiled("sink", build)
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where the service is."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen([self._program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None:
            raise RuntimeError("the sink has no output")
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate("")  # the end of its input ends it

    def reset(self, *, sums: bool = False) -> None:
        """Forget everything. With `sums`, take each image's checksum from now on, which costs time."""
        self._ask("POST", f"/_reset?sums={int(sums)}")

    def stats(self) -> Stats:
        """Return the totals since the last reset."""
        values = json.loads(self._ask("GET", "/_stats"))
        return Stats(**{field.name: values[field.name] for field in fields(Stats)})

    def _ask(self, method: str, target: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target)
            return connection.getresponse().read()
        finally:
            connection.close()


def compiled(name: str, build: Path) -> Path:
    """Compile one of the C programs beside this file, unless it is newer than its sources."""
    program = build / name
    sources = [HOME / f"{name}.c", *HOME.glob("*.h")]
    if program.exists() and program.stat().st_mtime > max(source.stat().st_mtime for source in sources):
        return program
    build.mkdir(parents=True, exist_ok=True)
    flags = ["-O2", "-Wall", "-Wextra", "-pthread"]
    if platform.machine() == "aarch64":
        flags.append("-march=armv8-a+crc")
    try:
        subprocess.run(["cc", *flags, "-o", program, sources[0]], check=True)
    except FileNotFoundError:
        raise SystemExit("benchmarks need a C compiler: there is no `cc`") from None
    return program
