"""How far a host is, step by step: its addresses, a connection, and whether it is who it says. Sends no request."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rfbulk.core.urls import Url
    from rfbulk.edge.ways import Ways


@dataclass(frozen=True, slots=True)
class Step:
    """One step on the way to a host. `failure` is empty where it went well."""

    name: str
    detail: str
    milliseconds: float
    failure: str = ""


def reach(url: Url, ways: Ways, seconds: float) -> list[Step]:
    """Go to a host as transfers do, through the proxy if one leads there, and say how each step went. Blocks.

    Raises:
        UsageError: the proxy, or the certificate authorities, cannot be used.
    """
    proxy = ways.proxy_for(url)
    host, port = (url.host, url.port) if proxy is None else (proxy.host, proxy.port)
    steps: list[Step] = []
    addresses: list[str] = []

    def resolve() -> str:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses.extend(dict.fromkeys(str(each[4][0]) for each in found))
        return f"{host} is {', '.join(addresses[:4])}{' …' if len(addresses) > 4 else ''}"

    if not _take(steps, "name", resolve):
        return steps
    connection: list[socket.socket] = []

    def connect() -> str:
        connection.append(socket.create_connection((host, port), timeout=seconds))
        return f"port {port} of {host} answers" + (" (the proxy)" if proxy is not None else "")

    if not _take(steps, "connection", connect):
        return steps
    with connection[0] as bare:
        if url.scheme == "https" and proxy is None:
            _take(steps, "certificate", lambda: _verified(bare, url, ways))
    return steps


def _verified(bare: socket.socket, url: Url, ways: Ways) -> str:
    with ways.tls_context().wrap_socket(bare, server_hostname=url.host) as secured:
        return f"{secured.version()}, and it is {url.host}"


def _take(steps: list[Step], name: str, work: Callable[[], str]) -> bool:
    began = time.perf_counter()
    detail = failure = ""
    try:
        detail = work()
    except ssl.SSLCertVerificationError as error:
        failure = f"it cannot prove who it is: {error.verify_message}"
    except (OSError, UnicodeError) as error:
        failure = getattr(error, "strerror", None) or str(error) or type(error).__name__
    steps.append(Step(name, detail, (time.perf_counter() - began) * 1000, failure))
    return not failure
