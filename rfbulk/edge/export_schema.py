"""The shape of an export's checkpoint, and how rows become records and back. No URL has a place in it."""

from __future__ import annotations

from typing import Any, Final

from rfbulk.core.exporting import Element, ElementState, MemberFile
from rfbulk.core.fetching import Check, FetchKind, Fingerprint
from rfbulk.edge.checkpoint_file import Shape

VERSION: Final = 1
"""Stored as SQLite's `user_version`. A file with another number is refused: it is of another rfbulk."""

TABLES: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE parts (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, folder TEXT NOT NULL);
CREATE TABLE elements (
    id INTEGER PRIMARY KEY,
    part INTEGER NOT NULL,
    shard TEXT NOT NULL,
    name TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    state INTEGER NOT NULL,
    kind TEXT NOT NULL,
    path TEXT NOT NULL,
    is_apart INTEGER NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    crc32c INTEGER,
    checked TEXT NOT NULL DEFAULT 'none',
    mtime_ns INTEGER,
    inode INTEGER,
    run INTEGER NOT NULL DEFAULT 0,
    restored INTEGER NOT NULL DEFAULT 0,
    why TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    UNIQUE (part, name, shard, ordinal)
);
CREATE TABLE members (
    element INTEGER NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    is_apart INTEGER NOT NULL,
    staged TEXT NOT NULL,
    size INTEGER NOT NULL,
    crc32c INTEGER NOT NULL,
    mtime_ns INTEGER,
    inode INTEGER,
    PRIMARY KEY (element, number)
) WITHOUT ROWID;
CREATE TABLE refused (element INTEGER NOT NULL, member TEXT NOT NULL, reason TEXT NOT NULL);
CREATE INDEX refused_by_element ON refused (element);
CREATE TABLE taken (
    key TEXT PRIMARY KEY,
    is_folder INTEGER NOT NULL,
    next INTEGER NOT NULL DEFAULT 2
) WITHOUT ROWID;
"""

SHAPE: Final = Shape(TABLES, VERSION, "--restart begins anew; files that are here and are the same are kept")

COLUMNS: Final = (
    "id, part, shard, name, ordinal, state, kind, path, size, crc32c, checked, mtime_ns, inode, run, restored"
)
MEMBER_COLUMNS: Final = "number, name, path, staged, size, crc32c, mtime_ns, inode"

_KINDS: Final = {str(kind): kind for kind in FetchKind}
_CHECKS: Final = {str(check): check for check in Check}
_STATES: Final = {int(state): state for state in ElementState}
_TOP: Final = 1 << 63


def element_from(row: tuple[Any, ...]) -> Element:
    """The record of a row selected as `COLUMNS`."""
    number, part, shard, name, ordinal, state, kind, path, size, crc32c, checked, mtime_ns, inode, run, restored = row
    return Element(
        id=number,
        part=part,
        shard=shard,
        name=name,
        ordinal=ordinal,
        state=_STATES[state],
        kind=_KINDS[kind],
        path=path,
        size=size,
        crc32c=crc32c,
        check=_CHECKS[checked],
        fingerprint=_fingerprint(size, mtime_ns, inode),
        run=run,
        restored=restored != 0,
    )


def member_from(row: tuple[Any, ...]) -> MemberFile:
    """The record of a row selected as `MEMBER_COLUMNS`."""
    number, name, path, staged, size, crc32c, mtime_ns, inode = row
    return MemberFile(number, name, path, staged, size, crc32c, _fingerprint(size, mtime_ns, inode))


def _fingerprint(size: int, mtime_ns: int | None, inode: int | None) -> Fingerprint | None:
    if mtime_ns is None or inode is None:
        return None
    return Fingerprint(size, mtime_ns, inode % (2 * _TOP))


def signed(inode: int) -> int:
    """Return an inode as SQLite holds it: it may have all of 64 bits, SQLite's integers have a sign."""
    return inode - 2 * _TOP if inode >= _TOP else inode
