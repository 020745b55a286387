"""Connections to stores that are kept for the next object: made, proved, lent to one attempt at a time, closed."""

from __future__ import annotations

import base64
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from rfbulk.core.urls import bracketed
from rfbulk.edge.lines import Call, Line, open_line

if TYPE_CHECKING:
    import ssl

    from rfbulk.core.urls import Url
    from rfbulk.edge.ways import Ways


class Origin(NamedTuple):
    """Whom a connection is with, and the proxy that leads there."""

    scheme: str
    host: str
    port: int
    proxy: Url | None

    @property
    def is_forwarded(self) -> bool:
        """Tell whether a proxy reads the requests, which then name their whole URL."""
        return self.proxy is not None and self.scheme == "http"


class Connections:
    """Lends lines to attempts. Its methods block; threads may share it."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._resting: dict[Origin, list[Line]] | None = {}
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close the connections that wait to be used again. What an attempt still uses closes at the attempt's end."""
        with self._lock:
            resting, self._resting = self._resting or {}, None
        for lines in resting.values():
            for line in lines:
                line.close()

    def read_authorities(self) -> None:
        """Read whom to trust, which else is done for the first connection over TLS. Raises UsageError."""
        self._tls()

    def origin_of(self, url: Url) -> Origin:
        """Tell whom a URL is asked from, and by which way.

        Raises:
            UsageError: the proxy is of a kind that cannot be passed through.
        """
        return Origin(url.scheme, url.host, url.port, self._ways.proxy_for(url))

    def line_to(self, origin: Origin, call: Call) -> Line:
        """Lend a connection that rested, or a new one.

        Raises:
            CalledOff: the attempt was called off.
            LINE_ERRORS: there is no connection.
        """
        while (resting := self._take_resting(origin)) is not None:
            if resting.is_quiet():
                return _served(resting, call)
            resting.close()  # the store has closed it meanwhile
        return self.new_line_to(origin, call)

    def new_line_to(self, origin: Origin, call: Call) -> Line:
        """Lend a connection that nobody has used. Raises what `line_to` raises."""
        scheme, host, port, proxy = origin
        dialled = (host, port) if proxy is None else (proxy.host, proxy.port)
        line = open_line(*dialled, call, ends_at=time.monotonic() + self._ways.connect_seconds)
        try:
            if scheme == "https":
                if proxy is not None:
                    line.tunnel(f"{bracketed(host)}:{port}", authorization(proxy))
                line.secure(self._tls(), host)  # TLS is with the store, through the proxy
        except BaseException:
            line.close()
            raise
        return line

    def leave(self, line: Line, origin: Origin, *, keep: bool) -> None:
        """Take a line back. `keep`: it stands where the next answer begins, and may be used again."""
        line.rest()
        line.is_fresh = False
        with self._lock:
            if keep and self._resting is not None:
                self._resting.setdefault(origin, []).append(line)
                return
        line.close()

    def has_resting(self) -> bool:
        """Tell whether any connection waits to be used again."""
        return bool(self._resting)

    def _take_resting(self, origin: Origin) -> Line | None:
        with self._lock:
            lines = (self._resting or {}).get(origin)
            return lines.pop() if lines else None

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = self._ways.tls_context()
            return self._context


def authorization(proxy: Url | None) -> dict[str, str]:
    """Return the header by which a proxy knows us."""
    if proxy is None or not proxy.userinfo:
        return {}
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415 - few proxies ask who we are

    user, _, password = proxy.userinfo.partition(":")
    pair = b"%b:%b" % (unquote_to_bytes(user), unquote_to_bytes(password))
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _served(line: Line, call: Call) -> Line:
    try:
        line.serve(call)
    except BaseException:
        line.close()
        raise
    return line
