"""What a process does to files, as `strace` tells it; and how a call of the system is made to fail, or to kill."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

_CALLS = (
    "openat,pwrite64,write,fdatasync,fsync,syncfs,sync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,link,linkat"
)
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>.*\)\s+= (-?\d+)")
_RESULT = re.compile(r"\)\s+= (-?\d+)(?:<[^>]*>)?[^=]*$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"(?:\d+|AT_FDCWD)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")
_OFFSET = re.compile(r'", \d+, (\d+)')
_SIZE = re.compile(r">, (\d+)")


@dataclass(frozen=True, slots=True)
class Op:
    """One call: what was done, to which path, and what further (another path, bytes at an offset, a size)."""

    call: Literal["create", "write", "truncate", "rename", "link", "unlink", "sync", "sync-folder", "sync-all", "say"]
    path: str = ""
    other: str = ""
    data: bytes = b""
    offset: int | None = None


@cache
def why_no_strace() -> str:
    """Why calls of a process cannot be seen here, nor made to fail, or nothing."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "true"], check=False, capture_output=True, text=True, timeout=10
    )
    return tried.stderr.strip() if tried.returncode else ""


def injecting(calls: str, what: str) -> tuple[str, ...]:
    """The beginning of a command line in the rest of which some calls fail (`error=EIO:when=3`) or kill."""
    shape = ("-f", "-qq", "-o", "/dev/null")
    return ("strace", *shape, "-e", f"trace={calls}", "-e", f"inject={calls}:{what}")


def recording(log: Path, *injections: str) -> tuple[str, ...]:
    """The beginning of a command line that records what the rest of it does to files."""
    quicker = () if injections else ("--seccomp-bpf",)  # with it, no signal is injected
    shape = ("-f", *quicker, "-qq", "-y", "-xx", "-s", "9000000", "-o", str(log), "-e", f"trace={_CALLS}")
    return ("strace", *shape, *(word for each in injections for word in ("-e", f"inject={each}")))


def read_log(log: Path, roots: Sequence[Path]) -> list[Op]:
    """Read what was done below `roots`, in order, and what was said on the standard output."""
    within = tuple(f"{os.path.realpath(root)}/" for root in roots)
    began: dict[str, tuple[str, str]] = {}
    ops: list[Op] = []
    for line in log.read_text("ascii").splitlines():
        call, rest, result = _read_line(line, began)
        if result >= 0:
            ops += [op for op in _ops_of(call, rest) if _concerns(op, within)]
    for call, rest in began.values():  # what a death interrupted may have been done, or not
        if "sync" not in call:
            ops += [op for op in _ops_of(call, rest) if _concerns(op, within)]
    return ops


def _read_line(line: str, began: dict[str, tuple[str, str]]) -> tuple[str, str, int]:
    """Return a call that has ended, its arguments and its result; -1 for all else."""
    if found := _RESUMED.match(line):
        call, rest = began.pop(found[1], ("", ""))
        return call, rest, int(found[2]) if call else -1
    found = _LINE.match(line)
    if found is None:
        return "", "", -1
    if "<unfinished" in found[3]:
        began[found[1]] = found[2], found[3]
        return "", "", -1
    ended = _RESULT.search(found[3])
    return found[2], found[3], int(ended[1]) if ended else -1


def _concerns(op: Op, within: tuple[str, ...]) -> bool:
    if op.call in {"say", "sync-all"}:
        return True
    return f"{op.path}/".startswith(within) and not op.path.endswith(("-shm", ".lock"))


def _text(coded: str) -> bytes:
    return bytes.fromhex(coded.replace("\\x", ""))


def _ops_of(call: str, rest: str) -> Iterator[Op]:
    descriptors = _DESCRIPTOR.findall(rest)
    opened = [os.fsdecode(_text(coded)) for coded, _ in descriptors]
    names = [os.fsdecode(_text(each)) for each in _STRING.findall(rest)] if call not in {"write", "pwrite64"} else []
    if descriptors and descriptors[0][1]:
        return  # a file without a name is nobody's concern any more
    match call:
        case "write" | "pwrite64":
            yield _write_of(rest, opened[0])
        case "openat" if "O_CREAT" in rest or "O_TRUNC" in rest:
            path = os.path.join(opened[0], names[0])
            yield Op("create", path)
            if "O_TRUNC" in rest:
                yield Op("truncate", path, offset=0)
        case "ftruncate":
            yield Op("truncate", opened[0], offset=_number(_SIZE, rest))
        case "fsync" | "fdatasync":
            yield Op("sync-folder" if Path(opened[0]).is_dir() else "sync", opened[0])
        case "sync" | "syncfs":
            yield Op("sync-all")
        case "rename" | "renameat" | "renameat2" | "link" | "linkat":
            both = [os.path.join(opened[n] if opened else "", names[n]) for n in (0, 1)]
            yield Op("rename" if call.startswith("rename") else "link", both[0], both[1])
        case "unlink" | "unlinkat" if "AT_REMOVEDIR" not in rest:
            yield Op("unlink", os.path.join(opened[0] if opened else "", names[0]))


def _write_of(rest: str, path: str) -> Op:
    found = _STRING.search(rest)
    data = _text(found[1]) if found else b""
    if rest.startswith("1<"):
        return Op("say", data=data)
    return Op("write", path, data=data, offset=_number(_OFFSET, rest))


def _number(pattern: re.Pattern[str], rest: str) -> int | None:
    found = pattern.search(rest)
    return int(found[1]) if found else None
