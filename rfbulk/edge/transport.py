"""The one HTTP session: how connections are made, verified and limited. The only room that opens them.

TLS is always verified, redirects are never followed, netrc is never read, and nothing waits without a limit.
aiohttp's errors hold whole URLs; they end here and are raised again as ours, without them.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohttp
import anyio.to_thread

from rfbulk import __version__
from rfbulk.edge.proxies import Proxies, proxies_from
from rfbulk.edge.troubles import CONNECTION_ERRORS, trouble_of
from rfbulk.errors import ProtocolError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
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

    `connect_seconds` limits the making of a connection, TLS included. `answer_seconds` limits a whole exchange with
    the API. `ca_file` adds a certificate authority. `allow_http` permits plain HTTP beyond loopback. `max_connections`
    bounds the calls of the API at once; uploads have connections of their own. `environment` names proxies and
    SSL_CERT_FILE (None: the process's).
    """

    connect_seconds: float = 30.0
    answer_seconds: float = 60.0
    ca_file: Path | None = None
    allow_http: bool = False
    max_connections: int = 160
    environment: Mapping[str, str] | None = None


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
    proxies = proxies_from(environment)
    trust = await _trust(options.ca_file, environment.get("SSL_CERT_FILE"))
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
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_seconds),
    ) as session:
        yield Transport(session, options, proxies, trust)


class Transport:
    """Sends requests over the one session. Made by `open_transport`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        options: TransportOptions,
        proxies: Proxies,
        trust: ssl.SSLContext | bool,
    ) -> None:
        self._session = session
        self._trust = trust
        self._proxies = proxies
        self.options = options

    async def exchange(
        self, method: str, url: URL, *, operation: str, subject: str, max_bytes: int, body: bytes | None = None
    ) -> Exchanged:
        """Send a request to the API, once, and read the whole answer. `body` is JSON; None sends none.

        Raises:
            TroublePassing: no connection, no whole answer, or not within `answer_seconds`.
            ServiceRefused: the certificate is not to be trusted.
            NotAuthorised: the proxy refuses.
            ProtocolError: the answer has more than `max_bytes`, or is not HTTP.
        """
        try:
            async with (
                asyncio.timeout(self.options.answer_seconds),
                self._session.request(
                    method,
                    url,
                    data=body,
                    headers={"User-Agent": USER_AGENT} | ({} if body is None else _JSON),
                    skip_auto_headers=_AUTOMATIC_HEADERS,
                    allow_redirects=False,
                    proxy=self._proxies.lead_to(url),
                ) as response,
            ):
                content = await read_bounded(response, max_bytes)
        except CONNECTION_ERRORS as error:
            failure = trouble_of(error, url).as_error(operation, subject)
        else:
            if content is not None:
                return Exchanged(response.status, response.headers, content)
            failure = ProtocolError(operation, subject, cause=f"the answer has more than {max_bytes} bytes")
        raise failure  # outside of `except`, so that not even the context holds the foreign error with its URL

    def proxy_for(self, url: URL) -> URL | None:
        """Return the proxy that leads to a URL, None to go there directly.

        Raises:
            UsageError: the proxy speaks TLS itself, which uploads cannot pass through.
        """
        proxy = self._proxies.lead_to(url)
        if proxy is not None and proxy.scheme != "http":
            raise UsageError(
                "use proxy", f"{proxy.host}:{proxy.port}", cause="only http:// proxies carry uploads", advice="name one"
            )
        return proxy

    def tls_context(self) -> ssl.SSLContext:
        """Return whom uploads trust: the same authorities as calls of the API. Blocks on the disk."""
        return ssl.create_default_context() if isinstance(self._trust, bool) else self._trust


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


async def _trust(ca_file: Path | None, cert_file: str | None) -> ssl.SSLContext | bool:
    """Return whom to trust. True is aiohttp's own context, made while importing, of the system's authorities."""
    if ca_file is None and not cert_file:
        return True
    return await anyio.to_thread.run_sync(_read_authorities, ca_file, cert_file)


def _read_authorities(ca_file: Path | None, cert_file: str | None) -> ssl.SSLContext:
    """`cert_file` stands for the system's authorities, as OpenSSL has it; `ca_file` is added to them."""
    name: Path | str | None = cert_file
    try:
        context = ssl.create_default_context(cafile=cert_file or None)
        name = ca_file
        if ca_file is not None:
            context.load_verify_locations(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            "read certificate authorities of",
            str(name),
            cause=error.strerror or "it holds none",
            advice="name a PEM file with SSL_CERT_FILE or --ca-file",
        ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context
