"""The one HTTP session: how connections are made, verified and limited. The only room that opens them.

TLS is always verified, redirects are never followed, netrc is never read, and nothing waits without a limit.
aiohttp's errors hold whole URLs; they end here and are raised again as ours, without them.
"""

from __future__ import annotations

import asyncio
import io
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp
import anyio.to_thread

from rfbulk import __version__
from rfbulk.edge.session_troubles import CONNECTION_ERRORS, trouble_of
from rfbulk.edge.ways import Ways, ways_of
from rfbulk.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from multidict import CIMultiDictProxy
    from yarl import URL

USER_AGENT: Final = f"rfbulk/{__version__}"
_AUTOMATIC_HEADERS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_JSON: Final = {"Content-Type": "application/json"}
_DNS_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """How to reach the outside.

    `connect_seconds` limits the making of a connection, TLS included, `answer_seconds` a whole exchange with the API,
    `stall_seconds` each wait for more of an answer. `ca_file` adds a certificate authority. `allow_http` permits plain
    HTTP beyond loopback. `max_connections` bounds the calls of the API at once; uploads have connections of their own.
    `environment` names proxies and SSL_CERT_FILE (None: the process's). `is_plain`: the API
    speaks no TLS, so SSL_CERT_FILE is not read for it.
    """

    connect_seconds: float = 30.0
    answer_seconds: float = 60.0
    stall_seconds: float = 60.0
    ca_file: Path | None = None
    allow_http: bool = False
    max_connections: int = 160
    environment: Mapping[str, str] | None = None
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Streamed:
    """A body that is made while it is sent. What `chunks` raises ends the request, and nothing was sent whole."""

    content_type: str
    length: int
    chunks: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


@asynccontextmanager
async def open_transport(options: TransportOptions | None = None) -> AsyncIterator[Transport]:
    """Open the session; leaving closes all its connections.

    Raises:
        UsageError: the certificate authorities cannot be read, or a proxy's address is none.
    """
    options = options or TransportOptions()
    environment = os.environ if options.environment is None else options.environment
    ways = ways_of(environment, connect_seconds=options.connect_seconds, ca_file=options.ca_file)
    # True is aiohttp's own context of the system's authorities, made while it was imported.
    reads = ways.names_authorities and (not options.is_plain or ways.ca_file is not None)
    trust = await anyio.to_thread.run_sync(ways.tls_context) if reads else True
    connector = aiohttp.TCPConnector(
        limit=options.max_connections,
        ssl=trust,
        ttl_dns_cache=_DNS_SECONDS,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        yield Transport(session, options, ways)


class Transport:
    """Sends requests over the one session. Made by `open_transport`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        options: TransportOptions,
        ways: Ways,
    ) -> None:
        self._session = session
        self.options = options
        self.ways = ways

    async def exchange(
        self,
        method: str,
        url: URL,
        *,
        operation: str,
        subject: str,
        max_bytes: int,
        body: bytes | Streamed | None = None,
        answer_seconds: float | None = None,
    ) -> Exchanged:
        """Send a request to the API, once, and read the whole answer. `body` is JSON; None sends none.

        Raises:
            TroublePassing: no connection, no whole answer, or not within `answer_seconds` (None: the options').
            ServiceRefused: the certificate is not to be trusted.
            NotAuthorised: the proxy refuses.
            ProtocolError: the answer has more than `max_bytes`, or is not HTTP.
        """
        try:
            async with (
                asyncio.timeout(answer_seconds or self.options.answer_seconds),
                self._session.request(
                    method,
                    url,
                    data=_data_of(body),
                    headers={"User-Agent": USER_AGENT, **_headers_of(body)},
                    skip_auto_headers=_AUTOMATIC_HEADERS,
                    allow_redirects=False,
                    proxy=self._proxy_for(url),
                    timeout=self._limits(answer_seconds),
                ) as response,
            ):
                content = await read_bounded(response, max_bytes)
        except CONNECTION_ERRORS as error:
            failure = trouble_of(error, url).as_error(operation, subject)
        else:
            if content is not None:
                return Exchanged(response.status, response.headers, content)
            failure = ProtocolError(
                operation,
                subject,
                cause=f"the answer has more than {max_bytes} bytes",
                advice="is the API's address right?",
            )
        raise failure  # outside of `except`, so that not even the context holds the foreign error with its URL

    def _limits(self, answer_seconds: float | None) -> aiohttp.ClientTimeout:
        """A call that takes longer than others to answer is silent for longer too."""
        silent = max(self.options.stall_seconds, answer_seconds or 0.0)
        return aiohttp.ClientTimeout(total=None, sock_connect=self.options.connect_seconds, sock_read=silent)

    def _proxy_for(self, url: URL) -> str | None:
        proxy = self.ways.proxies.lead_to(url.scheme, url.host or "", url.port or 0)
        if proxy is None:
            return None
        who = f"{proxy.userinfo}@" if proxy.userinfo else ""
        return f"{proxy.scheme}://{who}{proxy.place}"


def _data_of(body: bytes | Streamed | None) -> io.BytesIO | AsyncIterator[bytes] | None:
    if isinstance(body, Streamed):
        return body.chunks()
    return None if body is None else io.BytesIO(body)  # sent in pieces, however long


def _headers_of(body: bytes | Streamed | None) -> Mapping[str, str]:
    if isinstance(body, Streamed):
        return {"Content-Type": body.content_type, "Content-Length": str(body.length)}
    return {} if body is None else _JSON


async def read_bounded(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """Read the rest of an answer. None if it has more than `max_bytes`: its connection is then closed."""
    chunks: list[bytes] = []
    left = max_bytes
    while left >= 0 and (response.content_length or 0) <= max_bytes:
        chunk = await response.content.readany()
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        left -= len(chunk)
    response.close()
    return None
