from __future__ import annotations

import io
import os
import resource
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfbulk.core.imagecheck import ImageCheck
from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.tarlayout import END, TRAILER_NAME, tar_bytes
from rfbulk.errors import SourceError
from rfbulk.senders.packing import EntryChanged, OutOfDescriptors, ShardPacker
from tests.support.users import as_ordinary_user

CHUNK = 8192


def entry_of(folder: Path, name: str, data: bytes, root: int = 0) -> Entry:
    (folder / name).write_bytes(data)
    status = (folder / name).stat()
    return Entry(root, name.encode(), f"{root}-{name}", len(data), status.st_mtime_ns, status.st_ino)


def packer_of(folder: Path, *entries: Entry, trailer: bytes = b"") -> ShardPacker:
    return ShardPacker([os.fsencode(folder)], entries, trailer, buffer=bytearray(CHUNK))


def chunks_of(packer: ShardPacker) -> list[bytes]:
    return [bytes(chunk) for chunk in iter(packer.next_chunk, b"")]


def members_of(tar: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        return [(member.name, file.read()) for member in archive if (file := archive.extractfile(member))]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def all_descriptors_come_back() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() == before


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.one_of(st.integers(0, 1100), st.integers(0, 5 * CHUNK)), max_size=12),
    trailer=st.binary(max_size=700),
    chunk_bytes=st.integers(1, 3 * CHUNK),
)
def test_what_comes_out_is_the_tar_that_was_planned(
    tmp_path: Path, sizes: list[int], trailer: bytes, chunk_bytes: int
) -> None:
    contents = [(b"%d," % number * size)[:size] for number, size in enumerate(sizes)]
    entries = [entry_of(tmp_path, f"{number}.jpg", data) for number, data in enumerate(contents)]
    packer = ShardPacker([os.fsencode(tmp_path)], entries, trailer, buffer=bytearray(chunk_bytes))
    tar = b"".join(chunks_of(packer))
    expected = [(f"0-{number}.jpg", data) for number, data in enumerate(contents)]
    assert members_of(tar) == expected + ([(TRAILER_NAME, trailer)] if trailer else [])
    assert len(tar) == tar_bytes(entries, trailer) == packer.bytes_out
    assert packer.crc32c == google_crc32c.value(tar)


def test_chunks_fill_at_least_half_of_the_buffer(tmp_path: Path) -> None:
    entries = [entry_of(tmp_path, f"{number}.jpg", bytes(1 + number * 777)) for number in range(60)]
    lengths = [len(chunk) for chunk in chunks_of(packer_of(tmp_path, *entries))]
    assert max(lengths) <= CHUNK
    assert min(lengths[:-1]) >= CHUNK // 2


def test_an_empty_shard_is_an_empty_tar(tmp_path: Path) -> None:
    assert chunks_of(packer_of(tmp_path)) == [END]


def test_a_chunk_holds_until_the_next_and_the_last_one_for_good(tmp_path: Path) -> None:
    """The chunk that completes a tar is sent after the packer was asked whether it really is the last."""
    entries = [entry_of(tmp_path, f"{number}.jpg", os.urandom(number * 1000)) for number in range(30)]
    packer, tar = packer_of(tmp_path, *entries), b""
    while chunk := packer.next_chunk():
        last = chunk
        tar += chunk
    assert tar.endswith(last)
    assert not packer.next_chunk()
    assert tar.endswith(last)


def test_each_chunk_may_be_made_in_another_thread(tmp_path: Path) -> None:
    entries = [entry_of(tmp_path, f"{number}.jpg", bytes(5000)) for number in range(20)]
    expected = b"".join(chunks_of(packer_of(tmp_path, *entries)))
    packer, tar = packer_of(tmp_path, *entries), b""
    while True:
        with ThreadPoolExecutor(1) as thread:
            chunk = thread.submit(packer.next_chunk).result()
        if not chunk:
            break
        tar += chunk
    assert tar == expected


def test_entries_of_several_roots_travel_together(tmp_path: Path) -> None:
    folders = [tmp_path / "left", tmp_path / "right"]
    for folder in folders:
        folder.mkdir()
    entries = [
        entry_of(folders[number % 2], f"{number}.jpg", bytes([number]) * size, root=number % 2)
        for number, size in enumerate([10, 10, 3 * CHUNK, 3 * CHUNK, 10, 10])
    ]
    tar = b"".join(
        chunks_of(ShardPacker([os.fsencode(folder) for folder in folders], entries, buffer=bytearray(CHUNK)))
    )
    assert [data[:1] for _, data in members_of(tar)] == [bytes([number]) for number in range(6)]


def test_links_below_the_root_are_read_through(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    entry = entry_of(tmp_path, "real.jpg", b"data")
    (tmp_path / "d" / "link.jpg").symlink_to("../real.jpg")
    link = Entry(0, b"d/link.jpg", "d__link.jpg", 4, entry.mtime_ns, entry.inode)
    assert members_of(b"".join(chunks_of(packer_of(tmp_path, link)))) == [("d__link.jpg", b"data")]


def replace_file(path: Path) -> None:
    """Put another file of the same size and time in a file's place."""
    status = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(bytes(status.st_size))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


def put_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


CHANGES: dict[str, tuple[Callable[[Path], None], RefusalReason]] = {
    "grows": (lambda path: os.truncate(path, path.stat().st_size + 1), RefusalReason.CHANGED),
    "shrinks": (lambda path: os.truncate(path, path.stat().st_size - 1), RefusalReason.CHANGED),
    "is emptied": (lambda path: os.truncate(path, 0), RefusalReason.CHANGED),
    "is touched": (lambda path: os.utime(path, ns=(1, 1)), RefusalReason.CHANGED),
    "is replaced": (replace_file, RefusalReason.CHANGED),
    "becomes a FIFO": (put_fifo, RefusalReason.CHANGED),
    "becomes a folder": (put_folder, RefusalReason.CHANGED),
    "becomes a device": (put_device, RefusalReason.CHANGED),
    "vanishes": (Path.unlink, RefusalReason.VANISHED),
}


@pytest.mark.parametrize("size", [100, 5 * CHUNK], ids=["small", "large"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_the_scan_is_told_before_the_end(tmp_path: Path, change: str, size: int) -> None:
    alter, reason = CHANGES[change]
    before, victim = entry_of(tmp_path, "a.jpg", bytes(CHUNK)), entry_of(tmp_path, "b.jpg", bytes(size))
    packer = packer_of(tmp_path, before, victim)
    alter(tmp_path / "b.jpg")
    with pytest.raises(EntryChanged) as raised:
        chunks_of(packer)
    assert (raised.value.position, raised.value.reason) == (1, reason)
    assert raised.value.detail
    assert packer.bytes_out < tar_bytes([before, victim], b"") - len(END)
    assert not packer.next_chunk()


@pytest.mark.parametrize("change", ["grows", "shrinks", "is emptied", "is touched"])
@pytest.mark.parametrize("chunks_before", [1, 2, 3, 4])
def test_a_large_file_that_changes_while_it_is_read_never_comes_whole(
    tmp_path: Path, change: str, chunks_before: int
) -> None:
    victim = entry_of(tmp_path, "a.jpg", bytes(5 * CHUNK))
    after = entry_of(tmp_path, "b.jpg", b"x")
    packer = packer_of(tmp_path, victim, after)
    for _ in range(chunks_before):
        assert packer.next_chunk()
    CHANGES[change][0](tmp_path / "a.jpg")
    with pytest.raises(EntryChanged) as raised:
        chunks_of(packer)
    assert (raised.value.position, raised.value.reason) == (0, RefusalReason.CHANGED)
    assert packer.bytes_out < 512 + victim.size


@pytest.mark.parametrize("change", ["is replaced", "vanishes"])
def test_a_file_replaced_while_it_is_read_is_sent_as_it_was(tmp_path: Path, change: str) -> None:
    """What is open stays what the scan saw, whatever its name leads to by now."""
    data = os.urandom(5 * CHUNK)
    packer = packer_of(tmp_path, entry_of(tmp_path, "a.jpg", data))
    first = bytes(packer.next_chunk())
    CHANGES[change][0](tmp_path / "a.jpg")
    assert members_of(first + b"".join(chunks_of(packer))) == [("0-a.jpg", data)]


def test_the_last_file_is_checked_before_the_tar_ends(tmp_path: Path) -> None:
    entries = [entry_of(tmp_path, f"{number}.jpg", bytes(10)) for number in range(3)]
    packer = packer_of(tmp_path, *entries, trailer=b"{}")
    os.utime(tmp_path / "2.jpg", ns=(1, 1))
    with pytest.raises(EntryChanged):
        packer.next_chunk()
    assert packer.bytes_out == 0


def test_a_fifo_with_a_writer_cannot_hang_it(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, "a.jpg", bytes(10))
    put_fifo(tmp_path / "a.jpg")
    reader = os.open(tmp_path / "a.jpg", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "a.jpg", os.O_WRONLY)
    with pytest.raises(EntryChanged) as raised:
        packer_of(tmp_path, entry).next_chunk()
    os.close(reader)
    os.close(writer)
    assert raised.value.reason is RefusalReason.CHANGED


def test_a_file_that_may_not_be_read_is_told() -> None:
    with as_ordinary_user() as home:
        entries = [entry_of(home, "a.jpg", b"x"), entry_of(home, "b.jpg", b"x")]
        (home / "b.jpg").chmod(0)
        with pytest.raises(EntryChanged) as raised:
            packer_of(home, *entries).next_chunk()
    assert (raised.value.position, raised.value.reason) == (1, RefusalReason.UNREADABLE)


def test_a_folder_that_turned_into_a_file_makes_its_files_vanish(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"")
    with pytest.raises(EntryChanged) as raised:
        packer_of(tmp_path, Entry(0, b"d/a.jpg", "d__a.jpg", 1, 1, 1)).next_chunk()
    assert raised.value.reason is RefusalReason.VANISHED


def test_a_root_that_is_gone_is_not_blamed_on_a_file(tmp_path: Path) -> None:
    entry = entry_of(tmp_path, "a.jpg", b"x")
    with pytest.raises(SourceError, match="gone"):
        packer_of(tmp_path / "gone", entry).next_chunk()


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open("/dev/null", os.O_RDONLY) for _ in range(count + 1)]
    for file in taken:
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("left", [0, 1])
def test_running_out_of_descriptors_is_not_blamed_on_a_file(tmp_path: Path, left: int) -> None:
    packer = packer_of(tmp_path, entry_of(tmp_path, "a.jpg", b"x"))
    with descriptors_left(left), pytest.raises(OutOfDescriptors):
        packer.next_chunk()
    assert not packer.next_chunk()


def test_a_packer_left_half_way_gives_everything_back_and_says_no_more(tmp_path: Path) -> None:
    with packer_of(tmp_path, entry_of(tmp_path, "a.jpg", bytes(5 * CHUNK))) as packer:
        assert packer.next_chunk()
    assert not packer.next_chunk()
    packer.close()


def test_file_systems_may_give_less_than_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [entry_of(tmp_path, "a.jpg", os.urandom(100)), entry_of(tmp_path, "b.jpg", os.urandom(3 * CHUNK))]
    expected = b"".join(chunks_of(packer_of(tmp_path, *entries)))
    readv = os.readv
    monkeypatch.setattr(os, "readv", lambda file, views: readv(file, [views[0][: 7 if len(views[0]) < 1000 else 1000]]))
    assert b"".join(chunks_of(packer_of(tmp_path, *entries))) == expected


def read_all(packer: ShardPacker) -> None:
    while packer.next_chunk():
        pass


WHOLE_JPEG = b"\xff\xd8\xff\xe0\0\x04ab\xff\xda\0\x02" + b"data" * 20_000 + b"\xff\xd9"


@pytest.mark.parametrize("buffer", [4096, 1 << 20], ids=["in pieces", "whole"])
@pytest.mark.parametrize("bad", [0, 2, 4])
def test_a_checked_shard_ends_before_the_end_of_what_is_no_image(tmp_path: Path, buffer: int, bad: int) -> None:
    entries = []
    for number in range(5):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(WHOLE_JPEG[:-5] if number == bad else WHOLE_JPEG)
        status = path.stat()
        name = os.fsencode(path.name)
        entries.append(Entry(0, name, path.name, status.st_size, status.st_mtime_ns, status.st_ino))
    packer = ShardPacker([os.fsencode(tmp_path)], entries, buffer=bytearray(buffer), check=ImageCheck)
    with packer, pytest.raises(EntryChanged) as caught:
        read_all(packer)
    assert (caught.value.position, caught.value.reason) == (bad, RefusalReason.DAMAGED)
    assert packer.bytes_out < (bad + 1) * len(WHOLE_JPEG) + 512 * (bad + 1)
