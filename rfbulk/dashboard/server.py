"""The page's server: an aiohttp application in the command's own event loop, that reads nothing and changes nothing.

In this order: method, name of the host, token, then the answer. What fails here fails here alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import anyio
import msgspec
from aiohttp import web

from rfbulk.dashboard.address import access_for, listen, url_of
from rfbulk.dashboard.frames import FRAME_SECONDS

if TYPE_CHECKING:
    from rfbulk.dashboard.address import Access, Address
    from rfbulk.dashboard.frames import Frames

MOST_READERS: Final = 32
MOST_CONNECTIONS: Final = 4 * MOST_READERS
WRITE_SECONDS: Final = 15.0
"""A reader that takes nothing for so long is let go; its browser comes again by itself."""

BEAT_SECONDS: Final = 10.0
LAST_SECONDS: Final = 1.5
"""How long the command's end waits for readers to hear of it."""

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_quiet: Final = logging.getLogger(__name__)
_quiet.addHandler(logging.NullHandler())

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Detail = Callable[[str], Awaitable[dict[str, Any] | None]]


async def _no_detail(_name: str) -> dict[str, Any] | None:
    return None


@dataclass(slots=True)
class Site:
    """What is served: the frames of a picture, the name of the page that draws them, and more on one thing of it."""

    frames: Frames
    page: str = "transfer.html"
    detail: Detail = _no_detail
    on_trouble: Callable[[Exception], None] = lambda _error: None
    write_seconds: float = WRITE_SECONDS
    readers: int = 0
    all_gone: anyio.Event | None = None
    assets: dict[str, bytes] = field(default_factory=dict)


@asynccontextmanager
async def serving(site: Site, address: Address) -> AsyncIterator[str]:
    """Serve the site, and yield the address to open. At the end its readers get the last frame.

    Raises:
        UsageError: the address cannot be had.
    """
    listener = await anyio.to_thread.run_sync(listen, address)
    access = access_for(listener, address)
    runner = web.AppRunner(await _app(site, access), access_log=None, logger=_quiet, shutdown_timeout=1.0)
    try:
        await runner.setup()
        server = await asyncio.get_running_loop().create_server(_bounded(runner), sock=listener)
        try:
            yield url_of(listener, address, access)
        finally:
            server.close()
            with anyio.CancelScope(shield=True):
                await _let_readers_go(site)  # also of a command that failed: that is what its readers wait for
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
        listener.close()


def _bounded(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    """Every connection takes a descriptor, and the transfer needs those: what comes beyond is closed at once."""
    server = runner.server
    if server is None:
        raise AssertionError("it was set up")

    def connect() -> asyncio.Protocol:
        return server() if len(server.connections) < MOST_CONNECTIONS else _Refusing()

    return connect


class _Refusing(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()


async def _let_readers_go(site: Site) -> None:
    site.frames.close()
    if site.readers:
        site.all_gone = anyio.Event()
        with anyio.move_on_after(LAST_SECONDS):
            await site.all_gone.wait()


async def _app(site: Site, access: Access) -> web.Application:
    site.assets = await anyio.to_thread.run_sync(_read_assets)
    app = web.Application(middlewares=[_guarding(site, access)], client_max_size=1024)
    app.router.add_get("/", _answering(site, site.page))
    app.router.add_get("/events", _streaming(site), allow_head=False)
    app.router.add_get("/detail/{name}", _detailing(site))
    for name in site.assets:
        if not name.endswith(".html"):
            app.router.add_get(f"/{name}", _answering(site, name))
    return app


def _read_assets() -> dict[str, bytes]:
    folder = resources.files("rfbulk.dashboard") / "page"
    return {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.rpartition(".")[2] in _TYPES}


def _guarding(site: Site, access: Access) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _refusal(request, access)
        if refused is not None:
            return _with_headers(refused)
        try:
            return _with_headers(await handler(request))
        except web.HTTPException as error:
            return _with_headers(_text(error.status, error.reason))
        except ConnectionError:
            raise  # the reader has gone
        except Exception as error:  # noqa: BLE001 - whatever it is, the transfer goes on
            site.on_trouble(error)
            return _with_headers(_text(500, "the page has a defect; the command goes on"))

    return guard


def _refusal(request: web.Request, access: Access) -> web.Response | None:
    if request.method not in {"GET", "HEAD"}:
        return _text(405, "this page can only be looked at")
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not access.knows_host(hosts[0]):
        return _text(421, "this server does not go by that name; open it by the address that the command printed")
    if not access.token:
        return None
    given = request.query.get("token")
    if given is not None and access.admits(given):
        return _welcome(access)
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and access.admits(value.strip()):
        return None
    if access.admits(request.cookies.get(access.cookie, "")):
        return None
    return _text(403, "a token is needed: open the whole address that the command printed")


def _welcome(access: Access) -> web.Response:
    """Keep the token in a cookie and take it out of the address, so that it stays in no history.

    `Lax`, not `Strict`: a link from a chat must lead here, and there is nothing here that could be changed.
    """
    response = web.Response(status=303, headers={"Location": "/"})
    response.set_cookie(access.cookie, access.token, httponly=True, samesite="Lax", path="/")
    return response


def _answering(site: Site, name: str) -> Handler:
    async def answer(_request: web.Request) -> web.StreamResponse:
        kind = _TYPES[name.rpartition(".")[2]]
        return web.Response(body=site.assets[name], content_type=kind, charset="utf-8")

    return answer


def _detailing(site: Site) -> Handler:
    async def answer(request: web.Request) -> web.StreamResponse:
        found = await site.detail(request.match_info["name"])
        if found is None:
            return _text(404, "there is none of that name")
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    return answer


def _streaming(site: Site) -> Handler:
    async def stream(request: web.Request) -> web.StreamResponse:
        if site.readers >= MOST_READERS:
            return _text(503, f"{MOST_READERS} pages look at this already", {"Retry-After": "10"})
        site.readers += 1
        try:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **_HEADERS})
            await response.prepare(request)
            with suppress(ConnectionError, TimeoutError):
                await _send_frames(site, request, response)
            if request.transport is not None and not site.frames.is_over:
                request.transport.abort()  # what it has not taken is of no use any more
            return response
        finally:
            site.readers -= 1
            if site.all_gone is not None and not site.readers:
                site.all_gone.set()

    return stream


async def _send_frames(site: Site, request: web.Request, response: web.StreamResponse) -> None:
    loop = asyncio.get_running_loop()
    seen, beat = 0, loop.time()
    while request.transport is not None and not request.transport.is_closing():
        is_last = site.frames.is_over
        frame = site.frames.next(seen, loop.time())
        if frame is not None:
            seen, beat = frame.number, loop.time()
            await _write(site, response, b"data: " + frame.data + b"\n\n")
        elif loop.time() - beat >= BEAT_SECONDS:
            beat = loop.time()
            await _write(site, response, b": still here\n\n")
        if is_last:
            await _write(site, response, b"event: end\ndata: \n\n")
            return
        await anyio.sleep(FRAME_SECONDS)


async def _write(site: Site, response: web.StreamResponse, data: bytes) -> None:
    """A reader that does not read holds up nothing but this coroutine, and that for a bounded time."""
    with anyio.fail_after(site.write_seconds):
        await response.write(data)


def _text(status: int, text: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=status, text=text + "\n", headers=headers)


def _with_headers(response: web.StreamResponse) -> web.StreamResponse:
    if not response.prepared:
        response.headers.update(_HEADERS)
    return response
