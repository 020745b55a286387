"""References: files elsewhere that the service shall fetch itself, each a name and a URL.

A URL usually carries its own permission, so no text here ever shows one.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, urlencode

import msgspec

from rfbulk.core.grants import UrlFault, check_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rfbulk.core.model import BatchId

MediaKind: TypeAlias = Literal["images", "videos"]

MAX_REFERENCES: Final[dict[MediaKind, int]] = {"images": 20_000, "videos": 5_000}
"""References in one request. Of images the service takes 20,000; of videos fewer, each being work for minutes."""

MAX_REQUEST_BYTES: Final = 48 << 20
"""20,000 references of 2 KB, the longest that signed URLs become, and their names."""

MAX_LINE_BYTES: Final = 64 << 10
"""A name and a signed URL have a kilobyte or two."""

_BOM: Final = b"\xef\xbb\xbf"
_SIGNING: Final = frozenset(
    {
        *("signature", "expires", "awsaccesskeyid", "googleaccessid", "key-pair-id", "policy"),
        *("sig", "se", "sp", "sv", "sr", "st", "spr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv", "saoid"),
    }
)
"""Parameters of a URL that sign it: they differ each time that the same object is signed."""

_SIGNING_BEGINS: Final = ("x-amz-", "x-goog-")


class Reference(msgspec.Struct, frozen=True, gc=False):
    """One file elsewhere. `mark` tells its content from another that had the same name; it holds no permission.

    `url` may be empty where it is signed only when it is about to be used.
    """

    name: str
    mark: str
    url: str = ""

    def __repr__(self) -> str:
        return f"Reference({self.name!r})"

    def __rich_repr__(self) -> list[tuple[str, object]]:  # else rich's tracebacks show all fields
        return [("name", self.name)]


class ReferenceFault(ValueError):
    """What is wrong with a line. Its text shows no URL."""


class _Row(msgspec.Struct, gc=False):
    name: str
    url: str


_decode_row = msgspec.json.Decoder(_Row).decode


def reference_of(line: bytes, *, is_first: bool = False) -> Reference | None:
    r"""Read a line of JSONL, with or without its end; the first may begin with a mark of its encoding.

    ============================== ==========================================
    line                           result
    ============================== ==========================================
    `{"name": …, "url": "https…"}` a reference; further fields are left alone
    nothing, or white space alone  None
    anything else                  ReferenceFault
    ============================== ==========================================
    """
    text = (line.removeprefix(_BOM) if is_first else line).strip()
    if not text:
        return None
    if len(text) > MAX_LINE_BYTES:
        raise ReferenceFault(f"it has more than {MAX_LINE_BYTES} bytes")
    try:
        row = _decode_row(text)
    except msgspec.ValidationError as error:
        raise ReferenceFault(_without_values(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ReferenceFault("it is not one JSON object") from None
    check_name(row.name)
    check_https(row.url)
    return Reference(row.name, mark_of(row.url), row.url)


def check_name(name: str) -> None:
    """Take a name that results can come back under.

    Raises:
        ReferenceFault: it is empty, has folders in it, or control characters.
    """
    if not name.strip() or name in {".", ".."}:
        raise ReferenceFault("its name is empty")
    if "/" in name or "\\" in name:
        raise ReferenceFault("its name has a slash in it: names are flat")
    if any(character < " " or character == "\x7f" for character in name):
        raise ReferenceFault("its name has a control character in it")


def check_https(url: str) -> None:
    """Take a URL that the service may fetch.

    Raises:
        ReferenceFault: it is none, or not https.
    """
    try:
        parts = check_url(url, allow_http=True)
    except UrlFault as fault:
        raise ReferenceFault(str(fault)) from None
    if parts.scheme != "https":
        raise ReferenceFault("the URL is not https")


def mark_of(url: str) -> str:
    """Return what tells the object behind a URL from others, however often it is signed anew."""
    plain, _, query = url.partition("#")[0].partition("?")
    kept = [
        (name, value)
        for name, value in parse_qsl(query, keep_blank_values=True)
        if name.lower() not in _SIGNING and not name.lower().startswith(_SIGNING_BEGINS)
    ]
    return _digest((plain, urlencode(kept)))[:32]


def derived_ingest_id(batch: BatchId, kind: str, rows: Iterable[Reference]) -> str:
    """Return the name of an ingest, made from what it brings: said again anywhere, it is known again."""
    texts = (text for row in rows for text in (row.name, row.mark))
    return f"{batch}-{_digest((kind, *texts))[:20]}"


def chosen_ingest_id(chosen: str, number: int) -> str:
    """Return the name of the `number`-th request (from 1) of an ingest that its user has named.

    The first has the name itself; those behind it begin with it.
    """
    return chosen if number == 1 else f"{chosen}-{number}"


def request_bytes(row: Reference) -> int:
    """Bytes that a reference takes in a request, at the most; a URL that is not signed yet has up to 1.5 KB."""
    return 6 * len(row.name) + (len(row.url) or 1536) + 24


def _digest(texts: tuple[str, ...]) -> str:
    sums = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogateescape")
        sums.update(len(data).to_bytes(8, "big"))
        sums.update(data)
    return sums.hexdigest()


def _without_values(text: str) -> str:
    """What msgspec says names fields and types, never what stands in them."""
    return text.replace("Object ", "it ").replace("`$`", "the line").replace("`$.", "`")
