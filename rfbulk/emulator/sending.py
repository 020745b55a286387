"""The body of a download on its way out, and the faults that it meets there.

Small bodies leave in one piece; large files by `sendfile` where the event loop has it, else piece by piece.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from aiohttp import web
from anyio import to_thread

from rfbulk.emulator.bodies import spoil
from rfbulk.emulator.breaking import break_connection, flush
from rfbulk.emulator.shelf import PIECE_BYTES, Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from multidict import CIMultiDict

    from rfbulk.emulator.faults import Fault
    from rfbulk.emulator.ranges import Span
    from rfbulk.emulator.service import Service

_SURPLUS = b"and more than there is"
_ENDS_EARLY = frozenset({"reset", "stall", "truncate", "shorter"})
# These are over when the body begins.
_IN_THE_HEAD = frozenset({"changed", "ignore-range", "wrong-range", "wrong-hash"})
_SLOW_STEPS_A_SECOND = 20


@dataclass(frozen=True, slots=True)
class Body:
    """What is to be sent: bytes of one file, under these headers, meeting this fault."""

    place: Place
    span: Span
    status: int
    headers: CIMultiDict[str]
    fault: Fault | None

    @property
    def action(self) -> str | None:
        """What goes wrong with the body."""
        return None if self.fault is None else self.fault.action

    @property
    def is_untroubled(self) -> bool:
        """Whether all of its bytes go out as they are."""
        return self.fault is None or self.action in _IN_THE_HEAD

    @property
    def kept_bytes(self) -> int:
        """How many of its bytes are sent before it ends."""
        if self.fault is None or self.action not in _ENDS_EARLY:
            return self.span.size
        asked = self.span.size // 2 if self.fault.after_bytes is None else self.fault.after_bytes
        return min(asked, self.span.size)

    @property
    def stated_bytes(self) -> int:
        """How many bytes its length announces."""
        if self.action == "shorter":
            return self.kept_bytes
        return self.span.size + (len(_SURPLUS) if self.action == "longer" else 0)


class _EndsWithConnection(web.StreamResponse):
    # aiohttp would send chunks to say where the body ends; here nothing but the end of the connection shall say it.
    _length_check = False


async def send(service: Service, request: web.Request, body: Body) -> web.StreamResponse:
    """Send a body as the service's options and the body's fault have it."""
    length = "chunked" if body.action == "no-length" else service.options.downloads.length
    is_simple = body.is_untroubled and length == "stated"
    if request.method == "HEAD":
        if length == "stated":
            body.headers["Content-Length"] = str(body.stated_bytes)
        return web.Response(status=body.status, headers=body.headers)
    if is_simple and body.span.size <= PIECE_BYTES:
        content = b"".join([piece async for piece in _pieces(service, body)])
        service.traffic.sent_bytes += len(content)
        return web.Response(status=body.status, headers=body.headers, body=content)
    response = _response(body, length)
    await response.prepare(request)
    if not (is_simple and await _send_file(service, request, body)):
        async for piece in _pieces(service, body):
            service.traffic.sent_bytes += len(piece)
            await response.write(piece)
    return await _end(request, response, body, length)


def _response(body: Body, length: str) -> web.StreamResponse:
    make = _EndsWithConnection if length == "unstated" else web.StreamResponse
    response = make(status=body.status, headers=body.headers)
    match length:
        case "stated":
            response.content_length = body.stated_bytes
        case "chunked":
            response.enable_chunked_encoding()
        case _:
            response.force_close()
    return response


async def _end(request: web.Request, response: web.StreamResponse, body: Body, length: str) -> web.StreamResponse:
    if body.action in {"reset", "stall"}:
        await flush(request.transport)
        if body.action == "stall" and body.fault is not None:
            await anyio.sleep(body.fault.seconds)
        break_connection(request)
    elif body.action == "truncate" and length == "stated":
        await flush(request.transport)
        if request.transport is not None:
            request.transport.close()
    else:
        await response.write_eof()
    return response


async def _send_file(service: Service, request: web.Request, body: Body) -> bool:
    """Send a body straight from its file; return False, with nothing sent, where that cannot be done."""
    path = service.shelf.path(body.place.key)
    if path is None or service.shelf.version(body.place) or request.transport is None:
        return False
    file = await to_thread.run_sync(lambda: path.open("rb", buffering=0))
    try:
        place, size = body.place.offset + body.span.start, body.span.size
        sent = await asyncio.get_running_loop().sendfile(request.transport, file, place, size, fallback=False)
    except (NotImplementedError, RuntimeError):  # uvloop has none, TLS permits none
        return False
    finally:
        file.close()
    service.traffic.sent_bytes += sent
    if sent < size:  # somebody has cut the file short: the client must not wait for the rest
        request.transport.close()
    return True


async def _pieces(service: Service, body: Body) -> AsyncIterator[bytes]:
    """Go through the bytes to be sent, wrong ones and surplus ones included, at the pace that is wanted."""
    step = PIECE_BYTES
    rate = body.fault.bytes_per_second if body.action == "slow" and body.fault is not None else None
    if rate:
        step = min(max(int(rate / _SLOW_STEPS_A_SECOND), 1), PIECE_BYTES)
    spoil_at = _spoil_at(body)
    for at in range(0, body.kept_bytes, step):
        size = min(step, body.kept_bytes - at)
        start = body.place.offset + body.span.start + at
        piece = await service.shelf.read(Place(body.place.key, start, size))
        if piece is None or len(piece) < size:
            raise ConnectionAbortedError("the content went away")
        piece = service.shelf.alter(body.place, piece)
        if at <= spoil_at < at + size:
            piece = spoil(piece, spoil_at - at)
        yield piece
        if rate:
            await anyio.sleep(size / rate)
    if body.action == "longer":
        yield _SURPLUS


def _spoil_at(body: Body) -> int:
    if body.action != "corrupt" or body.fault is None:
        return -1
    return body.span.size // 2 if body.fault.after_bytes is None else min(body.fault.after_bytes, body.span.size - 1)
