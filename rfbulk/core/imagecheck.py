"""Whether a file is a whole image, from its first bytes and the mark that ends it. Pure, and never raises on bytes.

| format | begins with | whole if |
| --- | --- | --- |
| jpeg | `FF D8 FF` | an end of image (`FF D9`) stands behind the first scan's header; more may follow |
| png | its signature | the `IEND` chunk is there; more may follow |
| bmp, dib | `BM`, or a bitmap's header alone | it has the bytes that its header states |
| webp | `RIFF….WEBP` | it has the bytes that its header states |
| jp2 | its signature box, or a codestream | an end of codestream (`FF D9`) is there |

What stands in the suffix does not matter: the service reads what is in the file.
"""

from __future__ import annotations

from typing import Final

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"IEND\xaeB`\x82"
_JPEG_END: Final = b"\xff\xd9"
_JP2: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODESTREAM: Final = b"\xff\x4f\xff\x51"
_BITMAP_HEADERS: Final = frozenset((12, 40, 52, 56, 64, 108, 124))
_START_OF_SCAN: Final = 0xDA
_LIKELY_BYTES: Final = 4096
"""Where the mark nearly always is: the end of the file. Only without it there, all is looked through."""

_OTHERS: Final = (
    (b"GIF8", "a GIF"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"%PDF", "a PDF"),
    (b"<", "a text that begins with <"),
    (b"\0" * 8, "zeros"),
)


class ImageCheck:
    """Looks at one file, piece by piece in order. A piece is not kept: it may be other bytes afterwards."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._is_begun = False
        self._fault = ""
        self._mark = b""
        self._rest = b""
        self._missing = ""

    def take(self, piece: memoryview) -> None:
        """Look at the next bytes of the file."""
        start = 0
        if not self._is_begun:
            self._is_begun = True
            start = self._begin(piece)
        if self._missing:
            self._find(piece, start)

    def fault(self) -> str:
        """Return why the file is no whole image, once all of it was looked at; "" if it is one."""
        return self._fault or self._missing

    def _begin(self, piece: memoryview) -> int:
        """Recognise the format. Return where in the piece its end may be looked for."""
        head = bytes(piece[:32])
        if head.startswith(b"\xff\xd8\xff"):
            self._await(_JPEG_END, "it is a JPEG that is cut short: it has no end of image")
            return _scan_of(piece)
        if head.startswith(_PNG):
            self._await(_PNG_END, "it is a PNG that is cut short: it has no IEND")
        elif head.startswith((_JP2, _CODESTREAM)):
            self._await(_JPEG_END, "it is a JPEG 2000 that is cut short: it has no end of codestream")
        elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            self._expect("WebP", int.from_bytes(head[4:8], "little") + 8)
        elif head.startswith(b"BM"):
            self._expect("bitmap", int.from_bytes(head[2:6], "little"))
        elif int.from_bytes(head[:4], "little") not in _BITMAP_HEADERS:
            what = next((text for begins, text in _OTHERS if head.startswith(begins)), "nothing that is known")
            self._fault = f"it is no image of an accepted format but {what}"
        return 0

    def _await(self, mark: bytes, missing: str) -> None:
        self._mark, self._missing = mark, missing

    def _expect(self, what: str, stated: int) -> None:
        if stated > self._size:
            self._fault = f"it is a {what} that is cut short: it states {stated} bytes and has {self._size}"

    def _find(self, piece: memoryview, start: int) -> None:
        likely = max(start, len(piece) - _LIKELY_BYTES)
        if (
            bytes(piece[likely:]).rfind(self._mark) >= 0
            or (self._rest + bytes(piece[start : start + len(self._mark)])).find(self._mark) >= 0
            or (likely > start and bytes(piece[start:]).rfind(self._mark) >= 0)
        ):
            self._missing = ""
        self._rest = bytes(piece[max(start, len(piece) - len(self._mark) + 1) :])


def _scan_of(piece: memoryview) -> int:
    """Return where a JPEG's first scan begins: previews in front of it are whole images of their own.

    The end of the piece, if it does not begin in it.
    """
    at = 2
    while at + 4 <= len(piece) and piece[at] == 0xFF:
        marker = piece[at + 1]
        if marker == _START_OF_SCAN:
            return at
        if marker == 0xFF:  # filling
            at += 1
        else:
            at += 2 + int.from_bytes(piece[at + 2 : at + 4], "big")
    return min(at, len(piece))
