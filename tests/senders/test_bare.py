"""A file that travels alone leaves whole and as it was planned, or not to its end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crc32c import crc32c

from rfbulk.core.imagecheck import ImageCheck
from rfbulk.core.model import Entry, RefusalReason
from rfbulk.errors import SourceError
from rfbulk.senders.bare import BarePacker
from rfbulk.senders.packing import EntryChanged

CHUNK = 4096


def entry_of(path: Path) -> Entry:
    status = path.stat()
    return Entry(0, os.fsencode(path.name), path.name, status.st_size, status.st_mtime_ns, status.st_ino)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(os.urandom(3 * CHUNK + 100))
    return path


def packer_of(path: Path, entry: Entry | None = None) -> BarePacker:
    return BarePacker(os.fsencode(path.parent), entry or entry_of(path), buffer=bytearray(CHUNK))


def read_all(packer: BarePacker) -> None:
    while packer.next_chunk():
        pass


def descriptors() -> int:
    folder = Path("/proc/self/fd")
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


def test_it_leaves_byte_by_byte_and_gives_its_descriptor_back(clip: Path) -> None:
    before, content = descriptors(), b""
    with packer_of(clip) as packer:
        while chunk := packer.next_chunk():
            content += chunk
        assert not packer.next_chunk()
        assert content == clip.read_bytes()
        assert packer.crc32c == crc32c(content)
        assert descriptors() == before


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_change_stops_it_before_its_end(clip: Path, at: int) -> None:
    before = descriptors()
    with packer_of(clip) as packer:
        for _ in range(at):
            packer.next_chunk()
        clip.write_bytes(b"other")
        with pytest.raises(EntryChanged) as caught:
            read_all(packer)
        assert caught.value.reason is RefusalReason.CHANGED
        assert not packer.next_chunk()
    assert descriptors() == before


def test_what_is_gone_or_may_not_be_read_is_told(clip: Path) -> None:
    entry = entry_of(clip)
    clip.unlink()
    with packer_of(clip, entry) as packer, pytest.raises(EntryChanged) as caught:
        packer.next_chunk()
    assert caught.value.reason is RefusalReason.VANISHED
    clip.parent.rmdir()
    with packer_of(clip, entry) as packer, pytest.raises(SourceError):
        packer.next_chunk()


def test_a_checked_image_is_not_finished_if_it_is_none(clip: Path) -> None:
    packer = BarePacker(os.fsencode(clip.parent), entry_of(clip), buffer=bytearray(CHUNK), check=ImageCheck)
    with packer, pytest.raises(EntryChanged) as caught:
        read_all(packer)
    assert caught.value.reason is RefusalReason.DAMAGED
