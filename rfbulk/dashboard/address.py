"""Where the page is served, and who may see it there: nobody beyond this machine without a token."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass
from typing import Final

from rfbulk.errors import UsageError

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8791
_PORT: Final = re.compile(r"[0-9]{1,5}")
_SEND_BYTES: Final = 128 << 10
"""What the system holds for a reader that does not read. Left to itself it would hold megabytes."""

_ADVICE: Final = "write it as --dashboard=127.0.0.1:8791; a port of 0 takes any free one"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. `is_default` tells that nobody chose the port, so that another one does as well."""

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    is_default: bool = False


def parse_address(text: str) -> Address:
    """Read `HOST:PORT`, `HOST`, `:PORT` or `PORT`; an empty text is the default.

    Raises:
        UsageError: it is none of these.
    """
    text = text.strip()
    if not text:
        return Address(is_default=True)
    if _PORT.fullmatch(text):
        text = f":{text}"
    if text.startswith("[") and "]" in text:
        host, _, rest = text[1:].partition("]")
        colon, port = rest[:1], rest[1:]
    elif text.count(":") > 1:  # an IPv6 address alone
        host, colon, port = text, "", ""
    else:
        host, colon, port = text.partition(":")
    if colon not in ("", ":") or (colon and not _PORT.fullmatch(port)) or re.search(r"[\s/@?#\[\]]", host):
        raise UsageError("serve", f"the dashboard at {text}", cause="it is no HOST:PORT", advice=_ADVICE)
    number = int(port) if colon else DEFAULT_PORT
    if number > 65535:
        raise UsageError("serve", f"the dashboard at {text}", cause="ports end at 65535", advice=_ADVICE)
    return Address(host or DEFAULT_HOST, number)


def listen(address: Address) -> socket.socket:
    """Bind. A taken port that nobody chose is replaced by a free one.

    Raises:
        UsageError: the address cannot be had.
    """
    try:
        return _bind(address.host, address.port)
    except OSError as error:
        if address.is_default:
            return _bind(address.host, 0)
        cause = f"{error.strerror or error}"
        where = f"the dashboard at {address.host}:{address.port}"
        raise UsageError("serve", where, cause=cause, advice="choose another --dashboard HOST:PORT") from None


def _bind(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, where = min(found, key=lambda each: each[0] != socket.AF_INET)
    listener = socket.create_server((str(where[0]), int(where[1])), family=family, backlog=64)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)  # connections inherit it
    return listener


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in: `hosts` are the names by which the page may be called, besides addresses in digits.

    A page that is called by another name is refused, since that is how a strange website makes a browser read what is
    on this machine (DNS rebinding). An empty `token` lets in all who reach it: for loopback alone.
    """

    hosts: frozenset[str]
    is_loopback: bool
    token: str = ""

    @property
    def cookie(self) -> str:
        """The cookie's name: browsers keep cookies by host and not by port, so that several commands need several."""
        return f"rfbulk_{_digest(self.token)[:4].hex()}"

    def knows_host(self, header: str) -> bool:
        """Whether a `Host` header names this server."""
        host = header.rpartition("]")[0].lstrip("[") if header.startswith("[") else header.partition(":")[0]
        if host.lower().rstrip(".") in self.hosts:
            return True
        try:
            number = ipaddress.ip_address(host)
        except ValueError:
            return False
        return number.is_loopback or not self.is_loopback

    def admits(self, token: str) -> bool:
        """Whether a token opens it. Compared in constant time, in equal lengths."""
        return not self.token or hmac.compare_digest(_digest(token), _digest(self.token))


def access_for(listener: socket.socket, address: Address) -> Access:
    """Return who is let in at a socket that listens. Beyond loopback there is a fresh token."""
    is_loopback = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
    hosts = {"localhost", address.host.lower()}
    if not is_loopback:
        name = socket.gethostname().lower()
        hosts |= {name, name.partition(".")[0]}
    return Access(frozenset(hosts), is_loopback, "" if is_loopback else secrets.token_urlsafe(32))


def url_of(listener: socket.socket, address: Address, access: Access) -> str:
    """Return the address to open, its token with it."""
    number, port = listener.getsockname()[:2]
    host = address.host
    if ipaddress.ip_address(number.partition("%")[0]).is_unspecified:
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={access.token}" if access.token else "")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
