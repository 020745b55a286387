"""Objects of buckets: how a source names them, and what tells one version of an object from another.

| source | means |
| --- | --- |
| `s3://bucket`, `gs://bucket/`, `az://container/` | everything in it |
| `s3://bucket/photos/` | everything whose key begins with `photos/` |
| `s3://bucket/photos` | the object of that key if there is one, else as with the `/` |
| `s3://bucket/cam-?/**/*.jpg` | what the glob matches: `*`, `?`, `[…]` never cross a `/`, `**` does |

The part in front of the first component with a `*`, `?` or `[` is the folder; paths and names begin behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Final

import msgspec

from rfbulk.errors import UsageError


class Cloud(StrEnum):
    """Whose bucket it is, by the scheme of its address."""

    S3 = "s3"
    GOOGLE = "gs"
    AZURE = "az"


_SCHEME: Final = re.compile(rf"({'|'.join(Cloud)})://", re.IGNORECASE)
_BUCKET: Final = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{0,221}")
_WILD: Final = re.compile(r"[*?\[]")
_ODD: Final = frozenset(("", ".", ".."))


@dataclass(frozen=True, slots=True)
class Address:
    """What of a bucket is meant.

    `folder` is where keys begin: empty, or with a `/` behind it. `pattern` says which paths below it are meant, None
    for all. `name` is what stood behind the folder without a `/`: an object, or another folder.
    """

    cloud: Cloud
    bucket: str
    folder: str = ""
    pattern: str | None = None
    name: str = ""

    @property
    def key(self) -> str:
        """The key of the one object that may be meant."""
        return self.folder + self.name

    @property
    def url(self) -> str:
        """The folder, as the address that a user would write."""
        return f"{self.cloud}://{self.bucket}/{self.folder}".rstrip("/")

    @property
    def text(self) -> str:
        """The whole address, however it was spelled."""
        return f"{self.cloud}://{self.bucket}/{self.key}{(self.pattern or '').lstrip('/')}"


class ObjectState(msgspec.Struct, frozen=True, gc=False):
    """What an object is just now: its size, its time in whole seconds, and its `mark`, which its version decides.

    Whole seconds, because listings tell a time more finely than the object itself does.
    """

    size: int
    mtime_ns: int
    mark: int


def is_bucket(source: str) -> bool:
    """Tell whether a source is the address of a bucket, and no path."""
    return _SCHEME.match(source) is not None


def parse_address(source: str) -> Address:
    """Take the address of a bucket's objects apart.

    Raises:
        UsageError: it is none.
    """
    scheme, _, rest = source.partition("://")
    bucket, _, path = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        shown = "an address with a user name or a password" if "@" in bucket else repr(source)
        raise _unusable(shown, "it does not begin with the name of a bucket", f"write it as {scheme}://bucket/folder/")
    *folders, last = path.split("/")
    if any(folder in _ODD for folder in folders) or last in {".", ".."}:
        raise _unusable(repr(source), "a folder in it is empty, `.` or `..`", "name a folder above it")
    cloud = Cloud(scheme.lower())
    wild = next((place for place, part in enumerate([*folders, last]) if _WILD.search(part)), None)
    if wild is None:
        return Address(cloud, bucket, _folder(folders), None, last)
    pattern = "/" + "/".join([*folders, last][wild:])
    return Address(cloud, bucket, _folder(folders[:wild]), pattern)


def odd_part(key: str) -> tuple[str, str, str] | None:
    """Take apart a key with a component that no path can have: an empty one, `.` or `..`. None if it has none.

    Returns the folder that holds it, the beginning that all keys with it share, and a key that stands behind them all.

    | key | folder | share | stands behind |
    | --- | --- | --- | --- |
    | `in//a.jpg` | `in/` | `in//` | `in/0` |
    | `a/../b.jpg` | `a/` | `a/../` | `a/..0` |
    | `a/..` | `a/` | `a/..` | `a/..!` |
    """
    components = key.split("/")
    place = next((place for place, each in enumerate(components) if each in _ODD and (place or each)), None)
    if place is None or (place == len(components) - 1 and not components[place]):
        return None
    folder = _folder(components[:place])
    odd = folder + components[place]
    return (folder, odd, f"{odd}!") if place == len(components) - 1 else (folder, f"{odd}/", f"{odd}0")


def mark_of(e_tag: str | None, version: str | None) -> int:
    """Return 64 bits that stand for an object's content as its store tells it apart: by ETag, else by version.

    The ETag comes first, since listings do not tell versions. Stores differ in whether they quote it.
    """
    text = (e_tag or "").removeprefix("W/").strip('"') or version or ""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") if text else 0


def _folder(components: list[str]) -> str:
    return "".join(f"{component}/" for component in components)


def _unusable(shown: str, cause: str, advice: str) -> UsageError:
    return UsageError("read source", shown, cause=cause, advice=advice)
