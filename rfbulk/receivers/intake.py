"""The bytes of one remote file on their way in: counted, paced and hashed."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from rfbulk.core.checksums import crc32c
from rfbulk.core.hashes import judge_whole, stored_hashes

if TYPE_CHECKING:
    from rfbulk.core.hashes import Whole
    from rfbulk.edge.downlink import Answer, Tap
    from rfbulk.edge.threads import Rate

PIECE_BYTES: Final = 256 << 10


class Digest:
    """Length and hashes of a file so far.

    MD5 takes ten times as long as all else that is done to a byte: it is computed only where nothing better is told.
    """

    def __init__(self, *, with_md5: bool) -> None:
        self.size = 0
        self.crc32c = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if with_md5 else None

    @property
    def md5(self) -> bytes | None:
        """The MD5, where it is computed."""
        return self._md5.digest() if self._md5 else None

    def add(self, piece: bytes | memoryview) -> None:
        """Go on with the file's next bytes."""
        self.crc32c = crc32c(piece, self.crc32c)
        self.size += len(piece)
        if self._md5:
            self._md5.update(piece)

    def read(self, descriptor: int, held: int, go_on: Callable[[], None]) -> None:
        """Go on with `held` bytes that lie on the disk. Raises OSError, and what `go_on` raises."""
        while held:
            go_on()
            piece = os.read(descriptor, min(PIECE_BYTES, held))
            if not piece:
                raise OSError(errno.EIO, "the beginning of the file has vanished")
            self.add(piece)
            held -= len(piece)


class Intake:
    """Takes the body of an answer, which goes on where `digest` stands. `received` counts this answer alone."""

    def __init__(
        self, answer: Answer, tap: Tap, rate: Rate, on_bytes: Callable[[int], None], digest: Digest | None = None
    ) -> None:
        self.stored = stored_hashes(answer.head.headers, is_partial=digest is not None)
        self.digest = digest or Digest(with_md5=self.stored.needs_md5)
        self.received = 0
        self._is_delimited = answer.head.is_chunked or answer.head.length is not None
        self._answer = answer
        self._tap = tap
        self._rate = rate
        self._on_bytes = on_bytes

    def pieces(self) -> Iterator[memoryview]:
        """Give what comes, each piece good until the next. Raises GetBroken or CalledOff."""
        for piece in self._answer.pieces():
            count = len(piece)
            seconds = self._rate.due(count)
            if seconds:
                self._tap.pause(seconds)
            self.digest.add(piece)
            self.received += count
            self._on_bytes(count)
            yield piece

    def go_on_with(self, answer: Answer) -> None:
        """Take the rest from another answer."""
        self._answer = answer

    def judge(self) -> Whole:
        """Tell by what the file, which has come to its end, is whole."""
        return judge_whole(self.stored, self.digest.crc32c, self.digest.md5, is_delimited=self._is_delimited)
