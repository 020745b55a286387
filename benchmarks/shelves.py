"""Make the sets that are exported, with the index that they are served by and the sums that results are checked by.

Small files lie on the shelf as they are. Archives hold images of the usual size, 500 each as the service packs them.
Their noise gives gzip nothing to do but to copy and to sum. The bytes of real JPEGs are a little uneven: gzip saves
some 0.2 % of them, for which inflating takes three times as long, whoever does it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from crc32c import crc32c

from benchmarks.datasets import CROPS, NORMAL, image, may_be_used, new_set, noise_of, prepare

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from benchmarks.bench import Bench

VERSION = 1  # of the way shelves are made: another number makes them anew
ARCHIVES = 40
USUAL_ARCHIVES = 60  # without `--scale`
SMOKE_ARCHIVES = 3
ARCHIVE_IMAGES = 500
ARCHIVE_PART = "results"

Sum = tuple[int, int]
"""Bytes and crc32c of a file."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A set on the disk, in one folder for each part. Files are known by their names, which no two share.

    `elements` are downloaded. `files` is what they come to once archives are unpacked: the same where there are none.
    """

    name: str
    folder: Path
    elements: dict[str, Sum]
    files: dict[str, Sum]

    @property
    def index(self) -> Path:
        """What the source serves it by."""
        return self.folder.with_suffix(".index")

    @property
    def total_bytes(self) -> int:
        """Of all elements."""
        return sum(size for size, _ in self.elements.values())


def small(bench: Bench) -> Shelf:
    """Return 20,000 files of 18 to 22 KB in two parts, or as many as the scale says."""
    folder = prepare(CROPS, bench).folder
    made = folder.with_suffix(".json").stat().st_mtime_ns
    return _known("small", folder, made) or _shelved("small", folder, made, None)


def archives(bench: Bench) -> Shelf:
    """Return 40 `.tar.gz` of 50 MB in one part, or as many as the scale says."""
    count = max(1, round(ARCHIVES * bench.scale)) if bench.scale else SMOKE_ARCHIVES if bench.smoke else USUAL_ARCHIVES
    folder = bench.data / f"archives-{count}"
    known = _known("archives", folder, 0) if may_be_used(folder, bench) else None
    return known or _shelved("archives", folder, 0, _make_archives(folder, count, bench))


def _known(name: str, folder: Path, made: int) -> Shelf | None:
    """Return the shelf as it was made before, for the set that was made at that moment."""
    stamp = folder.with_suffix(".shelf.json")
    known = json.loads(stamp.read_text()) if stamp.exists() and folder.is_dir() else {}
    if (known.get("version"), known.get("made")) != (VERSION, made):
        return None
    return Shelf(name, folder, _sums(known["elements"]), _sums(known["files"]))


def _sums(listed: dict[str, list[int]]) -> dict[str, Sum]:
    return {name: (size, crc) for name, (size, crc) in listed.items()}


def _shelved(name: str, folder: Path, made: int, files: dict[str, Sum] | None) -> Shelf:
    """Read every file once, and write down what is told of it."""
    elements: dict[str, Sum] = {}
    lines: list[str] = []
    for path in sorted(folder.glob("*/*")):
        content = path.read_bytes()
        crc = crc32c(content)
        elements[path.name] = (len(content), crc)
        md5 = hashlib.md5(content, usedforsecurity=False).digest()
        hashes = f"{_base64(crc.to_bytes(4, 'big'))} {_base64(md5)}"
        lines.append(f"{path.parent.name} {path.name} {len(content)} {hashes}\n")
    shelf = Shelf(name, folder, elements, elements if files is None else files)
    shelf.index.write_text("".join(lines))
    content_of = {key: value for key, value in asdict(shelf).items() if key in ("elements", "files")}
    folder.with_suffix(".shelf.json").write_text(json.dumps({"version": VERSION, "made": made, **content_of}))
    return shelf


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _make_archives(folder: Path, count: int, bench: Bench) -> dict[str, Sum]:
    """Return what is in them."""
    part = folder / ARCHIVE_PART
    what = f"{count} archives of {ARCHIVE_IMAGES} images each"
    with new_set(folder, count * ARCHIVE_IMAGES * NORMAL.largest, bench, what), ThreadPoolExecutor() as threads:
        part.mkdir()
        made: Iterable[dict[str, Sum]] = threads.map(partial(_make_archive, part), range(count))
        return {name: found for each in made for name, found in each.items()}


def _make_archive(part: Path, number: int) -> dict[str, Sum]:
    noise, pool = noise_of(f"archive {number}")
    members: dict[str, Sum] = {}
    with tarfile.open(part / f"export-{number:05d}.tar.gz", "w:gz", compresslevel=1) as archive:
        for at in range(number * ARCHIVE_IMAGES, (number + 1) * ARCHIVE_IMAGES):
            content = image(at, noise.randint(NORMAL.smallest, NORMAL.largest), noise, pool)
            member = tarfile.TarInfo(f"image-{at:08d}.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
            members[member.name] = (len(content), crc32c(content))
    return members
