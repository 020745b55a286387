"""Make scripted faults happen to real requests: broken connections, silence, lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import orjson
from aiohttp import web

from rfbulk.emulator.answers import StoreError, json_answer, store_error_answer
from rfbulk.emulator.bodies import BODY_FAULT_KEY
from rfbulk.emulator.breaking import break_connection
from rfbulk.emulator.listing import PAGE_KEY
from rfbulk.emulator.signing import GOOGLE, S3

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rfbulk.emulator.faults import Fault
    from rfbulk.emulator.listing import Page

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_HTML = "<!doctype html><html><body><h1>Something is in the way</h1></body></html>"


async def inject(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request the way its fault demands; `handler` does the proper work."""
    is_download = fault.operation == "download"
    match fault.action:
        case "reset" | "stall" if is_download and fault.after_bytes is not None:
            return await _spoil(fault, request, handler)  # these bytes are the answer's
        case "swallow" if is_download:
            return break_connection(request)
        case "expired":
            dialect = S3 if f"{S3.prefix}Signature" in request.query else GOOGLE
            return store_error_answer(StoreError(*dialect.expired))
        case "answer":
            await _read(request, fault.after_bytes)
            return web.Response(status=fault.status, headers=list(fault.headers), text=fault.body)
        case "html":
            await _read(request, None)
            return web.Response(text=_HTML, content_type="text/html")
        case "reset":
            await _read(request, fault.after_bytes or 0)
            return break_connection(request)
        case "stall":
            await _read(request, fault.after_bytes or 0)
            await anyio.sleep(fault.seconds)
            return break_connection(request)
        case _:
            return await _spoil(fault, request, handler)


async def _spoil(fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
    request[BODY_FAULT_KEY] = fault
    if fault.action == "slow" and not fault.bytes_per_second:
        await anyio.sleep(fault.seconds)
    answer = await handler(request)
    match fault.action:
        case "swallow":
            return break_connection(request)
        case "malformed":
            body = _body(answer)
            return web.Response(body=body[: len(body) // 2], content_type="application/json")
        case "wrong-type":
            return json_answer(_other_type(orjson.loads(_body(answer))))
        case "duplicate-token" | "cycle" | "empty-pages":
            return _misled(fault, request[PAGE_KEY], request, orjson.loads(_body(answer)))
        case _:
            return answer


async def _read(request: web.Request, limit: int | None) -> None:
    """Read a body up to a limit, in chunks as they come; without a limit, all of it."""
    passed = 0
    while (limit is None or passed < limit) and (chunk := await request.content.readany()):
        passed += len(chunk)


def _misled(fault: Fault, page: Page, request: web.Request, body: dict[str, object]) -> web.Response:
    match fault.action:
        case "duplicate-token":
            body["nextPageToken"] = request.query.get("nextPageToken") or page.token(page.start)
        case "cycle":
            body["nextPageToken"] = page.token(0)
        case _:
            emptied: dict[str, object] = {key: [] for key, value in body.items() if isinstance(value, list)}
            body = {**body, **emptied, "nextPageToken": page.token(page.start)}
    return json_answer(body)


def _body(answer: web.StreamResponse) -> bytes:
    return answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b"{}"


def _other_type(value: object) -> object:
    match value:
        case dict():
            return {key: _other_type(each) for key, each in value.items()} if value else []
        case list():
            return {"first": _other_type(value[0])} if value else "none"
        case str():
            return len(value)
        case _:
            return [str(value)]
