"""What is known of every name of a batch, gathered from three sides and sorted on disk.

Each thing known is a line that begins with the name; lines are sorted in runs of what fits into memory, and the runs
merged. So memory stays flat, however many there are, and a line takes a hundred bytes of disk. The file has no name,
and goes away with the process.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from heapq import merge
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rfbulk.core.auditing import Books, Fate, Found, Group, NamedFile, SentFile, key_of
from rfbulk.edge.checkpoint_file import make_private_folder
from rfbulk.errors import CheckpointDamaged, NoRoom, RfbulkError

if TYPE_CHECKING:
    from rfbulk.core.model import Entry

RUN_BYTES: Final = 16 << 20
"""What a run may take in memory before it is sorted and written, with what Python needs for each line."""

LINE_OVERHEAD_BYTES: Final = 57
"""A bytes object's head and its place in the list."""

MERGE_BYTES: Final = 8 << 20
"""What all runs may have read ahead while they are merged."""

MIN_PIECE_BYTES: Final = 4 << 10
MAX_PIECE_BYTES: Final = 256 << 10
LINES_AT_ONCE: Final = 4000
CHUNK_NAMES: Final = 20_000
"""Names that are judged at once, between two looks at who waits."""

# Tags sort as the accounts are read: found, listed, named, sent.
_FOUND: Final = b"F"
_LISTED: Final = b"L"
_NAMED: Final = b"N"
_SENT: Final = b"S"
_ARRIVED: Final = _SENT + Fate.SENT.encode()


class AuditBook:
    """Takes lines from any thread, then gives them back by name. Made by `open_audit_book`.

    Raises:
        NoRoom: the disk is full. Any call may.
    """

    def __init__(self, descriptor: int, run_bytes: int = RUN_BYTES) -> None:
        self._descriptor = descriptor
        self._run_bytes = run_bytes
        self._lines: list[bytes] = []
        self._size = 0
        self._end = 0
        self._runs: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let nobody write any more: a thread that was left behind must not meet another file of the same number."""
        with self._lock:
            self._descriptor = -1

    def add_found(self, origin: int, entries: Iterable[Entry]) -> None:
        """Take in files that a source has now."""
        self._add([_line(each.name, _FOUND, _place(origin, each.root, each.path, _print(each))) for each in entries])

    def add_found_references(self, origin: int, references: Iterable[tuple[str, str]]) -> None:
        """Take in references that a list has now, by name and mark."""
        self._add([_line(name, _FOUND, _place(origin, 0, b"", mark.encode())) for name, mark in references])

    def add_sent(self, origin: int, fate: Fate, entries: Iterable[Entry]) -> None:
        """Take in files that a checkpoint records."""
        tag = _SENT + fate.encode()
        self._add([_line(each.name, tag, _place(origin, each.root, each.path, _print(each))) for each in entries])

    def add_sent_references(self, origin: int, references: Iterable[tuple[str, str, Fate]]) -> None:
        """Take in references that a checkpoint records: name, mark, fate."""
        self._add(
            [
                _line(name, _SENT + fate.encode(), _place(origin, 0, b"", mark.encode()))
                for name, mark, fate in references
            ]
        )

    def add_named(self, origin: int, files: Iterable[tuple[str, int, bytes, str]]) -> None:
        """Take in files that earlier runs have named: name, root, path and why."""
        self._add([_line(name, _NAMED, _place(origin, root, path, _plain(why))) for name, root, path, why in files])

    def add_listed(self, names: Sequence[str]) -> None:
        """Take in names that the service lists."""
        self._add([_line(name, _LISTED, b"") for name in names])

    def chunks(self, sources: frozenset[int]) -> Iterator[tuple[Books, list[Group]]]:
        """Give all names back in order, some at a time: what agrees plainly as numbers, the rest as groups.

        `sources` are the origins whose files were looked at. May be run through once.
        """
        self._flush()
        plain, groups, names = Books(), [], 0
        for key, lines in _grouped(self._merged()):
            if not _agrees(lines, plain, sources):
                groups.append(_group(key, lines))
            names += 1
            if names == CHUNK_NAMES:
                yield plain, groups
                plain, groups, names = Books(), [], 0
        yield plain, groups

    def _add(self, lines: list[bytes]) -> None:
        with self._lock:
            self._lines += lines
            self._size += sum(map(len, lines)) + LINE_OVERHEAD_BYTES * len(lines)
            if self._size >= self._run_bytes:
                self._write_run()

    def _flush(self) -> None:
        with self._lock:
            if self._lines:
                self._write_run()

    def _write_run(self) -> None:
        self._lines.sort()
        start = self._end
        for place in range(0, len(self._lines), LINES_AT_ONCE):
            self._write(b"\n".join([*self._lines[place : place + LINES_AT_ONCE], b""]))
        self._runs.append((start, self._end))
        self._lines, self._size = [], 0

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, memoryview(data)[written:], self._end + written)
        except OSError as error:
            raise _translated(error) from error
        self._end += len(data)

    def _merged(self) -> Iterator[bytes]:
        piece = max(MIN_PIECE_BYTES, min(MAX_PIECE_BYTES, MERGE_BYTES // max(1, len(self._runs))))
        return merge(*(self._run(start, end, piece) for start, end in self._runs))

    def _run(self, start: int, end: int, piece_bytes: int) -> Iterator[bytes]:
        rest = b""
        while start < end:
            try:
                piece = os.pread(self._descriptor, min(piece_bytes, end - start), start)
            except OSError as error:
                raise _translated(error) from error
            if not piece:
                cause = "the audit's own file is shorter than what was written"
                raise CheckpointDamaged("read", "what was compared", cause=cause, advice="look at the disk")
            start += len(piece)
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            yield from lines


@contextmanager
def open_audit_book(folder: Path, *, run_bytes: int = RUN_BYTES) -> Iterator[AuditBook]:
    """Yield an empty book whose file is in `folder`, where there is room for it, and goes away with it.

    `run_bytes` is what it may hold in memory before it sorts and writes.

    Raises:
        NoRoom, UsageError: it cannot be made.
    """
    make_private_folder(folder)
    try:
        file = tempfile.TemporaryFile(dir=folder, prefix="audit-")  # noqa: SIM115 - closed below
    except OSError as error:
        raise _translated(error) from error
    with closing(file), closing(AuditBook(file.fileno(), run_bytes)) as book:
        yield book


def _line(name: str, tag: bytes, rest: bytes) -> bytes:
    """A line under a name's key. Where the name is another, it stands behind the tag; most are the key itself."""
    key = key_of(name)
    mark = b"" if key == name else _key(name)
    return _key(key) + b"\0" + tag + mark + b"\0" + rest


def _place(origin: int, root: int, path: bytes, about: bytes) -> bytes:
    """The path stands last, since a NUL is what no path has: it stands for the end of a line in one."""
    return b"%d\0%d\0%b\0%b" % (origin, root, about, path.replace(b"\n", b"\0") if b"\n" in path else path)


def _print(entry: Entry) -> bytes:
    return b"%d:%d:%d" % (entry.size, entry.mtime_ns, entry.inode)


def _key(name: str) -> bytes:
    """A name as it stands in a line. Foreign names may hold anything."""
    text = name.encode("utf-8", "backslashreplace")
    if b"\n" in text or b"\0" in text:
        text = text.replace(b"\n", b"\\n").replace(b"\0", b"\\0")
    return text


def _plain(text: str) -> bytes:
    return text.replace("\n", " ").replace("\0", " ").encode("utf-8", "backslashreplace")


def _grouped(lines: Iterator[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Gather the lines of each name. A name's lines are neighbours, since no name holds a NUL, and none is smaller."""
    key = b""
    gathered: list[bytes] = []
    for line in lines:
        own, _, rest = line.partition(b"\0")
        if own != key:
            if gathered:
                yield key, gathered
            key, gathered = own, []
        gathered.append(rest)
    if gathered:
        yield key, gathered


def _agrees(lines: list[bytes], plain: Books, sources: frozenset[int]) -> bool:
    """Count a name on which nothing is to be said, as nearly all are: without a record for each line."""
    if len(lines) == 3:
        found, listed, sent = lines
        if listed == b"L\0" and found[:2] == b"F\0" and sent == _ARRIVED + found[1:]:
            plain.agree(in_all=1)
            return True
    if len(lines) == 2:
        first, second = lines
        if first[:2] == b"F\0" and second == b"L\0":
            plain.agree(found_and_listed=1)
            return True
        if first == b"L\0" and second[:3] == b"Ss\0" and not sources:
            plain.agree(sent_and_listed=1)
            return True
    return False


def _group(key: bytes, lines: list[bytes]) -> Group:
    name = key.decode("utf-8", "replace")
    group = Group(name)
    for line in lines:
        tag = line[:1]
        mark, _, rest = line[len(_ARRIVED) if tag == _SENT else 1 :].partition(b"\0")
        own = mark.decode("utf-8", "replace") if mark else name
        if tag == _LISTED:
            group.listed[own] = group.listed.get(own, 0) + 1
            continue
        origin, root, about, path = rest.split(b"\0", 3)
        place = int(origin), int(root), _path(path)
        if tag == _FOUND:
            group.found.append(Found(own, *place, about))
        elif tag == _NAMED:
            group.named.append(NamedFile(own, *place, about.decode()))
        else:
            group.sent.append(SentFile(own, Fate(line[1:2].decode()), *place, about))
    return group


def _path(path: bytes) -> bytes:
    return path.replace(b"\0", b"\n")


def _translated(error: OSError) -> RfbulkError:
    if error.errno == errno.ENOSPC:
        advice = "make room in the state folder, or name another with --state-dir"
        return NoRoom("compare", "the accounts", cause="the disk is full", advice=advice)
    return CheckpointDamaged("compare", "the accounts", cause=str(error.strerror), advice="look at the disk")
