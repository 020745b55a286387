"""A URL taken apart for a connection that is spoken over by hand, and left as it was signed in every other respect."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?", re.DOTALL)
_NETLOC: Final = re.compile(r"(?:(.*)@)?(\[[^\[\]@]*\]|[^:\[\]@]*)(?::([0-9]{0,5}))?", re.DOTALL)
_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65_535


class Url(msgspec.Struct, frozen=True):
    """Where a request goes. `host` is as sockets want it, `target` is path and query, exactly as they were written.

    `userinfo` is what stands before the host's `@`. It and `target` may hold secrets, so neither is ever shown.
    """

    scheme: str
    host: str
    port: int
    target: str
    userinfo: str = ""

    def __repr__(self) -> str:
        return f"<Url {self.scheme}://{self.place}>"

    def __rich_repr__(self) -> list[tuple[str, object]]:  # else rich's tracebacks show all fields
        return [("place", self.place)]

    @property
    def place(self) -> str:
        """Host and port, for people."""
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def host_header(self) -> str:
        """The host as it was signed: with its port unless that is the scheme's own."""
        is_usual = self.port == _PORTS.get(self.scheme)
        return bracketed(self.host) if is_usual else self.place


def url_of(text: str) -> Url:
    """Take apart an absolute URL. A host that is not ASCII is taken as its international name.

    Raises:
        ValueError: it is none, or names no port where its scheme has none of its own. The text is not in it.
    """
    match = _URL.fullmatch(text)
    netloc = _NETLOC.fullmatch(match[2]) if match else None
    if match is None or netloc is None:
        raise ValueError("it is no URL")
    scheme = match[1].lower()
    host = netloc[2].removeprefix("[").removesuffix("]").lower()
    port = int(netloc[3]) if netloc[3] else _PORTS.get(scheme, 0)
    if not host or not 0 < port <= _MAX_PORT:
        raise ValueError("it names no host, or no port")
    if not host.isascii():
        host = host.encode("idna").decode()
    target = match[3] if match[3].startswith("/") else f"/{match[3]}"
    return Url(scheme, host, port, target, netloc[1] or "")


def bracketed(host: str) -> str:
    """Return a host as URLs spell it."""
    return f"[{host}]" if ":" in host else host
