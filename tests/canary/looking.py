"""Looks for known secrets in every byte that came out, however they are spelled."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")
_SHORTEST = 8
_LOOK_SECONDS = 0.03


def spellings(secret: str) -> set[bytes]:
    """A secret as it is, as URLs and JSON spell it, in hexadecimal, and in base64 wherever it begins."""
    raw = secret.encode()
    found = {
        raw,
        quote(secret, safe="").encode(),
        quote(secret).encode(),
        raw.hex().encode(),
        raw.hex().upper().encode(),
    }
    found.add(secret.replace("/", "\\/").encode())
    found.add("".join(f"%{byte:02x}" for byte in raw).encode())
    found.add(secret.encode("utf-16-le"))
    for before in range(3):
        coded = base64.b64encode(bytes(before) + raw)
        inner = coded[-(-before * 4 // 3) : len(raw) * 4 // 3 - 2]  # what is the same whatever stands around it
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return {each for each in found if len(each) >= _SHORTEST}


@dataclass(slots=True)
class Canaries:
    """Secrets by name. Signatures are added as the service makes them."""

    known: dict[str, set[bytes]] = field(default_factory=dict)

    def add(self, name: str, secret: str) -> str:
        """Look for a secret from now on, and return it."""
        self.known[name] = spellings(secret)
        return secret

    def add_signature_of(self, url: str) -> None:
        """Look for the signature of a URL: half of it would be too much."""
        for signature in _SIGNATURE.findall(url):
            self.known[f"signature {signature[:4]}"] = {signature[:32].encode(), signature[32:].encode()}

    def within(self, data: bytes) -> set[str]:
        """Return the names of the secrets that stand in these bytes."""
        return {name for name, forms in self.known.items() if any(form in data for form in forms)}

    def look_into(self, folder: Path, *, except_for: Iterable[str] = ()) -> dict[str, set[str]]:
        """Return which files of a folder hold which secrets; files whose names end so are the user's own."""
        found = {}
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            if not path.name.endswith(tuple(except_for)) and (names := self.within(path.read_bytes())):
                found[str(path.relative_to(folder))] = names
        return found


@dataclass(slots=True)
class Processes:
    """What anybody could read of the processes of a command while it ran."""

    command_lines: set[bytes] = field(default_factory=set)
    environments: set[bytes] = field(default_factory=set)
    """Of its children alone: its own is what its user gave it."""

    def look_at(self, pid: int) -> None:
        """Read about a process and all that it has started."""
        with suppress(OSError):
            own = Path(f"/proc/{pid}/cmdline").read_bytes()
            self.command_lines.add(own)
            for child in descendants(pid):
                self._look_at_child(child, own)

    def _look_at_child(self, pid: int, of_parent: bytes) -> None:
        with suppress(OSError):
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
            if command_line not in {of_parent, b""}:  # else it is its parent still, and about to become another
                self.command_lines.add(command_line)
                self.environments.add(Path(f"/proc/{pid}/environ").read_bytes())


def descendants(pid: int) -> Iterator[int]:
    """The processes that one has started, and those that these have."""
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, thread.read_text().split()):
                yield child
                yield from descendants(child)


@asynccontextmanager
async def watched(pid: int, processes: Processes) -> AsyncIterator[None]:
    """Look at a command's processes again and again."""

    async def look() -> None:
        while True:
            processes.look_at(pid)
            await anyio.sleep(_LOOK_SECONDS)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        yield
        tasks.cancel_scope.cancel()


def all_text_of(error: BaseException) -> bytes:
    """Everything that an exception says, and those that it came from, however far back."""
    texts: list[str] = []
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        texts += [str(each), repr(each), repr(each.args), repr(getattr(each, "__notes__", "")), repr(vars(each))]
        waiting += [each.__cause__, each.__context__, *getattr(each, "exceptions", ())]
    return os.fsencode("\n".join(texts))
