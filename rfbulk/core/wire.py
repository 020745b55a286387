"""The service's bodies as typed records, or a `ProtocolError` with a short excerpt that is safe to show.

Fields that are unknown are ignored, optional ones may be absent or null; a documented field of a wrong type is
refused. Nothing inner checks these records again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeVar

import msgspec
import orjson

from rfbulk.core.grants import GrantFault, UrlFault, grant_of
from rfbulk.core.redaction import excerpt
from rfbulk.core.secrets import SignedUrl
from rfbulk.errors import ProtocolError

if TYPE_CHECKING:
    from rfbulk.core.model import Grant

T = TypeVar("T")
Named = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class BatchMetadata(
    msgspec.Struct, frozen=True, rename={"content_type": "batchContentType", "display_name": "displayName"}
):
    """What the service says of a batch. Dates are as it writes them."""

    batch_id: str = msgspec.field(name="batchId")
    display_name: str = ""
    batch_type: str = msgspec.field(name="batchType", default="")
    content_type: str = ""
    created_date: str = msgspec.field(name="createdDate", default="")
    expiry_date: str = msgspec.field(name="expiryDate", default="")


class ShardStatus(msgspec.Struct, frozen=True):
    """One row of a batch's shards. `status_type` holds `success`, `error`, or anything else while it is going on.

    `objects` is how many files the shard has, `metadata` what else the service says, as JSON text.
    """

    shard_id: str
    status_name: str
    status_type: str
    objects: int
    timestamp: str
    metadata: str = ""


class RemoteFile(msgspec.Struct, frozen=True, rename="camel"):
    """One element of a batch and where to download it. Names come from the server: never trust them as paths."""

    download_url: SignedUrl = msgspec.field(name="downloadURL")
    file_name: Named
    part_name: str | None = None
    shard_id: str | None = None
    content_type: str = ""
    nested_content_type: str | None = None


class BatchPart(msgspec.Struct, frozen=True, rename="camel"):
    """One part of a multipart batch."""

    part_name: Named
    part_type: str = ""
    content_type: str = ""
    part_description: str | None = None
    nested_content_type: str | None = None


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a listing. `next_token` is None on the last."""

    items: tuple[T, ...]
    next_token: str | None


class _Workspace(msgspec.Struct):
    workspace: Named


class _Granted(msgspec.Struct):
    details: dict[str, Any] = msgspec.field(name="signedURLDetails")


class _Counted(msgspec.Struct):
    count: Count


class _Described(msgspec.Struct):
    batch: BatchMetadata


class _Listing(msgspec.Struct, rename="camel"):
    next_page_token: str | None = None


class _Batches(_Listing, kw_only=True):
    batches: tuple[BatchMetadata, ...]


class _ShardRow(msgspec.Struct, rename="camel"):
    shard_id: Named
    status_type: str
    status_name: str | None = None
    event_timestamp: str | None = None
    shard_objects_count: Count | None = None
    status_metadata: Any = None


class _Shards(_Listing, kw_only=True):
    shards: tuple[_ShardRow, ...]


class _Files(_Listing, kw_only=True):
    files_metadata: tuple[RemoteFile, ...]


class _Parts(msgspec.Struct, rename="camel"):
    batch_parts: tuple[BatchPart, ...]


MAX_DEPTH: Final = 64
"""How deep a value may be nested whose shape is not documented: what is deeper could be neither shown nor kept."""


def parse_workspace(body: bytes) -> str:
    """Return the name of the workspace that the key belongs to."""
    return parse_as(body, _Workspace, "look up workspace").workspace


def parse_grant(body: bytes, *, allow_http: bool = False) -> Grant:
    """Return the grant for one object. `allow_http` permits plain HTTP beyond loopback."""
    operation = "read grant"
    whole = _load(body, operation)
    details = _typed(whole, _Granted, operation, body).details
    try:
        return grant_of(details, beside=whole, allow_http=allow_http)
    except GrantFault as fault:
        raise _refused(operation, str(fault), body) from None


def parse_batch(body: bytes) -> BatchMetadata:
    """Return the description of one batch."""
    return parse_as(body, _Described, "read batch").batch


def parse_count(body: bytes) -> int:
    """Return how many files a batch holds."""
    return parse_as(body, _Counted, "read count").count


def parse_batches_page(body: bytes) -> Page[BatchMetadata]:
    """Return one page of the workspace's batches."""
    listing = parse_as(body, _Batches, "list batches")
    return Page(listing.batches, listing.next_page_token or None)


def parse_shards_page(body: bytes) -> Page[ShardStatus]:
    """Return one page of a batch's shards."""
    listing = parse_as(body, _Shards, "list shards")
    return Page(tuple(map(_shard_status, listing.shards)), listing.next_page_token or None)


def parse_files_page(body: bytes) -> Page[RemoteFile]:
    """Return one page of a batch's files."""
    listing = parse_as(body, _Files, "list files")
    return Page(listing.files_metadata, listing.next_page_token or None)


def parse_parts(body: bytes) -> tuple[BatchPart, ...]:
    """Return the parts of a multipart batch."""
    return parse_as(body, _Parts, "list parts").batch_parts


def parse_object(body: bytes) -> None:
    """Take an answer that says nothing but that it is one of the API: an object of JSON."""
    parse_as(body, dict[str, Any], "read answer")


def parse_api_error(body: bytes, *, secrets: tuple[str, ...] = ()) -> str:
    """Return what an error of the API says, safe to show: its `error` or `message`, else an excerpt of the body."""
    try:
        said: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        return excerpt(body, secrets=secrets)
    while isinstance(said, dict):
        said = said.get("error") or said.get("message") or said.get("hint") or str(sorted(map(str, said)))
    return excerpt(said if isinstance(said, str) else body, secrets=secrets)


def _shard_status(row: _ShardRow) -> ShardStatus:
    return ShardStatus(
        shard_id=row.shard_id,
        status_name=row.status_name or "",
        status_type=row.status_type,
        objects=row.shard_objects_count or 0,
        timestamp=row.event_timestamp or "",
        metadata="" if row.status_metadata is None else orjson.dumps(shallow(row.status_metadata)).decode(),
    )


def shallow(value: T) -> T:
    """Return a value of any shape, if it is not nested beyond `MAX_DEPTH`.

    Raises:
        ProtocolError: it is.
    """
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level if isinstance(each, dict) for inner in each.values()] + [
            inner for each in level if isinstance(each, list) for inner in each
        ]
        if not level:
            return value
    raise ProtocolError(
        "read answer", cause=f"a value in it is nested more than {MAX_DEPTH} deep", advice="is the API's address right?"
    )


def parse_as(body: bytes, record: type[T], operation: str) -> T:
    """Return a body as a record.

    Raises:
        ProtocolError: it is not JSON, or of another shape.
    """
    return _typed(_load(body, operation), record, operation, body)


def _load(body: bytes, operation: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _refused(operation, "the answer is not JSON", body) from None


def _typed(value: object, record: type[T], operation: str, body: bytes) -> T:
    try:
        return msgspec.convert(value, record, dec_hook=_signed_url)
    except msgspec.ValidationError as error:
        raise _refused(operation, str(error), body) from None


def _signed_url(kind: type, value: object) -> SignedUrl:
    if kind is not SignedUrl or not isinstance(value, str):
        raise UrlFault("expected the text of a URL")
    return SignedUrl(value)


def _refused(operation: str, cause: str, body: bytes) -> ProtocolError:
    return ProtocolError(operation, cause=f"{cause}; it begins: {excerpt(body)}", advice="is the API's address right?")
