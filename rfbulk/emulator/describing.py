"""What the store says about a file that it sends: its tag, its hashes, its time and its kind. Pure."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING

from multidict import CIMultiDict

from rfbulk.emulator.bodies import crc32c_base64

if TYPE_CHECKING:
    from rfbulk.emulator.bodies import Checksums
    from rfbulk.emulator.options import DownloadOptions
    from rfbulk.emulator.shelf import Place

_MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Description:
    """One version of one file, and its tag as a header writes it. Without `sums`, no hashes are told."""

    place: Place
    name: str
    version: int
    sums: Checksums | None
    options: DownloadOptions
    etag: str | None = field(init=False)

    def __post_init__(self) -> None:
        """Make the tag once."""
        object.__setattr__(self, "etag", self._etag())

    @property
    def modified(self) -> int:
        """When the file came into being, in whole seconds."""
        return self._generation // _MICROSECONDS + self.version

    def _etag(self) -> str | None:
        match self.options.etag:
            case "none":
                return None
            case "md5" if self.sums is not None and self.sums.md5 is not None:
                return f'"{self.sums.md5.digest().hex()}"'
            case "weak":
                return f'W/"{self._opaque}"'
            case _:
                return f'"{self._opaque}"'

    def headers(self, *, is_range: bool, is_lying: bool) -> CIMultiDict[str]:
        """Return all headers but those of length and range; a lie changes the hashes, or the tag if there are none."""
        headers = CIMultiDict(
            {"Content-Type": _kind(self.name), "Last-Modified": formatdate(self.modified, usegmt=True)}
        )
        if self.options.ranges:
            headers["Accept-Ranges"] = "bytes"
        if self.etag is not None:
            headers["ETag"] = self.etag
        google = self.options.dialect == "google"
        if google:
            headers["x-goog-generation"] = str(self._generation + self.version)
            headers["x-goog-stored-content-encoding"] = "identity"
            if self.options.length == "stated":
                headers["x-goog-stored-content-length"] = str(self.place.size)
        (self._add_google_hashes if google else self._add_hashes)(headers, is_lying, is_range)
        if is_lying and self.options.hashes == "none":
            headers["ETag"] = f'"{hashlib.md5(b"a lie", usedforsecurity=False).hexdigest()}"'
        return headers

    @property
    def _generation(self) -> int:
        text = self.place.key.rpartition(".")[2]
        return int(text) if text.isdigit() else 0

    @property
    def _opaque(self) -> str:
        text = f"{self.place.key}-{self.place.offset}-{self.version}".encode()
        if self.options.dialect == "s3":  # as of an object that was sent in several pieces
            return f"{hashlib.sha256(text).hexdigest()[:32]}-2"
        return f"-{base64.b64encode(hashlib.sha256(text).digest()[:12]).decode()}="

    def _add_google_hashes(self, headers: CIMultiDict[str], is_lying: bool, _is_range: bool) -> None:
        # A range is told the hashes of the whole file; each has a line of its own.
        for name, value in self._hashes(is_lying):
            headers.add("x-goog-hash", f"{name}={value}")

    def _add_hashes(self, headers: CIMultiDict[str], is_lying: bool, is_range: bool) -> None:
        for name, value in self._hashes(is_lying):
            if name == "crc32c":
                headers["x-amz-checksum-crc32c"] = value
            elif not is_range:  # it is the hash of the body, not of the file
                headers["Content-MD5"] = value

    def _hashes(self, is_lying: bool) -> list[tuple[str, str]]:
        hashes: list[tuple[str, str]] = []
        if self.sums is None:
            return hashes
        if self.options.hashes in {"both", "crc32c"}:
            hashes.append(("crc32c", crc32c_base64(self.sums.crc32c ^ is_lying)))
        if self.options.hashes in {"both", "md5"} and self.sums.md5 is not None:
            digest = self.sums.md5.digest()
            hashes.append(("md5", base64.b64encode(digest[::-1] if is_lying else digest).decode()))
        return hashes


@lru_cache
def _kind(suffixes: str) -> str:
    kind, encoding = mimetypes.guess_type(f"name{suffixes}")
    return "application/gzip" if encoding == "gzip" else kind or "application/octet-stream"
