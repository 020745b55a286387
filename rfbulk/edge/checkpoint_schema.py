"""The shape of a checkpoint file, and how rows become records and back."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rfbulk.core.checksums import crc32c as checksum
from rfbulk.core.model import Entry, Grant
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.transfer import Shard, ShardState
from rfbulk.edge.checkpoint_file import Shape
from rfbulk.errors import CheckpointDamaged

VERSION: Final = 1
"""Stored as SQLite's `user_version`. A file with another number is refused: it is of another rfbulk."""

TABLES: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE shards (
    id INTEGER PRIMARY KEY,
    sequence INTEGER NOT NULL,
    state INTEGER NOT NULL,
    images INTEGER NOT NULL,
    image_bytes INTEGER NOT NULL,
    tar_bytes INTEGER NOT NULL,
    url TEXT,
    headers TEXT,
    max_bytes INTEGER,
    expires_at REAL,
    once_only INTEGER NOT NULL DEFAULT 0,
    grants INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    in_doubt INTEGER NOT NULL DEFAULT 0,
    hash_failures INTEGER NOT NULL DEFAULT 0,
    forbidden INTEGER NOT NULL DEFAULT 0,
    object_path TEXT NOT NULL DEFAULT '',
    etag TEXT NOT NULL DEFAULT '',
    crc32c INTEGER,
    is_verified INTEGER NOT NULL DEFAULT 0,
    detail TEXT NOT NULL DEFAULT ''
);
CREATE TABLE members (shard INTEGER PRIMARY KEY, packed BLOB NOT NULL, crc32c INTEGER NOT NULL);
CREATE VIEW whole_shards AS
    SELECT shards.*, members.packed AS members, members.crc32c AS members_crc32c
    FROM shards JOIN members ON members.shard = shards.id;
CREATE INDEX shards_by_state ON shards (state, id);
CREATE INDEX shards_by_sequence ON shards (sequence, id);
CREATE TABLE failures (
    root INTEGER NOT NULL,
    path BLOB NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    shard INTEGER,
    PRIMARY KEY (root, path, name)
) WITHOUT ROWID;
"""

# The members of a shard have a table of their own: an update writes the whole of a row anew, and there are five to a
# shard's life.
COLUMNS: Final = (
    "id, sequence, state, tar_bytes, members, members_crc32c, url, headers, max_bytes, expires_at, once_only, grants,"
    " attempts, in_doubt, hash_failures, forbidden, object_path, etag, crc32c, is_verified, detail"
)

UPDATE: Final = (
    "UPDATE shards SET state = ?, url = ?, headers = ?, max_bytes = ?, expires_at = ?, once_only = ?, grants = ?,"
    " attempts = ?, in_doubt = ?, hash_failures = ?, forbidden = ?, object_path = ?, etag = ?, crc32c = ?,"
    " is_verified = ?, detail = ? WHERE id = ?"
)

_encode_members = msgspec.msgpack.Encoder().encode
_decode_members = msgspec.msgpack.Decoder(tuple[Entry, ...], strict=False).decode
_encode_headers = msgspec.json.Encoder().encode
_decode_headers = msgspec.json.Decoder(dict[str, str]).decode


def pack_members(entries: tuple[Entry, ...]) -> tuple[bytes, int]:
    """Return the members of a shard as the checkpoint holds them, and the checksum that guards them."""
    try:
        blob = _encode_members(entries)
    except OverflowError:  # a time before 1677, which msgpack's 64 bits do not hold in nanoseconds: as text
        blob = _encode_members([_values_as_text(entry) for entry in entries])
    return blob, checksum(blob)


def _values_as_text(entry: Entry) -> tuple[object, ...]:
    return entry.root, entry.path, entry.name, entry.size, str(entry.mtime_ns), str(entry.inode)


def unpack_members(blob: bytes, crc32c: int) -> tuple[Entry, ...]:
    """Return the members again.

    Raises:
        CheckpointDamaged: the bytes are not those that were written.
    """
    if checksum(blob) != crc32c:
        raise CheckpointDamaged("read", "the checkpoint", cause="a shard's members are damaged", advice=DAMAGED_ADVICE)
    return _decode_members(blob)


DAMAGED_ADVICE: Final = "`rfbulk verify` shows what the batch holds; --restart begins anew, into a new batch"
SHAPE: Final = Shape(TABLES, VERSION, DAMAGED_ADVICE)


def shard_values(shard: Shard) -> tuple[Any, ...]:
    """The values of `UPDATE`, in its order. The URL is kept only while the shard is granted."""
    grant = shard.grant if shard.state is ShardState.GRANTED else None
    return (
        shard.state,
        grant.url.reveal() if grant else None,
        _encode_headers(grant.headers).decode() if grant else None,
        grant.max_bytes if grant else None,
        grant.expires_at if grant else None,
        grant.once_only if grant else False,
        shard.grants,
        shard.attempts,
        shard.in_doubt,
        shard.hash_failures,
        shard.forbidden,
        shard.object_path,
        shard.etag,
        shard.crc32c,
        shard.is_verified,
        shard.detail,
        shard.id,
    )


def shard_from(row: tuple[Any, ...]) -> Shard:
    """The record of a row selected as `COLUMNS`."""
    number, sequence, state, tar_bytes, members, members_crc, *rest = row
    url, headers, max_bytes, expires_at, once_only, *rest = rest
    grants, attempts, in_doubt, hash_failures, forbidden, object_path, etag, crc32c, is_verified, detail = rest
    grant = None
    if url is not None:
        grant = Grant(SignedUrl(url), _decode_headers(headers), max_bytes, expires_at, bool(once_only))
    return Shard(
        id=number,
        sequence=sequence,
        state=ShardState(state),
        entries=unpack_members(members, members_crc),
        tar_bytes=tar_bytes,
        grant=grant,
        grants=grants,
        attempts=attempts,
        in_doubt=bool(in_doubt),
        hash_failures=hash_failures,
        forbidden=forbidden,
        object_path=object_path,
        etag=etag,
        crc32c=crc32c,
        is_verified=bool(is_verified),
        detail=detail,
    )
