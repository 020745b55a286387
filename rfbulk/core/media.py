"""What an upload is of: which files are meant by their names, how large one may be, and what the others are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rfbulk.core.limits import MAX_IMAGE_BYTES, Format, format_of, video_format_of
from rfbulk.core.model import RefusalReason

if TYPE_CHECKING:
    from rfbulk.core.references import MediaKind


@dataclass(frozen=True, slots=True)
class Media:
    """A kind of files. `refused` says what becomes of a file whose name tells that it is none."""

    kind: MediaKind
    format_of: Callable[[bytes], Format]
    max_bytes: int
    refused: Mapping[Format, RefusalReason]


IMAGES: Final = Media(
    "images",
    format_of,
    MAX_IMAGE_BYTES,
    {Format.OTHER: RefusalReason.NOT_AN_IMAGE, Format.UNSUPPORTED_IMAGE: RefusalReason.UNSUPPORTED_IMAGE},
)
VIDEOS: Final = Media(
    "videos",
    video_format_of,
    sys.maxsize,  # what the store takes, each grant says
    {Format.OTHER: RefusalReason.NOT_A_VIDEO, Format.UNSUPPORTED_VIDEO: RefusalReason.UNSUPPORTED_VIDEO},
)
