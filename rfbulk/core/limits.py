"""What the service takes: how many, how large, which formats, which identifiers.

Every number comes from the service's own description of Data Staging, its OpenAPI file and what its
documentation says about bulk uploads; none of them is a measurement of ours.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

from rfbulk.core.model import BatchId
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_IMAGES_PER_SHARD: Final = 500
"""A bulk-upload tar holds at most 500 images; its `notification_config.json` does not count."""

MAX_IMAGE_BYTES: Final = 20_971_520
"""A single image has at most 20 MiB."""

_ACCEPTED: Final = "bmp dib jpeg jpg jpe jp2 png webp"
_OTHERS: Final = (
    "3fr apng arw avif bpg cr2 cr3 crw cur dcm dcr dds dng erf exr fit fits flif gif hdr heic heif hif icns ico"
    " j2c j2k jfi jfif jif jng jp3 jpf jpm jpx jxl jxr kdc mef mng mos mrw nef nrw orf pam pbm pcx pef pfm pgm pic"
    " pjp pjpeg pnm ppm psb psd qoi raf ras raw rgb rw2 rwl sgi sr2 srf srw svg svgz tga tif tiff wbmp wdp wmf x3f"
    " xbm xcf xpm"
)

_VIDEOS: Final = "mp4 m4a m4p m4b m4r m4v avi mov mkv flv wmv mpeg mpg 3gp webm ogg"
_OTHER_VIDEOS: Final = (
    "3g2 amv asf dav divx dv f4v h264 h265 ivf m1v m2t m2ts m2v mjpeg mts mxf ogv qt rm rmvb ts vob y4m"
)

ACCEPTED_IMAGES: Final = frozenset(_ACCEPTED.split())
"""Suffixes of images that the service takes, in any case."""

OTHER_IMAGES: Final = frozenset(_OTHERS.split())
"""Suffixes of images that it does not take: a file of these was probably meant to be sent, so it is named."""

ACCEPTED_VIDEOS: Final = frozenset(_VIDEOS.split())
"""Suffixes of videos that the service takes, in any case."""

OTHER_VIDEOS: Final = frozenset(_OTHER_VIDEOS.split())
"""Suffixes of videos that it does not take: named, as such images are."""

_USUAL: Final = -4
"""Where most suffixes begin: a dot and three letters."""

_BATCH_ID: Final = re.compile(r"[a-z0-9_-]{1,64}")


class Format(Enum):
    """What a file is by its suffix."""

    ACCEPTED = "accepted"
    UNSUPPORTED_IMAGE = "unsupported-image"
    UNSUPPORTED_VIDEO = "unsupported-video"
    OTHER = "other"


def _spellings(suffixes: Iterable[str]) -> Iterable[bytes]:
    """Give each suffix in the cases that cameras write, so that most names need no conversion."""
    for suffix in suffixes:
        yield from {f".{spelling}".encode() for spelling in (suffix, suffix.upper(), suffix.title())}


_FORMATS: Final = {
    **dict.fromkeys(_spellings(OTHER_IMAGES), Format.UNSUPPORTED_IMAGE),
    **dict.fromkeys(_spellings(ACCEPTED_IMAGES), Format.ACCEPTED),
}


def format_of(name: bytes) -> Format:
    """Tell from its suffix whether the service takes the file `name`, the last component of a path.

    A dot file such as `.jpg` has no suffix.
    """
    known = _FORMATS.get(name[_USUAL:])
    if known is not None and name[:_USUAL]:
        return known
    start = name.rfind(b".")
    return _FORMATS.get(name[start:].lower(), Format.OTHER) if start > 0 else Format.OTHER


def video_format_of(name: bytes) -> Format:
    """Tell from its suffix whether the service takes the file `name` as a video."""
    stem, _, suffix = name.rpartition(b".")
    lowered = suffix.decode("ascii", "replace").lower()
    if not stem:
        return Format.OTHER
    if lowered in ACCEPTED_VIDEOS:
        return Format.ACCEPTED
    return Format.UNSUPPORTED_VIDEO if lowered in OTHER_VIDEOS else Format.OTHER


def batch_id(text: str) -> BatchId:
    """Take `text` as the identifier of a batch.

    Raises:
        UsageError: the service would not take it.
    """
    if _BATCH_ID.fullmatch(text) is None:
        raise UsageError(
            "use batch id",
            repr(text),
            cause="the service takes 1 to 64 of a-z, 0-9, _ and -",
            advice="choose another --batch-id",
        )
    return BatchId(text)
