"""GETs of remote files over blocking lines, each in the thread that writes the file.

The twin of the uplink. A group of files is asked for one after the other over one connection, through one buffer, and
each request is sent in one piece: a small file then costs one send and one or two receives. Follows few redirects and
none to a worse place, believes no answer further than its framing goes, and lets no signature into any text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from rfbulk import __version__
from rfbulk.core.grants import UrlFault, check_url
from rfbulk.core.redaction import excerpt
from rfbulk.core.store_errors import MAX_STORE_ERROR_BYTES, parse_store_error
from rfbulk.core.urls import Url, url_of
from rfbulk.edge.answers import secrets_of
from rfbulk.edge.connections import Connections, Origin, authorization
from rfbulk.edge.inflow import Inflow
from rfbulk.edge.troubles import LINE_ERRORS, TroubleKind, line_trouble_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rfbulk.core.heads import Head
    from rfbulk.core.secrets import SignedUrl
    from rfbulk.edge.lines import Call, Line
    from rfbulk.edge.ways import Ways

BUFFER_BYTES: Final = 256 << 10
"""One for each thread."""

MAX_REDIRECTS: Final = 3
_MESSAGE_CHARACTERS: Final = 400

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_BEHIND_SCHEME: Final = len("https://")
_COMMON: Final = f"Accept-Encoding: identity\r\nUser-Agent: rfbulk/{__version__}\r\n"


class GetBroken(Exception):
    """There is no answer to believe, or it ended before it was whole. Its text is safe to show."""

    def __init__(self, kind: TroubleKind, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


class GetRefused(Exception):
    """The URL, or where it redirects to, is not gone to. Its text is safe to show."""


class Place(NamedTuple):
    """A store as requests need it: its URL without a path, the way there, and the fields that each request has."""

    front: str
    url: Url
    origin: Origin
    fields: str


class Downlink:
    """Keeps connections to stores, and receives over them. Threads may share it; each takes a tap of its own."""

    def __init__(self, ways: Ways, *, allow_http: bool = False) -> None:
        self._allow_http = allow_http
        self._connections = Connections(ways)

    def close(self) -> None:
        """Close the connections that wait to be used again. What a tap still uses closes with it."""
        self._connections.close()

    def tap(self, call: Call, buffer: bytearray, *, stall_seconds: float) -> Tap:
        """Return what one thread receives through, into `buffer`. It must be closed."""
        return Tap(self._connections, call, buffer, stall_seconds=stall_seconds, allow_http=self._allow_http)


class Tap:
    """One connection at a time, for one thread. Whatever it waits for ends when nothing moves for too long."""

    def __init__(
        self, connections: Connections, call: Call, buffer: bytearray, *, stall_seconds: float, allow_http: bool
    ) -> None:
        self._connections = connections
        self._call = call
        self._buffer = buffer
        self._stall_seconds = stall_seconds
        self._allow_http = allow_http
        self._places: dict[str, Place] = {}
        self._place: Place | None = None  # whom the connection is with
        self._inflow: Inflow | None = None

    def close(self) -> None:
        """Give the connection back, to be used again if it stands where an answer begins."""
        inflow, place, self._inflow, self._place = self._inflow, self._place, None, None
        if inflow is not None and place is not None:
            self._connections.leave(inflow.line, place.origin, keep=inflow.is_at_start)

    def pause(self, seconds: float) -> None:
        """Let time pass that does not count as a stall. Raises CalledOff."""
        self._call.wait(seconds)
        if self._inflow is not None:
            self._inflow.line.ends_at += seconds

    def get(self, url: SignedUrl, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for a remote file, and return what was answered, with its body still to come.

        `headers` are sent beside Host, Accept-Encoding and User-Agent, also to where a redirect leads. A connection
        that had been used before and turns out to be dead is replaced, once: nothing was answered over it.

        Raises:
            GetBroken: there is no answer to believe.
            GetRefused: the URL is not gone to.
            CalledOff: the attempt was called off.
            ServiceRefused, NotAuthorised: the certificate is not to be trusted, or the proxy refuses.
            UsageError: the proxy is of a kind that cannot be passed through.
        """
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) if headers else ""
        text = url.reveal()
        for _ in range(MAX_REDIRECTS + 1):
            place = self._place_of(text)
            request = f"GET {_target(text, place)} HTTP/1.1\r\n{place.fields}{fields}\r\n"
            answer = Answer(self, self._asked(place, request.encode()), text)
            location = answer.head.headers.get("location")
            if answer.head.status not in _REDIRECTS or location is None:
                return answer
            answer.drop()
            text = _redirected(text, location)
        raise GetRefused(f"the store redirected more than {MAX_REDIRECTS} times")

    def body(self, head: Head) -> Iterator[memoryview]:
        """Give the body of the last answer. Raises GetBroken or CalledOff."""
        inflow, place = self._inflow, self._place
        if inflow is None or place is None:
            raise AssertionError("an answer is read once, and before the next is asked for")
        try:
            yield from inflow.body(head)
        except LINE_ERRORS as error:
            failure = self._failure(error, place)
        else:
            return
        raise failure  # outside of `except`: not even the context holds a foreign error

    def _place_of(self, text: str) -> Place:
        end = text.find("/", _BEHIND_SCHEME)
        place = self._places.get(text[:end]) if end > 0 else None
        if place is None:
            return self._new_place(text)
        if not text.isascii() or not text.isprintable() or " " in text:
            raise GetRefused("the URL holds characters that no URL has")
        return place

    def _new_place(self, text: str) -> Place:
        reason = ""
        try:
            parts = check_url(text, allow_http=self._allow_http)
            front = f"{parts.scheme}://{parts.netloc}"
            url = url_of(front)
        except UrlFault as fault:
            reason = str(fault)
        except ValueError:
            reason = "the URL cannot be parsed"
        if reason or not text.startswith(front):
            raise GetRefused(reason or "the URL is spelled oddly")
        origin = self._connections.origin_of(url)
        fields = {"Host": url.host_header} | (authorization(origin.proxy) if origin.is_forwarded else {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        place = self._places[front] = Place(front, url, origin, lines + _COMMON)
        return place

    def _asked(self, place: Place, request: bytes) -> Head:
        try:
            inflow = self._inflow_to(place)
            head = inflow.unless_stale(partial(inflow.ask, request))
            if head is None:
                self.close()
                head = self._connected(place, self._connections.new_line_to(place.origin, self._call)).ask(request)
        except LINE_ERRORS as error:
            failure = self._failure(error, place)
        else:
            return head
        raise failure  # as in `body`

    def _inflow_to(self, place: Place) -> Inflow:
        if self._inflow is not None and self._inflow.is_at_start and self._place == place:
            return self._inflow
        self.close()
        return self._connected(place, self._connections.line_to(place.origin, self._call))

    def _connected(self, place: Place, line: Line) -> Inflow:
        self._place = place
        self._inflow = Inflow(line, self._buffer, stall_seconds=self._stall_seconds)
        return self._inflow

    def _failure(self, error: BaseException, place: Place) -> Exception:
        is_connected = self._inflow is not None
        self.close()
        self._call.go_on()
        trouble = line_trouble_of(error, place.url, proxy=place.origin.proxy, is_connected=is_connected)
        if trouble.kind in (TroubleKind.CERTIFICATE, TroubleKind.PROXY):
            return trouble.as_error("fetch from", place.url.place)
        return GetBroken(trouble.kind, trouble.text)


class Answer:
    """What was answered to a GET. Its body is read at most once, and before its tap is used again."""

    __slots__ = ("_tap", "_url", "head")

    def __init__(self, tap: Tap, head: Head, url: str) -> None:
        self.head = head
        self._tap = tap
        self._url = url

    @property
    def path(self) -> str:
        """The path that was answered for, without what signs it."""
        return urlsplit(self._url).path

    def pieces(self) -> Iterator[memoryview]:
        """Give the body piece by piece; each is good until the next.

        A body whose head tells neither a length nor chunks ends with its connection, whether it is whole or not.

        Raises:
            GetBroken: it was cut short, or nothing moved for too long.
            CalledOff: the attempt was called off.
        """
        return self._tap.body(self.head)

    def error(self) -> tuple[str, str]:
        """Return code and message of a store's error, safe to show. Of a long answer the beginning is looked at."""
        content = b""
        with contextlib.suppress(GetBroken):
            for piece in self.pieces():
                content += piece
                if len(content) > MAX_STORE_ERROR_BYTES:
                    break
        code, message = parse_store_error(content[:MAX_STORE_ERROR_BYTES])
        secrets = secrets_of(self._url)
        return excerpt(code, secrets=secrets), excerpt(message, secrets=secrets, limit=_MESSAGE_CHARACTERS)

    def drop(self) -> None:
        """Read over a body that nobody wants, if it is short: its connection can then be used again."""
        self.error()


def _target(text: str, place: Place) -> str:
    """What is asked for: all of the URL from a proxy that reads it, else what follows the host."""
    text = text.partition("#")[0]
    if place.origin.is_forwarded:
        return text
    target = text[len(place.front) :]
    return target if target.startswith("/") else f"/{target}"


def _redirected(text: str, location: str) -> str:
    """Return where a redirect leads, if that is no worse a place: https stays https, this machine stays itself."""
    try:
        target = urljoin(text, location)
        before, after = urlsplit(text), urlsplit(target)
        is_worse = after.scheme != "https" and (before.scheme, before.hostname) != (after.scheme, after.hostname)
    except ValueError:
        is_worse = True
    if is_worse:
        raise GetRefused("the store redirects to where it is not safe to go")
    return target
