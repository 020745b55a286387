"""One bucket: its keys listed, its objects read, its troubles told once and without what signs.

The library's own texts hold URLs, which may hold a SAS, so nothing of them is passed on but status and code.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitingTooLong
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rfbulk.core.objects import Address, Cloud, ObjectState, mark_of
from rfbulk.core.retry import RetryPolicy, is_passing_status, next_delay
from rfbulk.edge.bucket_listing import Listed, pages_in_order
from rfbulk.edge.bucket_stores import OpenStore, Patience, open_store
from rfbulk.edge.bucket_troubles import BucketTrouble
from rfbulk.errors import NotAuthorised, RfbulkError, SourceError, TroublePassing

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

_STATUS: Final = re.compile(r"non-2xx status code: ([0-9]{3})")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_INVALID_KEY: Final = re.compile(r"""Path "([^"\n]{1,1024})\"""")
_METADATA: Final = re.compile(r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google\.internal|metadata/identity")
_BAD_CREDENTIALS: Final = frozenset(
    {
        "AuthenticationFailed",
        "AuthorizationFailure",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidAuthenticationInfo",
        "InvalidToken",
        "NoAuthenticationInformation",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
"""Codes of refusals that meet every object alike: the credentials are at fault, not the object."""

_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})


class ObjectGone(Exception):
    """There is no object of that key."""


class ObjectReplaced(ObjectGone):
    """There is no longer the version that was begun with."""


class ObjectDenied(Exception):
    """That object may not be read."""


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

    def pages(
        self, folder: str, policy: RetryPolicy, *, sleep: Callable[[float], object] | None = None
    ) -> Iterator[list[Listed]]:
        """Yield the objects below `folder` by key, a page at a time; large folders in it are listed side by side.

        A listing that breaks off goes on behind what it has given, as long as `policy` allows.

        Raises:
            TroublePassing: nothing came for all of the policy's budget.
        """
        if self.address.cloud is Cloud.AZURE:  # it lists from the beginning always: what is skipped here comes over
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
            else:
                return

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
            failure = _translated(error, self.address, is_listing=is_listing)
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


def _translated(error: Exception, address: Address, *, is_listing: bool) -> Exception:
    """Tell what an error of the library means.

    ============================================ ==========================
    what happened                                becomes
    ============================================ ==========================
    404 / 412 of an object                       ObjectGone / ObjectReplaced
    404 of the bucket                            SourceError
    401, a code that blames the credentials      NotAuthorised
    403 of a listing / of an object              NotAuthorised / ObjectDenied
    a redirect: the bucket is elsewhere          SourceError
    a key that the library cannot spell          SourceError
    408, 429, 5xx, no connection, cut short      BucketTrouble
    any other answer                             SourceError
    ============================================ ==========================
    """
    text, kind = str(error), type(error).__name__
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    code = found[1] if (found := _CODE.search(text)) else ""
    if code in _NO_BUCKET or (is_listing and status == 404):
        return _unreadable(SourceError, address, "there is no such bucket", "check its name and its account")
    if status == 412 or kind == "PreconditionError":  # it was replaced while it was read
        return ObjectReplaced()
    if isinstance(error, FileNotFoundError):
        return ObjectGone()
    if kind == "InvalidPathError" or (isinstance(error, ValueError) and not status):
        return _misspelled(text, address)
    if _METADATA.search(text):
        return _unreadable(NotAuthorised, address, "no credentials were found", "set the cloud's variables")
    said = f"the store answered {status} {code}".rstrip()
    if status == 401 or code in _BAD_CREDENTIALS or (status == 403 and is_listing):
        return _unreadable(NotAuthorised, address, said, "check the credentials, and that they may list and read")
    if status == 403:
        return ObjectDenied(said)
    if status // 100 == 3 or "redirect" in text.lower():
        return _unreadable(SourceError, address, "the bucket is in another region", "set AWS_REGION")
    if status and not is_passing_status(status):
        return _unreadable(SourceError, address, said, "check the address and the endpoint")
    return BucketTrouble(said if status else "no answer came from the store")


def _misspelled(text: str, address: Address) -> RfbulkError:
    found = _INVALID_KEY.search(text)
    cause = (
        f"the key {found[1]!r} has an empty component, `.` or `..`" if found else "it holds a key that cannot be read"
    )
    return _unreadable(SourceError, address, cause, "rename the object, or name folders beside it")


def _unreadable(kind: type[RfbulkError], address: Address, cause: str, advice: str) -> RfbulkError:
    return kind("read source", address.url, cause=cause, advice=advice)
