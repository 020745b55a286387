"""What comes in over a line, through one buffer that is used over and over: heads, and bodies by their framing.

What it raises is what lines raise, and `HeadFault` for what is not HTTP: whoever owns the line translates it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from rfbulk.core.heads import Head, HeadFault, parse_head
from rfbulk.edge.lines import MAX_HEAD_BYTES, LineEnded

if TYPE_CHECKING:
    from rfbulk.edge.lines import Line

PIECE_BYTES: Final = 256 << 10
"""What must come within the stall limit: 4 KiB/s at its default of a minute still is a line that moves."""

_MAX_CHUNK_LINE: Final = 1024
_MOST_INTERIM: Final = 32
_MOST_TRAILERS: Final = 128
"""What comes as fast as it is read never meets the stall limit, and these go on without bringing anything."""

_HEAD_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\x00]*)?\r\n")


class Inflow:
    """Receives answers over a line, one after the other. Pieces are views of the buffer, good until the next one.

    The buffer holds more than `MAX_HEAD_BYTES` where heads are received.
    """

    def __init__(self, line: Line, buffer: bytearray, *, stall_seconds: float) -> None:
        self.line = line
        self.is_at_start = True
        """Another request may be sent."""

        self.is_silent = True
        """Nothing has come since the last request."""

        self._buffer = buffer
        self._view = memoryview(buffer)
        self._stall_seconds = stall_seconds
        self._start = self._end = 0  # what was received and not given yet
        self._moved = 0  # since the limit was last moved forward

    def ask(self, request: bytes) -> Head:
        """Send a request and return the head of what is answered."""
        self.begin()
        self.line.ask(request)
        return self.hear()

    def unless_stale(self, ask: Callable[[], Head]) -> Head | None:
        """Return what `ask` has heard, None if the connection had been used before and turns out to be dead.

        Then the other side has closed it while it rested, and has not seen the request.
        """
        is_fresh = self.line.is_fresh
        try:
            head = ask()
        except (ConnectionError, ssl.SSLError):
            if is_fresh or not self.is_silent:
                raise
            return None
        return None if head.status == HTTPStatus.REQUEST_TIMEOUT and not is_fresh else head

    def begin(self) -> None:
        """Note that a request is being sent, by others than `ask`."""
        self.is_at_start, self.is_silent = False, True
        self.limit()

    def hear(self) -> Head:
        """Return the head of what is answered to a request that was sent."""
        self.line.await_more()
        for _ in range(_MOST_INTERIM):
            head = self._next_head()
            if not head.is_interim:
                self.line.is_fresh = False
                self.is_at_start = head.length == 0 and head.keeps and self._start == self._end
                return head
            if head.status == HTTPStatus.SWITCHING_PROTOCOLS:
                break
        raise HeadFault

    def body(self, head: Head) -> Iterator[memoryview]:
        """Give the body that follows a head, to the end that its framing tells.

        Where it tells none, the end of the connection is the end, for better or worse.
        """
        if head.is_chunked:
            yield from self._chunked()
        elif head.length is None:
            yield from self._rest()
            return
        else:
            yield from self._exactly(head.length)
        self.is_at_start = head.keeps and self._start == self._end  # what comes unasked is no answer

    def limit(self) -> None:
        """Let the stall limit begin anew."""
        self._moved = 0
        self.line.limit(self._stall_seconds)

    # framing

    def _next_head(self) -> Head:
        end = self._find(_HEAD_END, MAX_HEAD_BYTES)
        data = self._buffer[self._start : end]
        self._start = end
        return parse_head(data)

    def _exactly(self, length: int) -> Iterator[memoryview]:
        left = length
        while left:
            if self._start == self._end:
                self._receive()
            piece = self._view[self._start : min(self._end, self._start + left)]
            self._start += len(piece)
            left -= len(piece)
            yield piece

    def _chunked(self) -> Iterator[memoryview]:
        while size := self._chunk_size():
            yield from self._exactly(size)
            if self._line() != _LINE_END:
                raise HeadFault
        for _ in range(_MOST_TRAILERS):
            if self._line() == _LINE_END:
                return
        raise HeadFault

    def _chunk_size(self) -> int:
        match = _CHUNK_SIZE.fullmatch(self._line())
        if match is None:
            raise HeadFault
        return int(match[1], 16)

    def _line(self) -> bytes:
        end = self._find(_LINE_END, _MAX_CHUNK_LINE)
        line = bytes(self._view[self._start : end])
        self._start = end
        return line

    def _rest(self) -> Iterator[memoryview]:
        while True:
            if self._start == self._end and not self._has_more():
                return
            piece = self._view[self._start : self._end]
            self._start = self._end
            yield piece

    # receiving

    def _find(self, mark: bytes, most: int) -> int:
        """Return where the next `mark` ends."""
        looked = self._start
        while (found := self._buffer.find(mark, looked, self._end)) < 0:
            if self._end - self._start > most:
                raise HeadFault
            looked = max(self._start, self._end - len(mark) + 1) - self._start
            self._receive()
            looked += self._start
        if found + len(mark) - self._start > most:
            raise HeadFault
        return found + len(mark)

    def _receive(self) -> None:
        if not self._has_more():
            raise LineEnded

    def _has_more(self) -> bool:
        """Receive more behind what is here. False once the connection has ended."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end == len(self._buffer):
            kept = self._buffer[self._start : self._end]
            self._view[: len(kept)] = kept
            self._start, self._end = 0, len(kept)
        count = self.line.receive_into(self._view[self._end :])
        self.is_silent = self.is_silent and count == 0
        self._end += count
        self._moved += count
        if self._moved >= PIECE_BYTES:
            self.limit()
        return count > 0
