"""Lists large folders of a bucket side by side, and gives their pages in the order of the keys all the same.

A listing is a chain: each page tells where the next begins. But where a whole page lies in one folder, that folder is
large, and what stands behind it can be asked for at once by its name: so it is listed by a thread of its own, and the
chain goes on behind it. Small folders cost no request more than one after the other, and neither does a flat bucket.

    page, page, (rest of a large folder), page, (rest of the next), …

That holds in any order of a server's in which a folder's keys stand together, and behind a key means behind it in that
order: in S3's own, and in that of servers which walk folders.

Order is worth keeping: resuming goes by it, and so do the names of ingests. It is kept by reading ahead: of up to
`AHEAD` folders, `PAGES` pages each, which wait packed. A packed page of a thousand keys has some 20 KB (a hundred at
the most), so that all that waits has some 16 MB, however large the bucket is.
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import msgspec

from rfbulk.core.objects import ObjectState
from rfbulk.errors import TroublePassing


class Listed(msgspec.Struct, frozen=True, gc=False):
    """An object as a listing shows it. One with a `fault` stands for all keys that begin so, which cannot be read."""

    key: str
    state: ObjectState
    fault: str = ""


Page: TypeAlias = list[Listed]
Begin: TypeAlias = Callable[[str, str | None], Iterator[Page]]

AHEAD: Final = 8
PAGES: Final = 100
_LEAST: Final = 1000
"""Keys of a page that is full: only behind such a one more can follow."""

_LAST: Final = "\U0010fffd"
"""Behind everything that a folder may hold."""

_LOOK_SECONDS: Final = 0.2
_pages = msgspec.msgpack.Decoder(Page)


def pages_in_order(begin: Begin, folder: str, ended: threading.Event, *, full: int = _LEAST) -> Iterator[Page]:
    """Yield all pages of keys below `folder`, in order.

    `begin` lists a folder behind a key, one page after the other, and is called from several threads. What it raises
    is raised where its page would come. A page of less than `full` keys ends a listing, or is merely a small one.
    """
    closing = _Closing(ended)
    try:
        yield from _Buffered(_chain(begin, folder, closing, full), closing)
    finally:
        closing.is_set = True


class _Closing:
    """Whether nobody wants further pages."""

    def __init__(self, ended: threading.Event) -> None:
        self._ended = ended
        self.is_set = False

    def check(self) -> None:
        """Go on. What ends early must never look like the end of a listing, so this raises TroublePassing."""
        if self.is_set or self._ended.is_set():
            raise TroublePassing("list", "a bucket", cause="it was called off", advice="run the same again to resume")


def _chain(begin: Begin, folder: str, closing: _Closing, full: int) -> Iterator[Page | _Buffered]:
    room = threading.Semaphore(AHEAD)
    pages, listed = begin(folder, None), ""
    while (page := next(pages, None)) is not None:
        if listed:  # keys that stand even behind `_LAST` come with the rest of their folder
            page = [each for each in page if not each.key.startswith(listed)]
            if not page:
                continue
        yield page
        large = _folder_of(page[-1].key)
        if len(page) < full or large == folder or _folder_of(page[0].key) != large:
            continue
        while not room.acquire(timeout=_LOOK_SECONDS):
            closing.check()
        yield _Buffered(begin(large, page[-1].key), closing, room)
        pages, listed = begin(folder, large + _LAST), large


def _folder_of(key: str) -> str:
    return key[: key.rfind("/") + 1]


class _Buffered:
    """Pages that a thread reads ahead; among them may be others of the kind, which are given page by page."""

    def __init__(
        self, pages: Iterator[Page | _Buffered], closing: _Closing, room: threading.Semaphore | None = None
    ) -> None:
        self._pages = pages
        self._closing = closing
        self._room = room
        self._changed = threading.Condition()
        self._ready: deque[bytes | _Buffered | BaseException | None] = deque()
        threading.Thread(target=self._read, name="rfbulk-list-ahead", daemon=True).start()

    def __iter__(self) -> Iterator[Page]:
        while (found := self._take()) is not None:
            if isinstance(found, BaseException):
                raise found
            if isinstance(found, _Buffered):
                yield from found
            else:
                yield _pages.decode(zlib.decompress(found))
        if self._room is not None:
            self._room.release()

    def _take(self) -> bytes | _Buffered | BaseException | None:
        with self._changed:
            while not self._ready:
                self._changed.wait()
            found = self._ready.popleft()
            self._changed.notify_all()
            return found

    def _read(self) -> None:
        last: BaseException | None = None
        try:
            for page in self._pages:
                self._put(page if isinstance(page, _Buffered) else _packed(page))
        except BaseException as error:  # noqa: BLE001 - raised again where the page would come
            last = error
        with self._changed:
            self._ready.append(last)
            self._changed.notify_all()

    def _put(self, page: bytes | _Buffered) -> None:
        with self._changed:
            while len(self._ready) >= PAGES:
                self._changed.wait(_LOOK_SECONDS)
                self._closing.check()
            self._closing.check()
            self._ready.append(page)
            self._changed.notify_all()


def _packed(page: Page) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(page), 1)
