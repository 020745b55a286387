"""A shard's tar, made on the way from objects of buckets: a twin of the packer of files, which touches no disk.

Only whole truths leave: an object's last bytes are handed out after all of it has come, in the length and of the
version that the listing told. One answer of a store is one version, so a look at its head is enough.

Small objects are read ahead, several at a time, since each costs a round trip; large ones are streamed when it is
their turn. `settings` says what all that may take.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Self

from rfbulk.core.checksums import crc32c
from rfbulk.core.imagecheck import ImageCheck
from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.tarlayout import member_head, padding
from rfbulk.edge.bucket_answers import ObjectDenied, ObjectGone, ObjectReplaced
from rfbulk.senders.ahead import ReadAhead
from rfbulk.senders.packing import EntryChanged, ending_of
from rfbulk.settings import RELAY_LARGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.model import ShardJob
    from rfbulk.core.objects import ObjectState
    from rfbulk.edge.bucket_source import BucketSource
    from rfbulk.edge.buckets import Bucket
    from rfbulk.edge.lines import Call

_NANOSECONDS: Final = 1_000_000_000
_REPLACED: Final = "another version took its place"


class Damage:
    """Which objects were found to be no whole images. Any thread may note one; telling of it forgets it."""

    def __init__(self) -> None:
        self._faults: dict[tuple[int, bytes, int], str] = {}

    def note(self, entry: Entry, fault: str) -> None:
        """Take note of an object that is none."""
        self._faults[entry.root, entry.path, entry.inode] = fault

    def told_of(self, entry: Entry) -> tuple[RefusalReason, str] | None:
        """Tell why an object is no whole image, None if that was not found."""
        fault = self._faults.pop((entry.root, entry.path, entry.inode), None)
        return None if fault is None else (RefusalReason.DAMAGED, fault)


def pack_objects(
    source: BucketSource, job: ShardJob, buffer: bytearray, call: Call, *, damage: Damage | None = None
) -> RelayPacker:
    """Pack a shard whose images are objects of `source`; with `damage`, whole images alone."""
    return RelayPacker(source, job.entries, job.trailer, buffer=buffer, call=call, damage=damage)


def pack_bare_object(source: BucketSource, job: ShardJob, buffer: bytearray, call: Call) -> RelayPacker:
    """Send the one object of a shard as it is."""
    return RelayPacker(source, job.entries, None, buffer=buffer, call=call)


def pack_single_object(
    source: BucketSource, entry: Entry, buffer: bytearray, call: Call, *, damage: Damage | None = None
) -> RelayPacker:
    """Read one object as it is; with `damage`, a whole image alone."""
    return RelayPacker(source, (entry,), None, buffer=buffer, call=call, damage=damage)


class RelayPacker:
    """Hands out a shard's tar chunk by chunk, each in the same `buffer`, of any length.

    Every call may come from another thread, but one at a time. A chunk holds until the next one is asked for; asking
    behind the last one changes nothing. It fills the buffer, but for the last. `crc32c` and `bytes_out` cover what
    was handed out. Waiting for a bucket ends when `call` is called off. Without a trailer (None, not an empty one) it
    hands out the contents alone, no tar.

    With `damage`, each object is looked into as it passes; once one is no whole image, nothing more is handed out, and
    the objects behind it are looked into as well, so that all of a shard are found in one attempt.
    """

    def __init__(
        self,
        source: BucketSource,
        entries: Sequence[Entry],
        trailer: bytes | None,
        *,
        buffer: bytearray,
        call: Call,
        damage: Damage | None = None,
    ) -> None:
        self._damage = damage
        self.crc32c = 0
        self.bytes_out = 0
        self._source = source
        self._entries = entries
        self._trailer = trailer
        self._view = memoryview(buffer)
        self._call = call
        self._ahead = ReadAhead(entries, self._read)
        self._pieces: Iterator[bytes | memoryview] | None = None
        self._rest: bytes | memoryview = b""
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Read nothing further; nothing more can be handed out."""
        self._is_over = True
        self._ahead.close()

    def next_chunk(self) -> memoryview:
        """Return the next bytes of the tar, or none after its end. Blocking.

        Raises:
            EntryChanged: an object is not, or no longer, what was planned. The packer is closed.
            BucketTrouble: the bucket cannot be read just now. The packer is closed.
            NotAuthorised, SourceError: the bucket cannot be read any more. The packer is closed.
            CalledOff: the attempt was called off.
        """
        if self._is_over:
            return self._view[:0]
        try:
            chunk = self._view[: self._fill()]
        except BaseException:
            self.close()
            raise
        if not chunk:
            self.close()
        self.crc32c = crc32c(chunk, self.crc32c)
        self.bytes_out += len(chunk)
        return chunk

    def _fill(self) -> int:
        """Fill the buffer and return how much of it is used."""
        if self._pieces is None:
            self._pieces = self._tar()
        used, capacity = 0, len(self._view)
        while used < capacity:
            if not self._rest:
                self._rest = next(self._pieces, b"")
                if not self._rest:
                    break
            piece = self._rest[: capacity - used]
            self._view[used : used + len(piece)] = piece
            self._rest = self._rest[len(piece) :]
            used += len(piece)
        return used

    def _tar(self) -> Iterator[bytes | memoryview]:
        """Give the tar in pieces, none of which is empty."""
        for position, entry in enumerate(self._entries):
            contents = self._contents(position, entry)
            if self._trailer is None:
                yield from contents
                continue
            yield member_head(entry.name, entry.size, entry.mtime_ns // _NANOSECONDS)
            yield from contents
            if end := padding(entry.size):
                yield end
        if self._trailer is not None:
            yield ending_of(self._trailer)

    def _contents(self, position: int, entry: Entry) -> Iterator[memoryview]:
        """Give an object's content, of which the last piece only if nothing is missing, follows, or is amiss."""
        check = None if self._damage is None else ImageCheck(entry.size)
        held = memoryview(b"")
        for piece in self._read_pieces(position, entry):
            if check is not None:
                check.take(piece)
            if held:
                yield held
            held = piece
        if self._damage is not None and check is not None and (fault := check.fault()):
            self._damage.note(entry, fault)
            self._look_into_rest(position + 1, self._damage)
            raise EntryChanged(position, RefusalReason.DAMAGED, fault)
        if held:
            yield held

    def _look_into_rest(self, first: int, damage: Damage) -> None:
        for position, entry in enumerate(self._entries[first:], first):
            check = ImageCheck(entry.size)
            try:
                for piece in self._read_pieces(position, entry):
                    check.take(piece)
            except EntryChanged:
                continue  # the next attempt tells
            if fault := check.fault():
                damage.note(entry, fault)

    def _read_pieces(self, position: int, entry: Entry) -> Iterator[memoryview]:
        try:
            count = 0
            for piece in self._begun(position, entry):
                self._call.go_on()
                count += len(piece)
                yield piece
        except (ObjectGone, ObjectDenied) as error:
            raise _lost(position, error) from None
        if count != entry.size:
            raise EntryChanged(position, RefusalReason.CHANGED, f"it had {entry.size} bytes and came with {count}")

    def _begun(self, position: int, entry: Entry) -> Iterator[memoryview]:
        if entry.size > RELAY_LARGE_BYTES:
            state, pieces = self._bucket_of(entry).stream(self._key_of(entry))
        else:
            state, whole = self._ahead.take(position, self._call)
            pieces = iter((whole,))
        _check(position, entry, state)
        return pieces

    def _read(self, entry: Entry) -> tuple[ObjectState, memoryview]:
        return self._bucket_of(entry).read(self._key_of(entry), entry.size)

    def _bucket_of(self, entry: Entry) -> Bucket:
        return self._source.opened[entry.root].bucket

    def _key_of(self, entry: Entry) -> str:
        return self._source.opened[entry.root].key_of(entry.path)


def _check(position: int, entry: Entry, state: ObjectState) -> None:
    """The time is not looked at: stores tell it in more ways than one, and the ETag says all."""
    if state.mark != entry.inode:
        raise EntryChanged(position, RefusalReason.CHANGED, _REPLACED)
    if state.size != entry.size:
        detail = f"it had {entry.size} bytes and has {state.size}"
        raise EntryChanged(position, RefusalReason.CHANGED, detail)


def _lost(position: int, error: ObjectGone | ObjectDenied) -> EntryChanged:
    if isinstance(error, ObjectDenied):
        return EntryChanged(position, RefusalReason.UNREADABLE, str(error))
    if isinstance(error, ObjectReplaced):
        return EntryChanged(position, RefusalReason.CHANGED, _REPLACED)
    return EntryChanged(position, RefusalReason.VANISHED, "it is not there any more")
