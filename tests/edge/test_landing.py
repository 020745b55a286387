from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from crc32c import crc32c

from rfbulk.core.fetching import FetchOutcome
from rfbulk.edge import landing
from rfbulk.edge.landing import (
    MAX_OPEN_FOLDERS,
    PathTaken,
    Site,
    discard_staging,
    sync_file_system,
    trouble_of_disk,
    write_all,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(os.fsencode(tmp_path), os.fsencode(tmp_path / ".rf/staging")) as opened:
        yield opened


def stage(site: Site, name: str = "1", data: bytes = b"x") -> tuple[int, int]:
    """Stage a file; its size and checksum."""
    descriptor = site.create(name)
    write_all(descriptor, data)
    os.close(descriptor)
    return len(data), crc32c(data)


@pytest.mark.parametrize("staging", ["", "/elsewhere", "-beside", "/../up", "/a/../../up"])
def test_staging_is_beneath_the_target(tmp_path: Path, staging: str) -> None:
    target = tmp_path / "target"
    target.mkdir()
    place = staging if staging == "/elsewhere" else str(target) + staging
    with pytest.raises(ValueError, match="beneath"):
        Site(os.fsencode(target), place.encode())


def test_staging_is_made_for_its_owner_alone_and_never_through_a_link(tmp_path: Path) -> None:
    with Site(os.fsencode(tmp_path), os.fsencode(tmp_path / "s/t")):
        assert (tmp_path / "s/t").stat().st_mode & 0o777 == 0o700
    (tmp_path / "link").symlink_to(tmp_path / "s")
    with pytest.raises(NotADirectoryError):
        Site(os.fsencode(tmp_path), os.fsencode(tmp_path / "link/t"))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, not paths


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files the way of Linux")
def test_descriptors_are_few_and_given_back(tmp_path: Path) -> None:
    before = open_files()
    with Site(os.fsencode(tmp_path), os.fsencode(tmp_path / "s")) as site:
        for n in range(3 * MAX_OPEN_FOLDERS):
            size, crc = stage(site)
            site.place("1", f"{n}/deep/er/a", size=size, crc=crc, overwrite=False)
            assert open_files() <= before + 2 + MAX_OPEN_FOLDERS
    assert open_files() == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files the way of Linux")
def test_a_site_that_cannot_be_opened_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"")
    before = open_files()
    with pytest.raises(OSError, match="directory"):
        Site(os.fsencode(tmp_path), os.fsencode(tmp_path / "s"))
    assert open_files() == before


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK])
def test_where_there_are_no_links_files_are_moved_and_nothing_is_replaced(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """FAT and some network disks have none."""

    def link(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", link)
    size, crc = stage(site)
    site.place("1", "d/a", size=size, crc=crc, overwrite=False)
    size, crc = stage(site, data=b"y")
    with pytest.raises(PathTaken):
        site.place("1", "d/a", size=size, crc=crc, overwrite=False)
    assert (tmp_path / "d/a").read_bytes() == b"x"


def test_a_move_that_was_cut_between_link_and_removal_is_finished(site: Site, tmp_path: Path) -> None:
    size, crc = stage(site)
    (tmp_path / "a").hardlink_to(tmp_path / ".rf/staging/1")
    found = site.place("1", "a", size=size, crc=crc, overwrite=False)
    assert found.inode == (tmp_path / "a").stat().st_ino
    assert site.leftovers() == frozenset()


@pytest.mark.parametrize("there", [b"y", b"xx", b""])
def test_only_the_same_bytes_count_as_the_same_file(site: Site, tmp_path: Path, there: bytes) -> None:
    (tmp_path / "a").write_bytes(there)
    size, crc = stage(site)
    with pytest.raises(PathTaken):
        site.place("1", "a", size=size, crc=crc, overwrite=False)
    assert site.found("a", size=size, crc=crc) is None
    assert site.leftovers() == {"1"}


@pytest.mark.parametrize("path", ["../a", "d/../../a", "d/.."])
def test_a_path_that_leads_out_is_never_gone(site: Site, tmp_path: Path, path: str) -> None:
    """Paths are made safe before they come here; if one ever is not, it ends here."""
    size, crc = stage(site)
    with pytest.raises((ValueError, PathTaken)):
        site.place("1", path, size=size, crc=crc, overwrite=False)
    assert not (tmp_path.parent / "a").exists()


def test_a_fifo_in_the_place_of_a_file_does_not_hang(site: Site, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    size, crc = stage(site)
    with pytest.raises(PathTaken):
        site.place("1", "a", size=size, crc=crc, overwrite=False)


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_was_staged_before_makes_room_for_the_new(site: Site, tmp_path: Path, kind: str) -> None:
    place = tmp_path / ".rf/staging/1"
    if kind == "folder":
        (place / "deep").mkdir(parents=True)
    elif kind == "link":
        (tmp_path / "precious").write_bytes(b"precious")
        place.symlink_to(tmp_path / "precious")
    else:
        place.write_bytes(b"old")
    stage(site, data=b"new")
    assert place.read_bytes() == b"new"
    assert not place.is_symlink()
    os.close(site.create_folder("1"))
    assert list(place.iterdir()) == []
    if kind == "link":
        assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_staged_folder_is_removed_once_nothing_is_in_it(site: Site) -> None:
    os.close(site.create_folder("1"))
    stage(site, "1/0")
    site.remove_if_empty("1")
    assert site.leftovers() == {"1"}
    site.remove("1/0")
    site.remove_if_empty("1")
    assert site.leftovers() == frozenset()


def test_staging_is_thrown_away_with_all_that_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    with Site(os.fsencode(tmp_path), os.fsencode(tmp_path / ".rf/staging")) as site:
        stage(site, "1.part")
        os.close(site.create_folder("2"))
        stage(site, "2/0")
    discard_staging(os.fsencode(tmp_path), os.fsencode(tmp_path / ".rf/staging"))
    assert [path.name for path in tmp_path.rglob("*")] in (["a", ".rf"], [".rf", "a"])


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (errno.ENOSPC, FetchOutcome.NO_ROOM),
        (errno.EDQUOT, FetchOutcome.NO_ROOM),
        (errno.EMFILE, FetchOutcome.BROKEN),
        (errno.ENFILE, FetchOutcome.BROKEN),
        (errno.EACCES, FetchOutcome.UNWRITABLE),
        (errno.EROFS, FetchOutcome.UNWRITABLE),
        (errno.EIO, FetchOutcome.UNWRITABLE),
        (errno.ENAMETOOLONG, FetchOutcome.UNWRITABLE),
        (errno.ELOOP, FetchOutcome.UNWRITABLE),
    ],
)
def test_an_error_of_the_disk_says_what_becomes_of_the_file(code: int, outcome: FetchOutcome) -> None:
    found, detail = trouble_of_disk(OSError(code, os.strerror(code)))
    assert found is outcome
    assert detail


def test_a_disk_that_takes_less_than_it_is_given_is_given_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:3]))
    descriptor = os.open(tmp_path / "a", os.O_WRONLY | os.O_CREAT)
    write_all(descriptor, b"abcdefgh")
    os.close(descriptor)
    assert (tmp_path / "a").read_bytes() == b"abcdefgh"


def test_a_file_system_is_synced_or_says_why_not(tmp_path: Path) -> None:
    sync_file_system(os.fsencode(tmp_path))
    with pytest.raises(FileNotFoundError):
        sync_file_system(os.fsencode(tmp_path / "no"))


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_sync_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(_descriptor: int) -> int:
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(landing, "_syncfs", lambda: fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        sync_file_system(os.fsencode(tmp_path))


def test_where_one_file_system_cannot_be_synced_all_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []
    monkeypatch.setattr(landing, "_syncfs", lambda: None)
    monkeypatch.setattr(os, "sync", lambda: called.append(True))
    sync_file_system(os.fsencode(tmp_path))
    assert called == [True]
