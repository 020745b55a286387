"""What aiohttp's errors mean, told without them: they hold whole URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp

from rfbulk.edge.troubles import Trouble, TroubleKind, no_http, no_name, reason_of, refused_by_proxy, untrusted

if TYPE_CHECKING:
    from yarl import URL

CONNECTION_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError)
"""All that aiohttp lets out where a connection, and not our own code, is at fault."""


def trouble_of(error: BaseException, url: URL) -> Trouble:
    """Tell what an error of `CONNECTION_ERRORS` means, raised while `url` was spoken to, by the table of `troubles`."""
    where = f"{url.host}:{url.port}"
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return untrusted(error.certificate_error, where)
        case aiohttp.ClientHttpProxyError():
            return refused_by_proxy(error.status)
        case aiohttp.ClientConnectorError():
            return _no_connection(error, where)
        case aiohttp.ConnectionTimeoutError():
            return Trouble(TroubleKind.CONNECT, f"no connection to {where} in time")
        case TimeoutError():
            return Trouble(TroubleKind.STALLED, f"{where} did not answer in time")
        case aiohttp.ClientResponseError():
            return no_http(where)
        case aiohttp.ClientPayloadError():
            return Trouble(TroubleKind.BROKEN, f"the answer of {where} was cut short")
        case _:
            return Trouble(TroubleKind.BROKEN, f"{where} closed the connection{reason_of(error)}")


def _no_connection(error: aiohttp.ClientConnectorError, where: str) -> Trouble:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        where = f"the proxy {error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return no_name(where)
    return Trouble(TroubleKind.CONNECT, f"no connection to {where}{reason_of(error.os_error)}")
