"""One bucket: its keys listed, its objects read, its troubles told once and without what signs.

The library's own texts hold URLs, which may hold a SAS, so nothing of them is passed on but status and code.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitingTooLong
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rfbulk.core.objects import Address, Cloud, ObjectState, mark_of, odd_part
from rfbulk.core.retry import RetryPolicy, next_delay
from rfbulk.edge.bucket_answers import KeyMisspelled, ObjectReplaced, misspelled, translated
from rfbulk.edge.bucket_listing import Listed, pages_in_order
from rfbulk.edge.bucket_stores import OpenStore, Patience, open_store
from rfbulk.edge.bucket_troubles import BucketTrouble
from rfbulk.errors import TroublePassing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore import ObjectMeta

    from rfbulk.core.secrets import SignedUrl

T = TypeVar("T")

PAGE: Final = 1000
"""Objects that stores list at a time, and so the most that a listing holds."""

_LOOK_SECONDS: Final = 0.2
PIECE_BYTES: Final = 512 << 10
_BREAKS: Final = 3
"""How often a stream may break off in one place. The library has tried each time, for as long as it is told to."""

_NOTHING: Final = ObjectState(0, 0, 0)
_ODD_KEY: Final = (
    "nothing whose key begins so can be read, since no path has an empty component, `.` or `..`; names of its folder"
    " that stand in front of it, such as those that begin with ( or -, may be missing too: rename these objects"
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket. Setting `ended` ends waits for listings and heads at once, with a BucketTrouble.

    Every method blocks, may be called from any thread, and lets out besides the named errors:

    - `BucketTrouble`: it may be better the next time
    - `NotAuthorised`, `SourceError`: the bucket cannot be read at all
    """

    address: Address
    opened: OpenStore
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def lists_behind_keys(self) -> bool:
        """Whether its server can begin a listing behind a key: Azure's and S3's directory buckets always give all."""
        return self.address.cloud is not Cloud.AZURE and not self.address.bucket.endswith("--x-s3")

    def pages(
        self, folder: str, policy: RetryPolicy, *, sleep: Callable[[float], object] | None = None
    ) -> Iterator[list[Listed]]:
        """Yield the objects below `folder` by key, a page at a time; large folders in it are listed side by side.

        A listing that breaks off goes on behind what it has given, as long as `policy` allows.

        Raises:
            TroublePassing: nothing came for all of the policy's budget.
        """
        if not self.lists_behind_keys:
            return self._chained(folder, None, policy, sleep)
        begin = partial(self._chained, policy=policy, sleep=sleep)
        return pages_in_order(begin, folder, self.ended)

    def first_page(self, folder: str, policy: RetryPolicy) -> list[Listed]:
        """Return the first objects below `folder`. Raises as `pages` does."""
        return next(self._chained(folder, None, policy, None), [])

    def _chained(
        self, folder: str, behind: str | None, policy: RetryPolicy, sleep: Callable[[float], object] | None
    ) -> Iterator[list[Listed]]:
        """One page after the other."""
        row = _Row(policy, sleep or self.ended.wait)
        while True:
            try:
                for page in self._listing(folder, behind):
                    row.failures = 0
                    behind = page[-1].key
                    yield page
            except BucketTrouble as trouble:
                self._bear(row, "list", trouble)
            except KeyMisspelled as odd:
                parts = odd_part(odd.key)
                if parts is None or not self.lists_behind_keys or (behind is not None and parts[2] <= behind):
                    raise misspelled(odd.key, self.address) from None
                yield from self._before(parts[0], folder, behind, policy)
                yield [Listed(parts[1], _NOTHING, _ODD_KEY)]
                behind = parts[2]
            else:
                return

    def _before(self, odd: str, folder: str, behind: str | None, policy: RetryPolicy) -> Iterator[list[Listed]]:
        """Give what a lost page held in front of the folder `odd`: those above it are listed level by level."""
        above = folder
        while above != odd:
            inner = odd[: odd.index("/", len(above)) + 1]
            yield from self._level(above, behind, inner, policy)
            above = inner

    def _level(self, folder: str, behind: str | None, end: str, policy: RetryPolicy) -> Iterator[list[Listed]]:
        """Give what stands directly in a folder, and in its folders, between two keys."""
        library, store = _library(), self.opened.store

        def work() -> Any:
            return self._told(
                lambda: self._patiently(lambda: library.list_with_delimiter(store, folder or None)), is_listing=True
            )

        try:
            found = self.persist("list", work, policy)
        except KeyMisspelled:
            return  # the folder has an odd key of its own, and tells it when it is met
        objects = {each["path"]: Listed(each["path"], _state(each)) for each in found["objects"]}
        for key in sorted([*objects, *(f"{each}/" for each in found["common_prefixes"] if each)]):
            if key < end and key in objects and (behind is None or key > behind):
                yield [objects[key]]
            elif key < end and key not in objects and (behind is None or key > behind or behind.startswith(key)):
                inside = behind is not None and behind.startswith(key)
                yield from self._chained(key, behind if inside else None, policy, None)

    def persist(self, operation: str, work: Callable[[], T], policy: RetryPolicy) -> T:
        """Do work until no trouble meets it, as long as `policy` allows.

        Raises:
            TroublePassing: trouble has met it for all of the policy's budget.
        """
        row = _Row(policy, self.ended.wait)
        while True:
            try:
                return work()
            except BucketTrouble as trouble:
                self._bear(row, operation, trouble)

    def _bear(self, row: _Row, operation: str, trouble: BucketTrouble) -> None:
        """Wait before the next attempt. Raises TroublePassing if there is to be none."""
        delay = row.next_delay()
        if delay is None or self.ended.is_set():
            advice = "run the same again to resume"
            raise TroublePassing(operation, self.address.url, cause=str(trouble), advice=advice) from None
        row.sleep(delay)

    def head(self, key: str) -> ObjectState:
        """Look at an object. Raises ObjectGone, ObjectDenied."""
        return self._told(lambda: self._patiently(lambda: _state(_library().head(self.opened.store, key))))

    def read(self, key: str, size: int) -> tuple[ObjectState, memoryview]:
        """Read an object whole, unless it has another size by now. Raises ObjectGone, ObjectDenied."""

        def work() -> tuple[ObjectState, memoryview]:
            result = _library().get(self.opened.store, key)
            state = _state(result.meta)
            return state, memoryview(result.bytes() if state.size == size else b"")

        return self._told(work)

    def beginning(self, key: str, count: int) -> tuple[ObjectState, bytes]:
        """Read an object's first bytes: `count`, or all. Raises ObjectGone, ObjectDenied."""

        def work() -> tuple[ObjectState, bytes]:
            result = _library().get(self.opened.store, key, options={"range": (0, count)})
            return _state(result.meta), bytes(memoryview(result.bytes()))

        return self._told(lambda: self._patiently(work))

    def stream(self, key: str) -> tuple[ObjectState, Iterator[memoryview]]:
        """Read an object in pieces of less than a megabyte, which may come to less than its size.

        Where its stream breaks off it goes on, by a request for the rest of that very version: a large object outlives
        connections. Raises ObjectGone, ObjectDenied; iterating raises these, and BucketTrouble.
        """
        state, e_tag, pieces = self._told(lambda: self._rest_of(key, 0, None))
        return state, self._continued(key, state, e_tag, pieces)

    def _continued(
        self, key: str, state: ObjectState, e_tag: str | None, begun: Iterator[memoryview]
    ) -> Iterator[memoryview]:
        place, breaks = 0, 0
        pieces: Iterator[memoryview] | None = begun
        while True:
            try:
                if pieces is None:
                    now, _, pieces = self._told(partial(self._rest_of, key, place, e_tag))
                    if (now.mark, now.size) != (state.mark, state.size):
                        raise ObjectReplaced from None
                while (piece := self._told(partial(next, pieces, None))) is not None:
                    place, breaks = place + len(piece), 0
                    yield piece
            except BucketTrouble:
                breaks += 1
                if breaks > _BREAKS or place >= state.size or self.ended.wait((breaks - 1) / 4):
                    raise
                pieces = None
            else:
                return

    def _rest_of(self, key: str, place: int, e_tag: str | None) -> tuple[ObjectState, str | None, Iterator[memoryview]]:
        options: dict[str, object] = {"range": {"offset": place}} if place else {}
        if e_tag is not None and not e_tag.startswith("W/"):  # a weak one matches nothing
            options["if_match"] = e_tag
        result = _library().get(self.opened.store, key, options=options)
        pieces: Iterator[memoryview] = map(memoryview, result.stream(min_chunk_size=PIECE_BYTES))
        return _state(result.meta), result.meta["e_tag"], pieces

    def sign(self, keys: Sequence[str], seconds: float) -> list[SignedUrl | None]:
        """Make URLs that let everybody read these objects for so long. None where no valid one can be made.

        Raises:
            UsageError: the credentials cannot sign.
        """
        return self.opened.sign(keys, seconds)

    def _listing(self, folder: str, behind: str | None) -> Iterator[list[Listed]]:
        listing = _library().list(self.opened.store, folder or None, offset=behind, chunk_size=PAGE)
        pages = iter(listing)
        while page := self._told(lambda: self._patiently(lambda: next(pages, None)), is_listing=True):
            yield [Listed(found["path"], _state(found)) for found in page]

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do what nothing can call off in a thread that may be left behind, where it keeps nobody from ending."""
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                outcome.set_exception(error)

        threading.Thread(target=run, name="rfbulk-list", daemon=True).start()
        while True:
            try:
                return outcome.result(_LOOK_SECONDS)
            except WaitingTooLong:
                if outcome.done():
                    raise  # it is what the work raised
                if self.ended.is_set():
                    raise BucketTrouble("it was called off") from None

    def _told(self, work: Callable[[], T], *, is_listing: bool = False) -> T:
        from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra

        try:
            return work()
        except BucketTrouble:
            raise
        except (BaseError, OSError, ValueError) as error:
            failure = translated(error, self.address, is_listing=is_listing)
        raise failure  # outside of `except`: not even the context holds the library's text


@dataclass(slots=True)
class _Row:
    """A row of failures."""

    policy: RetryPolicy
    sleep: Callable[[float], object]
    failures: int = 0
    began: float = 0.0

    def next_delay(self) -> float | None:
        now = time.monotonic()
        self.began = self.began if self.failures else now
        self.failures += 1
        return next_delay(self.policy, failures=self.failures, elapsed=now - self.began, retry_after=None, jitter=0.5)


def open_bucket(address: Address, environment: Mapping[str, str], patience: Patience) -> Bucket:
    """Return a bucket. Nothing is sent yet.

    Raises:
        UsageError: the library is missing, or what the environment says cannot be used.
    """
    return Bucket(address, open_store(address, environment, patience))


def _library() -> Any:
    import obstore  # noqa: PLC0415 - an extra, loaded where a bucket is read

    return obstore


def _state(meta: ObjectMeta) -> ObjectState:
    seconds = int(meta["last_modified"].timestamp())
    return ObjectState(meta["size"], seconds * 1_000_000_000, mark_of(meta["e_tag"], meta["version"]))
