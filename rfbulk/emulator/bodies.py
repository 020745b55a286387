"""The bodies of requests as they stream in, with the faults that happen on the way, and their checksums."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import anyio
from aiohttp import web
from crc32c import crc32c

from rfbulk.emulator.faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


# Where a request keeps the fault that its body shall meet.
BODY_FAULT_KEY = web.RequestKey("body-fault", Fault)
_CRC32C_BYTES = 4


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


@dataclass(slots=True)
class Checksums:
    """The length and checksums of a body as it streams by."""

    md5: _Hash | None = None
    crc32c: int = 0
    size: int = 0

    def update(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes."""
        self.crc32c = crc32c(chunk, self.crc32c)
        self.size += len(chunk)
        if self.md5 is not None:
            self.md5.update(chunk)

    @property
    def md5_base64(self) -> str:
        """The md5 as the store writes it, or nothing if it is not computed."""
        return "" if self.md5 is None else base64.b64encode(self.md5.digest()).decode()


def new_checksums(*, with_md5: bool) -> Checksums:
    """Begin a body."""
    return Checksums(hashlib.md5(usedforsecurity=False) if with_md5 else None)


def crc32c_base64(crc32c: int) -> str:
    """Write a crc32c as the store does."""
    return base64.b64encode(crc32c.to_bytes(_CRC32C_BYTES, "big")).decode()


async def read_body(request: web.Request) -> AsyncIterator[bytes]:
    """Go through a request's body in chunks as they come; scripted faults slow it down or change a byte.

    Raises:
        ConnectionError: the connection ended before the body did.
    """
    fault = request.get(BODY_FAULT_KEY)
    spoil_at = _spoil_at(request, fault)
    position = 0
    async for chunk in request.content.iter_any():
        if fault is not None and fault.action == "slow":
            await anyio.sleep(_pause(fault, len(chunk)))
        if position <= spoil_at < position + len(chunk):
            yield spoil(chunk, spoil_at - position)
        else:
            yield chunk
        position += len(chunk)


def _pause(fault: Fault, size: int) -> float:
    return size / fault.bytes_per_second if fault.bytes_per_second else 0.0


def _spoil_at(request: web.Request, fault: Fault | None) -> int:
    if fault is None or fault.action != "corrupt":
        return -1
    length = request.content_length or 0
    return length // 2 if fault.after_bytes is None else min(fault.after_bytes, length - 1)


def spoil(chunk: bytes, place: int) -> bytes:
    """Return a chunk with another byte in one place."""
    changed = bytearray(chunk)
    changed[place] ^= 0xFF
    return bytes(changed)
