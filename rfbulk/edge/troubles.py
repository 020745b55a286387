"""What went wrong on a connection, told once and without the URL."""

from __future__ import annotations

import os
import socket
import ssl
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec

from rfbulk.core.heads import HeadFault
from rfbulk.core.retry_after import is_passing_status
from rfbulk.errors import NotAuthorised, ProtocolError, RfbulkError, ServiceRefused, TroublePassing

if TYPE_CHECKING:
    from rfbulk.core.urls import Url


class TroubleKind(StrEnum):
    """What kind of trouble it was."""

    CONNECT = "connect"  # there was no connection: nothing was sent
    CERTIFICATE = "certificate"  # the other side is not who it says: final
    PROXY = "proxy"  # the proxy refused: final
    BROKEN = "broken"  # the connection ended before the answer did
    STALLED = "stalled"  # nothing moved for too long
    GARBLED = "garbled"  # what came is not HTTP


class TunnelRefused(Exception):
    """A proxy answered that it does not connect us. It never leaves the edge."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


LINE_ERRORS: Final = (OSError, HeadFault, TunnelRefused)
"""All that a connection used from a thread lets out where it, and not our own code, is at fault."""


class Trouble(msgspec.Struct, frozen=True):
    """One trouble in words that are safe to show. They name host and port."""

    kind: TroubleKind
    text: str
    advice: str = ""
    status: int = 0

    def as_error(self, operation: str, subject: str = "") -> RfbulkError:
        """Return the error to raise for an operation that met this trouble."""
        match self.kind:
            case TroubleKind.CERTIFICATE:
                return ServiceRefused(operation, subject, cause=self.text, advice=self.advice)
            case TroubleKind.PROXY:
                return NotAuthorised(operation, subject, cause=self.text, advice=self.advice)
            case TroubleKind.GARBLED:
                return ProtocolError(operation, subject, cause=self.text, advice=self.advice)
            case _:
                return TroublePassing(
                    operation, subject, cause=self.text, advice=self.advice or "check the line and try again"
                )


def line_trouble_of(error: BaseException, url: Url, *, proxy: Url | None, is_connected: bool) -> Trouble:
    """Tell what an error of `LINE_ERRORS` means. `proxy`: the one that leads to `url`, if any.

    ========================================== ===========
    error                                      kind
    ========================================== ===========
    certificate not verified, wrong host       certificate
    the proxy answers 4xx to CONNECT           proxy
    no name, no route, refused, handshake      connect
    no connection or no answer in time         stalled
    an answer that is not HTTP                 garbled
    any other: reset, closed, cut short        broken
    ========================================== ===========
    """
    where = url.place
    dialled = where if proxy is None else f"{where} through the proxy {proxy.place}"
    match error:
        case ssl.SSLCertVerificationError():
            return untrusted(error, where)
        case TunnelRefused():
            return refused_by_proxy(error.status)
        case socket.gaierror():
            return no_name(where if proxy is None else f"the proxy {proxy.place}")
        case HeadFault():
            return no_http(where if is_connected else dialled)
        case TimeoutError() if is_connected:
            return Trouble(TroubleKind.STALLED, f"nothing moved to or from {where} for too long")
        case TimeoutError():
            return Trouble(TroubleKind.CONNECT, f"no connection to {dialled} in time")
        case OSError() if not is_connected:
            return Trouble(TroubleKind.CONNECT, f"no connection to {dialled}{reason_of(error)}")
        case _:
            return Trouble(TroubleKind.BROKEN, f"{where} closed the connection{reason_of(error)}")


def no_name(where: str) -> Trouble:
    """Tell that a host has no address."""
    return Trouble(TroubleKind.CONNECT, f"the name of {where} cannot be resolved", "check the address and the line")


def no_http(where: str) -> Trouble:
    """Tell that an answer is none."""
    return Trouble(TroubleKind.GARBLED, f"{where} does not speak HTTP", "is the address right?")


def untrusted(inner: BaseException, where: str) -> Trouble:
    """Tell that a certificate was not verified."""
    said = getattr(inner, "verify_message", "") or type(inner).__name__
    return Trouble(
        TroubleKind.CERTIFICATE,
        f"the certificate of {where} is not to be trusted: {said}",
        "name the authority that signed it with SSL_CERT_FILE or --ca-file",
    )


def refused_by_proxy(status: int) -> Trouble:
    """Tell what a proxy answered to CONNECT."""
    if is_passing_status(status):
        return Trouble(TroubleKind.BROKEN, f"the proxy answered {status}", status=status)
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        advice = "put user and password into the proxy's address"
    else:
        advice = "check HTTPS_PROXY, or name the host in NO_PROXY"
    return Trouble(TroubleKind.PROXY, f"the proxy answered {status}", advice, status)


def reason_of(error: BaseException) -> str:
    """Give the system's or TLS's own wording, and no other: it might hold a URL."""
    if isinstance(error, ssl.SSLError):
        return f": {getattr(error, 'reason', None) or 'TLS failed'}"  # OpenSSL alone gives reasons
    if isinstance(error, OSError) and error.errno:
        return f": {os.strerror(error.errno)}"
    return ""
