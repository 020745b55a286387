from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rfbulk.core.limits import MAX_IMAGE_BYTES
from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.naming import member_name
from rfbulk.edge.files import MAX_OPEN_FOLDERS, ScanGroup, Selection, open_root, scan
from rfbulk.errors import SourceError, UsageError
from tests.support.users import as_ordinary_user

ALL = Selection()


def write(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def groups_of(root: Path, selection: Selection = ALL, *, group_size: int = 500) -> list[ScanGroup]:
    return list(scan(open_root(root, 0), selection, member_name, group_size=group_size))


def found_in(root: Path, selection: Selection = ALL) -> tuple[list[str], dict[str, RefusalReason]]:
    """Return the paths to send, sorted, and the others with their reasons."""
    groups = groups_of(root, selection)
    paths = sorted(os.fsdecode(entry.path) for group in groups for entry in group.entries)
    refusals = {os.fsdecode(refusal.path): refusal.reason for group in groups for refusal in group.refusals}
    return paths, refusals


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def no_descriptors_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_entry_tells_path_name_and_fingerprint(tmp_path: Path) -> None:
    status = write(tmp_path / "cam" / "a__b.JPG", b"12345").stat()
    [group] = list(scan(open_root(tmp_path, 7), ALL, member_name))
    assert group.refusals == []
    assert group.entries == [
        Entry(7, b"cam/a__b.JPG", "cam__a%5F_b.JPG", 5, status.st_mtime_ns, status.st_ino),
    ]


def test_files_at_every_depth_are_found_once(tmp_path: Path) -> None:
    expected = sorted(f"{folder}{number}.png" for folder in ("", "a/", "a/b/", "c/d/e/") for number in range(3))
    for path in expected:
        write(tmp_path / path)
    assert found_in(tmp_path) == (expected, {})


def test_names_beyond_utf8_are_found(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.jpg"
    write(Path(os.fsdecode(path)))
    [group] = groups_of(tmp_path)
    assert (group.entries[0].path, group.entries[0].name) == (b"\xff.jpg", "%FF.jpg")


def test_a_huge_flat_folder_comes_in_groups_of_the_size_asked_for(tmp_path: Path) -> None:
    for number in range(25):
        write(tmp_path / f"{number}.jpg")
    assert [len(group.entries) for group in groups_of(tmp_path, group_size=10)] == [10, 10, 5]


def test_refusals_come_in_groups_too(tmp_path: Path) -> None:
    """A folder with a million text files must not gather them in memory."""
    for number in range(25):
        write(tmp_path / f"{number}.txt")
    assert [len(group.refusals) for group in groups_of(tmp_path, group_size=10)] == [10, 10, 5]


def test_the_first_group_comes_before_the_rest_is_read(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / f"{number}.jpg")
    scanning = iter(scan(open_root(tmp_path, 0), ALL, member_name, group_size=10))
    assert len(next(scanning).entries) == 10
    for path in tmp_path.iterdir():
        path.unlink()
    assert sum(len(group.refusals) + len(group.entries) for group in scanning) <= 10


def test_an_empty_folder_gives_no_group(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert groups_of(tmp_path) == []


def test_what_cannot_be_sent_is_named_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path / "empty.jpg", b"")
    write(tmp_path / "notes.txt")
    write(tmp_path / "photo.heic")
    os.truncate(write(tmp_path / "large.png"), MAX_IMAGE_BYTES + 1)
    os.truncate(write(tmp_path / "largest.png"), MAX_IMAGE_BYTES)
    os.mkfifo(tmp_path / "fifo.jpg")
    os.mknod(tmp_path / "socket.jpg", stat.S_IFSOCK | 0o600)
    (tmp_path / "device.jpg").symlink_to("/dev/null")
    (tmp_path / "dangling.jpg").symlink_to("missing.jpg")
    (tmp_path / "dangling").symlink_to("missing")
    (tmp_path / "dangling.txt").symlink_to("missing")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert found_in(tmp_path) == (
        ["largest.png"],
        {
            "empty.jpg": RefusalReason.EMPTY,
            "notes.txt": RefusalReason.NOT_AN_IMAGE,
            "photo.heic": RefusalReason.UNSUPPORTED_IMAGE,
            "large.png": RefusalReason.TOO_LARGE,
            "fifo.jpg": RefusalReason.SPECIAL,
            "socket.jpg": RefusalReason.SPECIAL,
            "device.jpg": RefusalReason.SPECIAL,
            "dangling.jpg": RefusalReason.DANGLING_LINK,
            "dangling": RefusalReason.DANGLING_LINK,
            "dangling.txt": RefusalReason.NOT_AN_IMAGE,
            "loop.jpg": RefusalReason.LINK_LOOP,
        },
    )


def test_a_file_too_large_tells_both_sizes(tmp_path: Path) -> None:
    os.truncate(write(tmp_path / "large.png"), MAX_IMAGE_BYTES + 1)
    [group] = groups_of(tmp_path)
    assert group.refusals[0].detail == "20971521 bytes, at most 20971520"


def test_a_path_of_which_no_name_can_be_made_is_named(tmp_path: Path) -> None:
    def refuse(path: bytes) -> str:
        raise ValueError(f"no name for {path!r}")

    write(tmp_path / "a.jpg")
    [group] = list(scan(open_root(tmp_path, 0), ALL, refuse))
    assert [(refusal.reason, refusal.detail) for refusal in group.refusals] == [
        (RefusalReason.NAME, "no name for b'a.jpg'")
    ]


def test_links_to_files_are_read_as_files_and_hard_links_are_files(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "o.jpg", b"outside")
    source = tmp_path / "source"
    inside = write(source / "real.jpg", b"inside")
    os.link(inside, source / "hard.jpg")
    (source / "soft.jpg").symlink_to("real.jpg")
    (source / "far.jpg").symlink_to("../outside/o.jpg")
    [group] = groups_of(source)
    found = {entry.path: (entry.size, entry.inode) for entry in group.entries}
    same = (6, inside.stat().st_ino)
    outside = (7, (tmp_path / "outside" / "o.jpg").stat().st_ino)
    assert found == {b"real.jpg": same, b"hard.jpg": same, b"soft.jpg": same, b"far.jpg": outside}


def test_a_link_named_unlike_an_image_is_skipped_whatever_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    (tmp_path / "latest").symlink_to("a.jpg")
    assert found_in(tmp_path) == (["a.jpg"], {"latest": RefusalReason.NOT_AN_IMAGE})


def test_a_folder_may_be_named_like_an_image(tmp_path: Path) -> None:
    write(tmp_path / "folder.jpg" / "a.jpg")
    assert found_in(tmp_path) == (["folder.jpg/a.jpg"], {})


def test_a_link_to_a_folder_of_the_source_is_seen_elsewhere(tmp_path: Path) -> None:
    write(tmp_path / "real" / "a.jpg")
    (tmp_path / "again").symlink_to("real")
    assert found_in(tmp_path) == (["real/a.jpg"], {"again": RefusalReason.SEEN_ELSEWHERE})


@pytest.mark.parametrize("target", [".", "..", "../..", "../../..", "/"])
def test_a_link_to_a_folder_that_holds_it_is_a_loop(tmp_path: Path, target: str) -> None:
    write(tmp_path / "source" / "below" / "a.jpg")
    (tmp_path / "source" / "below" / "loop").symlink_to(target)
    expected = (["below/a.jpg"], {"below/loop": RefusalReason.LINK_LOOP})
    assert found_in(tmp_path / "source") == expected
    (tmp_path / "way").symlink_to("source")
    assert found_in(tmp_path / "way") == expected


def test_a_folder_outside_is_followed_once_however_many_links_lead_there(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "deep" / "a.jpg")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("one", "two"):
        (source / name).symlink_to("../outside")
    (source / "three").symlink_to("../outside/deep")
    paths, refusals = found_in(source)
    assert len(paths) == 1
    assert set(refusals.values()) == {RefusalReason.SEEN_ELSEWHERE}


def test_a_folder_reached_by_a_link_is_not_entered_again_from_above(tmp_path: Path) -> None:
    """Whichever of the two links is met first, each image comes once."""
    write(tmp_path / "outside" / "deep" / "a.jpg")
    write(tmp_path / "outside" / "b.jpg")
    for order in (("m", "n"), ("n", "m")):
        source = tmp_path / f"source-{order[0]}"
        source.mkdir()
        (source / order[0]).symlink_to("../outside/deep")
        (source / order[1]).symlink_to("../outside")
        paths, refusals = found_in(source)
        assert sorted(Path(path).name for path in paths) == ["a.jpg", "b.jpg"]
        assert set(refusals.values()) == {RefusalReason.SEEN_ELSEWHERE}


def test_links_between_outside_folders_cannot_hang(tmp_path: Path) -> None:
    write(tmp_path / "left" / "l.jpg")
    write(tmp_path / "right" / "r.jpg")
    (tmp_path / "left" / "over").symlink_to("../right")
    (tmp_path / "right" / "over").symlink_to("../left")
    (tmp_path / "right" / "home").symlink_to("../source")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "way").symlink_to("../left")
    paths, refusals = found_in(tmp_path / "source")
    assert paths == ["way/l.jpg", "way/over/r.jpg"]
    assert refusals == {
        "way/over/home": RefusalReason.LINK_LOOP,
        "way/over/over": RefusalReason.SEEN_ELSEWHERE,
    }


def test_folders_and_links_that_may_not_be_read_are_named() -> None:
    with as_ordinary_user() as home:
        source = home / "source"
        write(source / "a.jpg")
        closed = home / "closed"
        closed.mkdir(mode=0)
        (source / "to-closed").symlink_to(closed)
        (source / "below.jpg").symlink_to(closed / "x.jpg")
        (source / "own").mkdir(mode=0)
        found = found_in(source)
        (source / "own").chmod(0o700)
    assert found == (
        ["a.jpg"],
        {
            "own": RefusalReason.UNREADABLE,
            "to-closed": RefusalReason.UNREADABLE,
            "below.jpg": RefusalReason.UNREADABLE,
        },
    )


def vanishing(found: Callable[[], None]) -> Callable[[bytes], str]:
    def name_of(path: bytes) -> str:
        found()
        return member_name(path)

    return name_of


def test_a_folder_that_vanishes_under_the_scan_is_named(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path / f"{number}.jpg")
        (tmp_path / f"folder-{number}").mkdir()

    def remove_folders() -> None:
        for folder in tmp_path.glob("folder-*"):
            shutil.rmtree(folder)

    groups = list(scan(open_root(tmp_path, 0), ALL, vanishing(remove_folders)))
    refusals = [refusal for group in groups for refusal in group.refusals]
    assert sum(len(group.entries) for group in groups) == 8
    assert {refusal.reason for refusal in refusals} <= {RefusalReason.VANISHED}


def test_files_that_vanish_under_the_scan_are_named(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path / f"{number}.jpg")

    def remove_files() -> None:
        for path in tmp_path.iterdir():
            path.unlink()

    [group] = list(scan(open_root(tmp_path, 0), ALL, vanishing(remove_files)))
    assert len(group.entries) == 1
    assert [refusal.reason for refusal in group.refusals] == [RefusalReason.VANISHED] * 7


def test_a_source_that_vanishes_before_the_scan_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    root = open_root(tmp_path / "source", 0)
    (tmp_path / "source").rmdir()
    with pytest.raises(SourceError, match="check its spelling"):
        list(scan(root, ALL, member_name))


def test_running_out_of_descriptors_is_not_blamed_on_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "below" / "a.jpg")
    root = open_root(tmp_path, 0)
    with no_descriptors_left(), pytest.raises(SourceError, match="ulimit"):
        list(scan(root, ALL, member_name))


def test_selected_files_alone_are_mentioned(tmp_path: Path) -> None:
    for path in ("a.jpg", "a.png", "a.txt", "keep/b.jpg", "cache/c.jpg", "keep/cache/d.jpg"):
        write(tmp_path / path)
    (tmp_path / "cache" / "closed").symlink_to("missing")
    assert found_in(tmp_path, Selection(include=("*.jpg",), exclude=("cache/",))) == (["a.jpg", "keep/b.jpg"], {})


def test_an_excluded_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "a.jpg")
    write(tmp_path / "source" / "b.jpg")
    (tmp_path / "source" / "far").symlink_to("../outside")
    (tmp_path / "source" / "gone.jpg").symlink_to("missing")
    assert found_in(tmp_path / "source", Selection(exclude=("far", "gone.*"))) == (["b.jpg"], {})


def test_without_recursion_subfolders_are_passed_by_in_silence(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    write(tmp_path / "below" / "b.jpg")
    (tmp_path / "link").symlink_to("below")
    assert found_in(tmp_path, Selection(recursive=False)) == (["a.jpg"], {})


def test_a_single_file_is_scanned_like_a_folder_of_one(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.txt")
    assert found_in(tmp_path / "a.jpg") == (["a.jpg"], {})
    assert found_in(tmp_path / "b.txt") == ([], {"b.txt": RefusalReason.NOT_AN_IMAGE})
    assert found_in(tmp_path / "a.jpg", Selection(exclude=("a*",))) == ([], {})


def test_a_single_file_that_vanishes_is_named(tmp_path: Path) -> None:
    root = open_root(write(tmp_path / "a.jpg"), 0)
    (tmp_path / "a.jpg").unlink()
    [group] = list(scan(root, ALL, member_name))
    assert [refusal.reason for refusal in group.refusals] == [RefusalReason.VANISHED]


def test_a_deep_tree_takes_a_bounded_number_of_descriptors(tmp_path: Path) -> None:
    write(tmp_path.joinpath(*["d"] * (MAX_OPEN_FOLDERS + 40)) / "a.jpg")
    before = descriptors()
    scanning = iter(scan(open_root(tmp_path, 0), ALL, member_name, group_size=1))
    assert len(next(scanning).entries) == 1
    assert descriptors() - before <= MAX_OPEN_FOLDERS
    assert list(scanning) == []
    assert descriptors() == before


def test_a_tree_deeper_than_paths_reach_is_named_where_it_ends(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    paths, refusals = found_in(tmp_path)
    assert paths == []
    assert list(refusals.values()) == [RefusalReason.UNREADABLE]
    shutil.rmtree(tmp_path / ("d" * 200))


def test_a_scan_left_half_way_gives_its_folders_back(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / "a" / "b" / f"{number}.jpg")
    before = descriptors()
    scanning = scan(open_root(tmp_path, 0), ALL, member_name, group_size=1)
    next(iter(scanning))
    assert descriptors() > before
    scanning.close()
    assert descriptors() == before


def test_a_pattern_without_meaning_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        groups_of(tmp_path, Selection(include=("",)))
