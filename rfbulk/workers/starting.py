"""Starting processes, with nothing that takes time to load: who knows early that they will be used starts them first.

While the command's own modules load, which takes a fifth of a second of one core, theirs load on another.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Road: TypeAlias = Literal["send", "fetch"]
"""What a process is for: it loads that before it is asked."""

MAX_PROCESSES: Final = 8
"""What is started at the most unless more are asked for: each takes some 12 MB, and no line outruns eight cores."""

_PROGRAM: Final = (
    "import json, sys; sys.path[:], road = json.loads(sys.stdin.buffer.readline());"
    " sys.modules['typing_extensions'] = None;"
    " from rfbulk.workers.child import main; main(road)"
)
"""The way to our modules goes over the pipe: the host's may be no folder that a fresh interpreter looks into. msgspec
does as well without `typing_extensions`, for whose sake it would load a tenth of what such a process holds."""

_THRIFT: Final = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""glibc's `mallopt(3)`: else each thread keeps what others could use, and the heap what was a buffer."""

_INHERITED: Final = ("PATH", "TMPDIR", "TZ", "LANG", "LOCALDOMAIN", "RES_OPTIONS")
_INHERITED_FAMILIES: Final = ("LC_", "LD_", "DYLD_", "SSL_CERT_", "OPENSSL_")
"""What such a process inherits of the environment: what makes programs, names and certificates be found. All else is
not its business: keys, credentials of clouds, a proxy with its password (which goes over the pipe)."""


class Spares:
    """Processes that were started before it was known whether they are needed. `close` ends those that were not."""

    def __init__(self, road: Road, children: list[subprocess.Popen[bytes]]) -> None:
        self._road = road
        self._children = children

    def take(self, road: Road) -> subprocess.Popen[bytes] | None:
        """Hand over one that is for that road, if any is left."""
        return self._children.pop() if self._children and road == self._road else None

    def close(self) -> None:
        """End those that nobody took. They have nothing that could be lost."""
        while self._children:
            child = self._children.pop()
            child.kill()
            for stream in (child.stdin, child.stdout):
                with contextlib.suppress(OSError):  # what was never read by it
                    if stream is not None:
                        stream.close()
            child.wait()


def start_spares(road: Road, *, most: int) -> Spares:
    """Start as many processes as there are cores, `most` at the most. On one core, or where none can start, none."""
    children = []
    with contextlib.suppress(OSError, ValueError):
        for _ in range(min(most, most_processes(None))):
            children.append(start_child(road))  # noqa: PERF401 - those that started are to be known if another does not
    return Spares(road, children)


def start_child(road: Road) -> subprocess.Popen[bytes]:
    """Start a process, which then waits for its `SetUp`. Its modules load while the caller goes on.

    Raises:
        OSError, ValueError: there is no interpreter to start.
    """
    child = subprocess.Popen(  # noqa: S603 - our own interpreter, a constant program
        [sys.executable, "-I", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_inherited(os.environ),
        process_group=0,  # a Ctrl-C is the coordinator's to heed
    )
    if child.stdin is not None:
        with contextlib.suppress(OSError):  # it is gone already, which whoever reads from it finds
            child.stdin.write(json.dumps([sys.path, road]).encode() + b"\n")
            child.stdin.flush()
    return child


def most_processes(wanted: int | None) -> int:
    """Return how many processes may be started: `wanted`, or for None as many as there are cores. One is none."""
    most = min(cores(), MAX_PROCESSES) if wanted is None else wanted
    return most if most > 1 and can_start() else 0


def processes_take_all_cores(wanted: int | None) -> bool:
    """Tell whether there are as many processes as cores, so that none is left for two threads of one."""
    return most_processes(wanted) >= cores()


def can_start() -> bool:
    """Tell whether this interpreter can be started again: not on Windows, nor within a frozen program."""
    return os.name == "posix" and bool(sys.executable) and not getattr(sys, "frozen", False)


def cores() -> int:
    """Return how many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value for name, value in environment.items() if name in _INHERITED or name.startswith(_INHERITED_FAMILIES)
    }
    return _THRIFT | kept
