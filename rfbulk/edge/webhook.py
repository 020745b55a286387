"""The receiver of the service's notifications: an aiohttp application that checks, keeps, and only then answers 2xx.

In this order: path, method, announced size, authorization, body within its time and size, shape, commit, answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio
from aiohttp import web

from rfbulk.core.notices import NotANotice, parse_notice
from rfbulk.edge.notices_store import Delivery
from rfbulk.errors import RfbulkError, UsageError

if TYPE_CHECKING:
    from rfbulk.core.notices import Notice
    from rfbulk.core.secrets import ApiKey

logger = logging.getLogger(__name__)

App: TypeAlias = web.Application

MAX_BODY_BYTES: Final = 1 << 20
BODY_SECONDS: Final = 10.0
MAX_AT_ONCE: Final = 64
"""Bodies read at once: with `MAX_BODY_BYTES` each they take at most 64 MiB. Other senders wait unread."""

_BEARER: Final = b"bearer "
_SHUTDOWN_SECONDS: Final = 5.0
_BACKLOG: Final = 1024


class Keeps(Protocol):
    """Where notifications are kept."""

    async def store(self, body: bytes, notice: Notice) -> Delivery:
        """Keep one; it is durable on return."""


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """Who may notify, and where.

    `keys` are the publishable keys that are taken, several while one replaces another. `paths` are the only ones that
    are answered; one that nobody guesses is a second lock. Several suit a proxy that may keep its own path in front.
    """

    keys: tuple[ApiKey, ...]
    paths: tuple[str, ...] = ("/",)
    body_seconds: float = BODY_SECONDS
    max_body_bytes: int = MAX_BODY_BYTES

    def __post_init__(self) -> None:
        """Refuse a receiver that would take anything from anybody."""
        if not self.keys or not all(key.reveal() for key in self.keys):
            raise UsageError("receive", "notifications", cause="no key was given", advice="name a --key-file")
        if not self.paths or not all(path.startswith("/") for path in self.paths):
            raise UsageError(
                "receive", "notifications", cause="a path begins with /", advice="write it as /hook-7f3a9c"
            )


def receiver_app(
    options: ReceiverOptions, inbox: Keeps, on_kept: Callable[[Notice, Delivery], None]
) -> web.Application:
    """Return an application to serve alone or below another's (`add_subapp`).

    `on_kept` is told each delivery once it is durable. It runs in the event loop and must return at once.
    """
    receiver = _Receiver(options, inbox, on_kept)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.receive)
    return app


class _Receiver:
    def __init__(self, options: ReceiverOptions, inbox: Keeps, on_kept: Callable[[Notice, Delivery], None]) -> None:
        self._options = options
        self._inbox = inbox
        self._on_kept = on_kept
        self._room = asyncio.Semaphore(MAX_AT_ONCE)
        self._keys = [_digest(key.reveal().encode()) for key in options.keys]
        self._paths = [_digest(path.removeprefix("/").encode()) for path in options.paths]

    async def receive(self, request: web.Request) -> web.Response:
        """Take a delivery."""
        refusal = self._refusal(request)
        if refusal is not None:
            return _answer(refusal)
        async with self._room:
            try:
                async with asyncio.timeout(self._options.body_seconds):
                    body = await self._read(request)
            except TimeoutError:
                return _answer(HTTPStatus.REQUEST_TIMEOUT)
            if body is None:
                return _answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return await self._keep(body)

    def _refusal(self, request: web.Request) -> HTTPStatus | None:
        if not _is_among(_digest(request.match_info["path"].encode()), self._paths):
            return HTTPStatus.NOT_FOUND
        if request.method != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED
        if (request.content_length or 0) > self._options.max_body_bytes:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return None if self._is_authorised(request) else HTTPStatus.UNAUTHORIZED

    def _is_authorised(self, request: web.Request) -> bool:
        given = next((value for name, value in request.raw_headers if name.lower() == b"authorization"), b"").strip()
        if given[: len(_BEARER)].lower() == _BEARER:
            given = given[len(_BEARER) :].strip()
        return _is_among(_digest(given), self._keys)

    async def _read(self, request: web.Request) -> bytes | None:
        chunks: list[bytes] = []
        left = self._options.max_body_bytes
        async for chunk in request.content.iter_any():
            left -= len(chunk)
            if left < 0:
                return None
            chunks.append(chunk)
        return b"".join(chunks)

    async def _keep(self, body: bytes) -> web.Response:
        try:
            notice = parse_notice(body)
        except NotANotice as error:
            logger.warning("a body that is no notification was refused: %s", error)
            return _answer(HTTPStatus.BAD_REQUEST)
        try:
            delivery = await self._inbox.store(body, notice)
        except RfbulkError as error:
            logger.warning("a notification could not be kept: %s", error)
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE)
        self._on_kept(notice, delivery)
        return _answer(HTTPStatus.OK)


def _is_among(digest: bytes, wanted: list[bytes]) -> bool:
    """Each is compared in full, whatever the others came to, so that time tells nothing."""
    return sum([hmac.compare_digest(digest, known) for known in wanted]) > 0


def _digest(text: bytes) -> bytes:
    """Equal lengths, so that comparing them tells nothing of the key's."""
    return hashlib.sha256(text).digest()


def _answer(status: HTTPStatus) -> web.Response:
    headers = {
        HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "POST"},
        HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "5"},
    }
    return web.Response(status=status, headers=headers.get(status))


@contextlib.asynccontextmanager
async def serve_app(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve an application, and yield its address. Deliveries under way at the end get some seconds.

    Raises:
        UsageError: the address cannot be had.
    """
    listener = _bind(host, port)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    try:
        await runner.setup()
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{listener.getsockname()[1]}"
    finally:
        with anyio.CancelScope(shield=True):
            await runner.cleanup()
        listener.close()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        raise UsageError("listen at", f"{host}:{port}", cause=str(cause), advice="choose another address") from None
