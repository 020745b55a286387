"""Lists of paths as sources: from a file or from standard input, one path a line or between NULs.

A list is read as a stream, however long it is. A relative path begins in the folder in which the upload was started,
as for `tar -T`. Which paths have been seen is kept in an unnamed file on disk, so that one that stands twice is sent
once.

| a path of the list | its root and path | its name |
| --- | --- | --- |
| `b/c.jpg`, `./b/c.jpg`, or `/photos/b/c.jpg` said in `/photos` | `/photos`, `b/c.jpg` | `b__c.jpg` |
| `/data/c.jpg`, `../data/c.jpg` | `/`, `data/c.jpg` | `__data__c.jpg` |
| a folder, or what is no image by its name | | skipped |
| what is not there | | named: missing |
"""

from __future__ import annotations

import os
import select
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from msgspec.structs import replace as replaced

from rfbulk.core.model import Refusal, RefusalReason
from rfbulk.core.naming import absolute_name, basename_name, member_name
from rfbulk.core.selection import Chooser, Selection, chooser_of
from rfbulk.edge.files import ScanGroup, Walk
from rfbulk.edge.roots import Root, root_error
from rfbulk.errors import SourceError

if TYPE_CHECKING:
    from rfbulk.core.media import Media

BLOCK_BYTES: Final = 256 << 10
MAX_PATH_BYTES: Final = 64 << 10
"""Far beyond what any file system takes: a list without ends of lines must not fill the memory."""

LOOK_SECONDS: Final = 0.2
"""How long a pipe may be silent until the scan looks up."""

SEEN_CACHE_KIB: Final = 32 << 10
"""What SQLite may keep of the seen paths in memory: those of two million; all others are on disk."""

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class PathList:
    """A list of paths to send. `file` None reads standard input. `null`: NULs stand between them (None: look).

    Relative paths begin in `base`, by default the current folder. `copy` is what has been read of it already.
    """

    file: str | os.PathLike[str] | None = None
    null: bool | None = None
    base: str | os.PathLike[str] | None = None
    copy: Copy | None = None

    @property
    def base_path(self) -> bytes:
        """Where relative paths begin, absolute."""
        return os.path.realpath(os.fsencode(self.base if self.base is not None else os.curdir))

    @property
    def identity(self) -> str:
        """The list as a checkpoint knows it: what it is called and where its paths begin, not what stands in it."""
        name = "standard input" if self.file is None else os.fsencode(Path(self.file).resolve())
        shown = name if isinstance(name, str) else name.decode("utf-8", "backslashreplace")
        return f"list {shown} in {self.base_path.decode('utf-8', 'backslashreplace')}"


class Copy:
    """What has been read of a list that can be read but once. Its file goes away with it."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below

    def __del__(self) -> None:
        self.file.close()


def held_back(listed: PathList) -> PathList:
    """Return a list that can be read twice: what is no ordinary file is copied into one that goes away at the end.

    Raises:
        SourceError: it cannot be read.
    """
    if listed.file is not None and Path(listed.file).is_file():
        return listed
    try:
        copy = Copy()
        with _opened(listed) as file:
            shutil.copyfileobj(file, copy.file)
    except OSError as error:
        raise root_error(b"-", error) from error
    return replace(listed, copy=copy)


class ListScan:
    """Reads one list. `first` is the number of the root that relative paths begin in, behind it comes `/`."""

    def __init__(self, listed: PathList, first: int, selection: Selection, media: Media, *, bare: bool) -> None:
        self._listed = listed
        self._base = listed.base_path
        self._prefix = self._base.rstrip(b"/") + b"/"
        chooser = chooser_of(replace(selection, recursive=True))
        self._chooser = chooser
        names = (basename_name, basename_name) if bare else (member_name, absolute_name)
        bases = self._base, b"/"
        self._walks = [
            Walk(Root(base, first + place, is_file=False), chooser, name_of, media)
            for place, (base, name_of) in enumerate(zip(bases, names, strict=True))
        ]

    def scan(self, seen: Seen) -> Iterator[ScanGroup]:
        """Yield what the list names, group by group; empty ones while a pipe has nothing to say.

        Raises:
            SourceError: it cannot be read.
        """
        with _opened(self._listed) as file:
            for path in paths_of(file, null=self._listed.null, subject=self._listed.identity):
                if path is None:
                    yield ScanGroup([], [])  # whoever drives the scan may end it here
                    continue
                self._take(path, seen)
                yield from self._groups(only_full=True)
        yield from self._groups(only_full=False)

    def _take(self, raw: bytes, seen: Seen) -> None:
        walk, path = self._placed(raw)
        whole = (self._prefix if walk is self._walks[0] else b"/") + path
        if not path or not seen.add(whole):
            return
        if self._chooser.excluded is None or _is_entered(self._chooser, path):
            walk.judge(path, partial(os.stat, whole))

    def _placed(self, raw: bytes) -> tuple[Walk, bytes]:
        if raw.startswith(b"/"):
            whole = raw
        elif b"./" not in raw and b"//" not in raw:
            return self._walks[0], raw  # the way of nearly all
        else:
            whole = self._prefix + raw
        whole = _plain(whole)
        if whole.startswith(self._prefix):
            return self._walks[0], whole[len(self._prefix) :]
        return self._walks[1], whole.lstrip(b"/")

    def _groups(self, *, only_full: bool) -> Iterator[ScanGroup]:
        for walk in self._walks:
            if walk.is_full or (not only_full and (walk.entries or walk.refusals)):
                group = walk.group()
                yield ScanGroup(group.entries, [_as_missing(refusal) for refusal in group.refusals])


class Seen:
    """Which paths of lists were seen. Exact, and on disk: 16 bytes a path."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, path: bytes) -> bool:
        """Take note of an absolute path. False if it was seen before."""
        key = blake2b(path, digest_size=16).digest()
        return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount > 0


@contextmanager
def nothing_seen() -> Iterator[Seen]:
    """Yield the memory of what lists have named, empty at first."""
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as db:
        for statement in ("PRAGMA journal_mode = OFF", f"PRAGMA cache_size = -{SEEN_CACHE_KIB}"):
            db.execute(statement).fetchall()
        db.execute("CREATE TABLE seen (key BLOB PRIMARY KEY) WITHOUT ROWID")
        db.execute("BEGIN")
        yield Seen(db)


def paths_of(file: IO[bytes], *, null: bool | None, subject: str) -> Iterator[bytes | None]:
    r"""Give the paths of a list, and None whenever a pipe has had nothing to say for a moment.

    With `null` None, a NUL in the first block says that NULs stand between them. Between lines, a `\r` before the end
    belongs to the end. Empty ones are left out.

    Raises:
        SourceError: one is longer than any path.
    """
    end, rest = b"\0" if null else b"", b""
    for block in _blocks(file):
        if block is None:
            yield None
            continue
        if not end:
            end = b"\0" if null is None and b"\0" in block else b"\n"
            block = block.removeprefix(_BOM)  # noqa: PLW2901 - the first begins so
        pieces = (rest + block).split(end)
        rest = pieces.pop()
        if len(rest) > MAX_PATH_BYTES:
            cause, advice = "it has a path without end", "is it a list? --null splits at NULs"
            raise SourceError("read", subject, cause=cause, advice=advice)
        yield from (path for piece in pieces if (path := _without_end(piece, end)))
    if path := _without_end(rest, end):
        yield path


def _blocks(file: IO[bytes]) -> Iterator[bytes | None]:
    """Read a file. A pipe is asked before it is read, since nobody could ever end a thread that waits in a read."""
    number = _pipe_of(file)
    if number is None:
        while block := file.read(BLOCK_BYTES):
            yield block
        return
    poller = select.poll()
    poller.register(number, select.POLLIN)
    while True:
        if not poller.poll(LOOK_SECONDS * 1000):
            yield None
        elif block := os.read(number, BLOCK_BYTES):
            yield block
        else:
            return


def _pipe_of(file: IO[bytes]) -> int | None:
    """Return the descriptor of what is no ordinary file."""
    try:
        number = file.fileno()
    except OSError:
        return None
    return None if stat.S_ISREG(os.fstat(number).st_mode) else number


def _without_end(piece: bytes, end: bytes) -> bytes:
    return piece.removesuffix(b"\r") if end == b"\n" else piece


def _plain(path: bytes) -> bytes:
    """Return an absolute path without `.`, `..` and doubled slashes. Links are only followed where `..` asks for it."""
    if b"/../" in path or path.endswith(b"/.."):
        return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    return os.path.normpath(path).replace(b"//", b"/")


def _is_entered(chooser: Chooser, path: bytes) -> bool:
    """Tell whether no folder above a file is left out."""
    place = path.find(b"/")
    while place >= 0:
        if not chooser.enters(path[:place]):
            return False
        place = path.find(b"/", place + 1)
    return True


def _as_missing(refusal: Refusal) -> Refusal:
    return replaced(refusal, reason=RefusalReason.MISSING) if refusal.reason is RefusalReason.VANISHED else refusal


@contextmanager
def _opened(listed: PathList) -> Iterator[IO[bytes]]:
    if listed.copy is not None:
        listed.copy.file.seek(0)
        yield listed.copy.file
        return
    if listed.file is None:
        yield sys.stdin.buffer
        return
    try:
        file = Path(listed.file).open("rb")  # noqa: SIM115 - closed below; its opening alone may fail as a source does
    except OSError as error:
        raise root_error(os.fsencode(listed.file), error) from error
    with file:
        yield file


def check_list(listed: PathList) -> None:
    """Look whether a list and its folder can be read.

    Raises:
        SourceError: they cannot.
    """
    try:
        os.scandir(listed.base_path).close()
    except OSError as error:
        raise root_error(listed.base_path, error) from error
    if listed.file is not None and (Path(listed.file).is_file() or not Path(listed.file).exists()):
        with _opened(listed):  # a pipe's one reading must not be spent on a look
            pass
