"""How a connection ends badly: with a reset, or quietly before its time."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import anyio
from aiohttp import web

if TYPE_CHECKING:
    import asyncio

# SO_LINGER with a time of nought makes closing a reset.
_LINGER_NOT = struct.pack("ii", 1, 0)
_FLUSH_SECONDS = 1.0
_FLUSH_STEP_SECONDS = 0.001


def break_connection(request: web.Request) -> web.Response:
    """Reset a request's connection; nothing that is returned afterwards reaches the client."""
    if request.transport is not None:
        peer = request.transport.get_extra_info("socket")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        request.transport.abort()
    return web.Response()


async def flush(transport: asyncio.Transport | None) -> None:
    """Wait, for a bounded time, until what was written has left this process: a reset drops the rest."""
    with anyio.move_on_after(_FLUSH_SECONDS):
        while transport is not None and transport.get_write_buffer_size():  # noqa: ASYNC110 - nothing announces it
            await anyio.sleep(_FLUSH_STEP_SECONDS)
