"""The buckets that an upload reads: named, listed, and looked at again. A twin of the source of folders.

An entry's path is its key behind the folder that was named; its fingerprint is the object's size, its time in whole
seconds, and 64 bits of its ETag (else its version) where a file has its inode.

A page of a thousand keys takes a round trip, however they lie in folders: one listing brings some 8,000 keys a second,
more than lines carry of images. But what only looks waits for it, as a plan does, and a resume where all is there. So
large folders are listed side by side (`bucket_listing`). Measured with pages of 50 ms: 10 folders of 10 pages take
1.5 s instead of 6.9, 3 of 60 pages 4 s instead of 11; small folders, and flat ones, take what they took.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import msgspec

from rfbulk.core import containers
from rfbulk.core.limits import Format
from rfbulk.core.media import IMAGES, Media
from rfbulk.core.model import Entry, Refusal, RefusalReason
from rfbulk.core.naming import basename_name, member_name, prefixed_name
from rfbulk.core.objects import Address, ObjectState, parse_address
from rfbulk.core.selection import Chooser, Selection, chooser_of
from rfbulk.edge.bucket_answers import ObjectDenied, ObjectGone
from rfbulk.edge.bucket_listing import Listed
from rfbulk.edge.buckets import Bucket, open_bucket
from rfbulk.edge.files import ScanGroup
from rfbulk.edge.source import NO_VIDEO
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.edge.bucket_stores import Patience
    from rfbulk.settings import Names

GROUP_SIZE: Final = 500


@dataclass(frozen=True, slots=True)
class BucketRoot:
    """A folder of a bucket, or the `only` object of it that is meant. `number` is what entries call it."""

    bucket: Bucket
    number: int
    only: Listed | None
    chooser: Chooser
    glob: Chooser | None
    name_of: Callable[[bytes], str]

    @property
    def is_file(self) -> bool:
        """Whether it is a single object."""
        return self.only is not None

    @property
    def address(self) -> Address:
        """Where it is."""
        return self.bucket.address

    def key_of(self, path: bytes) -> str:
        """Return the key of the object at an entry's path."""
        return self.address.folder + path.decode()


@dataclass(frozen=True, slots=True)
class BucketSource:
    """One or more buckets' folders or objects. Made by `open_bucket_source`; every method blocks on the line."""

    opened: tuple[BucketRoot, ...]
    policy: RetryPolicy
    media: Media = IMAGES

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The addresses in which the entries' paths begin, by `Entry.root`. They hold no secret."""
        return tuple(root.address.url.encode() for root in self.opened)

    @property
    def identities(self) -> tuple[str, ...]:
        """Return the sources as the checkpoint knows them: with the server, where it is not the cloud's own."""
        return tuple(_identity(root.bucket) for root in self.opened)

    def close(self) -> None:
        """Let nothing wait for a listing any more."""
        for root in self.opened:
            root.bucket.ended.set()

    def scan(self) -> Iterator[ScanGroup]:
        """List all roots, group by group, in the order of their keys.

        Raises:
            TroublePassing, NotAuthorised, SourceError: a bucket cannot be listed, or not any more.
        """
        for root in self.opened:
            yield from _scan(root, self.policy, self.media)

    def refresh(self, entry: Entry) -> Entry | tuple[RefusalReason, str]:
        """Look at an object again: what it is now, or why it cannot be sent any more."""
        root = self.opened[entry.root]
        try:
            state = root.bucket.persist("look at", partial(root.bucket.head, root.key_of(entry.path)), self.policy)
        except ObjectGone:
            return RefusalReason.VANISHED, "it vanished before it was sent"
        except ObjectDenied as denied:
            return RefusalReason.UNREADABLE, str(denied)
        fault, detail = _fault_of(state, self.media)
        if fault is not None:
            return fault, f"it has {detail} now" if detail else "it is empty now"
        return msgspec.structs.replace(entry, size=state.size, mtime_ns=state.mtime_ns, inode=state.mark)


def look_into_object(source: BucketSource, entry: Entry) -> tuple[RefusalReason, str] | None:
    """Tell why an object is no video, None if it is one, or cannot be read: sending it will tell why. Blocking.

    Raises:
        TroublePassing, NotAuthorised, SourceError: its bucket cannot be read just now, or not any more.
    """
    root = source.opened[entry.root]
    read = partial(root.bucket.beginning, root.key_of(entry.path), containers.HEAD_BYTES)
    try:
        _, head = root.bucket.persist("look into", read, source.policy)
    except (ObjectGone, ObjectDenied):
        return None
    return None if containers.container_of(head) is not None else (RefusalReason.NO_VIDEO, NO_VIDEO)


def open_bucket_source(
    sources: Sequence[str],
    selection: Selection,
    names: Names,
    *,
    environment: Mapping[str, str],
    patience: Patience,
    policy: RetryPolicy,
    media: Media = IMAGES,
) -> BucketSource:
    """Return the source of an upload from buckets, each of which was asked for its first page.

    Raises:
        UsageError: an address or a variable cannot be used, or two sources would give the same names.
        SourceError, NotAuthorised, TroublePassing: a bucket cannot be listed.
    """
    addresses = [parse_address(source) for source in sources]
    buckets = [open_bucket(address, environment, patience) for address in addresses]
    settled = [_settled(bucket, media, policy) for bucket in buckets]
    has_labels = names == "path" or (names == "auto" and len(settled) > 1)
    labels = [_label(bucket.address) for bucket, _ in settled]
    _refuse_equal_labels(has_labels, [label for label, (_, only) in zip(labels, settled, strict=True) if only is None])
    chooser = chooser_of(selection)
    roots = []
    for number, ((bucket, only), label) in enumerate(zip(settled, labels, strict=True)):
        pattern = bucket.address.pattern
        glob = chooser_of(Selection((pattern,))) if pattern else None
        name_of = _namer(names, has_labels and only is None, label)
        roots.append(BucketRoot(bucket, number, only, chooser, glob, name_of))
    source = BucketSource(tuple(roots), policy, media)
    for root in roots:
        if not root.is_file:
            root.bucket.first_page(root.address.folder, policy)
    return source


def _settled(bucket: Bucket, media: Media, policy: RetryPolicy) -> tuple[Bucket, Listed | None]:
    """Decide whether an address without a `/` behind it is an object or a folder."""
    address = bucket.address
    if not address.name:
        return bucket, None
    if media.format_of(address.name.encode()) is Format.ACCEPTED:
        try:
            state = bucket.persist("read source", partial(bucket.head, address.key), policy)
            return bucket, Listed(address.key, state)
        except (ObjectGone, ObjectDenied):
            pass
    folder = Address(address.cloud, address.bucket, f"{address.key}/")
    return Bucket(folder, bucket.opened, bucket.ended), None


def _label(address: Address) -> bytes:
    return (address.folder.rstrip("/").rpartition("/")[2] or address.bucket).encode()


def _refuse_equal_labels(has_labels: bool, labels: Sequence[bytes]) -> None:
    if has_labels and len(set(labels)) < len(labels):
        raise UsageError(
            "upload",
            "from buckets",
            cause="two of these folders have the same name, so their images' names could clash",
            advice="upload the folder above them",
        )


def _namer(names: Names, has_label: bool, label: bytes) -> Callable[[bytes], str]:
    if names == "basename":
        return basename_name
    return partial(prefixed_name, label) if has_label else member_name


def _identity(bucket: Bucket) -> str:
    server = f" at {bucket.opened.endpoint}" if bucket.opened.endpoint else ""
    return f"{bucket.address.text}{server}"


def _scan(root: BucketRoot, policy: RetryPolicy, media: Media) -> Iterator[ScanGroup]:
    only = root.only
    pages = root.bucket.pages(root.address.folder, policy) if only is None else iter([[only]])
    sorter, group = _Sorter(root, media), ScanGroup([], [])
    for found in chain.from_iterable(pages):
        sorter.sort(found, group)
        if len(group.entries) >= GROUP_SIZE or len(group.refusals) >= GROUP_SIZE:
            yield group
            group = ScanGroup([], [])
    if group.entries or group.refusals:
        yield group


class _Sorter:
    """Tells the objects of a root apart. Listings come in order, so one folder at a time is asked about."""

    def __init__(self, root: BucketRoot, media: Media) -> None:
        self._root = root
        self._media = media
        self._skip = len(root.address.folder)
        self._folder = b""
        self._is_entered = True

    def sort(self, found: Listed, group: ScanGroup) -> None:
        """Put an object where it belongs."""
        path = found.key[self._skip :].encode()
        if found.fault:
            group.refusals.append(Refusal(self._root.number, path, RefusalReason.NAME, found.fault))
            return
        if not self._is_meant(path):
            return
        number = self._root.number
        refused = self._media.refused.get(self._media.format_of(path[path.rfind(b"/") + 1 :]))
        detail = ""
        if refused is None:
            refused, detail = _fault_of(found.state, self._media)
        if refused is None:
            try:
                name = self._root.name_of(path)
            except ValueError as error:
                refused, detail = RefusalReason.NAME, str(error)
            else:
                state = found.state
                group.entries.append(Entry(number, path, name, state.size, state.mtime_ns, state.mark))
                return
        group.refusals.append(Refusal(number, path, refused, detail))

    def _is_meant(self, path: bytes) -> bool:
        """As in folders: what the glob matches, in folders that are entered, of a name that is taken."""
        root = self._root
        if root.glob is not None and not root.glob.takes(path):
            return False
        folder = path[: path.rfind(b"/") + 1]
        if folder != self._folder:
            self._folder, self._is_entered = folder, self._enters(folder)
        return self._is_entered and root.chooser.takes(path)

    def _enters(self, folder: bytes) -> bool:
        components = folder.split(b"/")[:-1]
        return all(self._root.chooser.enters(b"/".join(components[: depth + 1])) for depth in range(len(components)))


def _fault_of(state: ObjectState, media: Media) -> tuple[RefusalReason | None, str]:
    if state.size == 0:
        return RefusalReason.EMPTY, ""
    if state.size > media.max_bytes:
        return RefusalReason.TOO_LARGE, f"{state.size} bytes, at most {media.max_bytes}"
    return None, ""
