from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from rfbulk.core.limits import MAX_IMAGE_BYTES
from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.selection import Selection
from rfbulk.edge.source import FileSource, needs_clash_check, open_source, refuse_clashes, renamed, resolved
from rfbulk.errors import SourceError, UsageError
from rfbulk.settings import Names

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, content: bytes = b"image") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return write_file


def opened(*paths: Path, names: Names = "auto", selection: Selection | None = None) -> FileSource:
    return open_source(paths, selection or Selection(), names)


def entries_of(source: FileSource) -> list[Entry]:
    return sorted((entry for group in source.scan() for entry in group.entries), key=lambda entry: entry.name)


def names_of(source: FileSource) -> list[str]:
    return [entry.name for entry in entries_of(source)]


def test_one_folder_names_its_files_from_their_paths_within_it(tmp_path: Path, write: Write) -> None:
    write("s/a.jpg")
    write("s/d/b.jpg")
    assert names_of(opened(tmp_path / "s")) == ["a.jpg", "d__b.jpg"]


def test_two_folders_put_their_own_names_in_front(tmp_path: Path, write: Write) -> None:
    write("s/a.jpg")
    write("t/a.jpg")
    source = opened(tmp_path / "s", tmp_path / "t")
    assert names_of(source) == ["s__a.jpg", "t__a.jpg"]
    assert (os.fsencode(tmp_path / "s"), os.fsencode(tmp_path / "t")) == source.roots


def test_names_by_path_put_the_folder_in_front_of_a_single_source_too(tmp_path: Path, write: Write) -> None:
    write("s/a.jpg")
    assert names_of(opened(tmp_path / "s", names="path")) == ["s__a.jpg"]


def test_names_by_basename_are_bare(tmp_path: Path, write: Write) -> None:
    write("s/d/a.jpg")
    assert names_of(opened(tmp_path / "s", names="basename")) == ["a.jpg"]


def test_a_single_file_is_a_source(tmp_path: Path, write: Write) -> None:
    source = opened(write("s/a.jpg"), write("t/b.jpg"))
    assert [(entry.path, entry.name) for entry in entries_of(source)] == [(b"a.jpg", "a.jpg"), (b"b.jpg", "b.jpg")]
    assert (os.fsencode(tmp_path / "s"), os.fsencode(tmp_path / "t")) == source.roots


def test_each_entry_leads_back_to_its_file(tmp_path: Path, write: Write) -> None:
    paths = {write("s/a.jpg", b"1"), write("s/d/b.jpg", b"2"), write("t/a.jpg", b"3"), write("x.jpg", b"4")}
    source = opened(tmp_path / "s", tmp_path / "t", tmp_path / "x.jpg")
    found = {Path(os.fsdecode(os.path.join(source.roots[entry.root], entry.path))) for entry in entries_of(source)}
    assert paths == found


def test_the_selection_holds_in_every_source(tmp_path: Path, write: Write) -> None:
    for name in ("s/a.jpg", "s/a.png", "t/b.jpg", "t/b.png"):
        write(name)
    source = opened(tmp_path / "s", tmp_path / "t", selection=Selection(include=("*.png",)))
    assert names_of(source) == ["s__a.png", "t__b.png"]


def test_two_folders_of_one_name_are_refused(tmp_path: Path, write: Write) -> None:
    write("s/photos/a.jpg")
    write("t/photos/b.jpg")
    with pytest.raises(UsageError, match="the same name"):
        opened(tmp_path / "s" / "photos", tmp_path / "t" / "photos")


def test_two_folders_of_one_name_are_no_matter_to_bare_names(tmp_path: Path, write: Write) -> None:
    write("s/photos/a.jpg")
    write("t/photos/b.jpg")
    assert names_of(opened(tmp_path / "s/photos", tmp_path / "t/photos", names="basename")) == ["a.jpg", "b.jpg"]


def test_no_source_is_refused() -> None:
    with pytest.raises(UsageError, match="no source was given"):
        opened()


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        opened(tmp_path / "absent")


# clashes


@pytest.mark.parametrize(
    ("paths", "names", "expected"),
    [
        (["s"], "auto", False),
        (["s"], "basename", True),
        (["s", "s/a.jpg"], "auto", False),
        (["s/a.jpg", "t/a.jpg"], "auto", True),
        (["s", "t"], "path", False),
    ],
)
def test_a_clash_is_looked_for_only_where_it_is_possible(
    tmp_path: Path, write: Write, paths: list[str], names: Names, *, expected: bool
) -> None:
    write("s/a.jpg")
    write("t/a.jpg")
    assert expected is needs_clash_check(names, opened(*(tmp_path / path for path in paths), names=names))


def test_clashes_are_refused_by_the_first_pairs_and_their_number(tmp_path: Path, write: Write) -> None:
    for number in range(5):
        write(f"s/{number}.jpg")
        write(f"s/d/{number}.jpg")
    source = opened(tmp_path / "s", names="basename")
    with pytest.raises(UsageError, match=r"5 would bear a name that another has: .* and 2 more") as raised:
        refuse_clashes(source)
    assert raised.value.cause.count(" and ") - 1 == 3
    assert str(tmp_path / "s/d") in raised.value.cause


def test_without_a_clash_nothing_is_refused(tmp_path: Path, write: Write) -> None:
    write("s/a.jpg")
    write("s/d/b.jpg")
    write("s/\udcff.jpg")
    refuse_clashes(opened(tmp_path / "s", names="basename"))


# looking again


def test_an_unchanged_file_is_what_it_was(tmp_path: Path, write: Write) -> None:
    write("s/a.jpg")
    source = opened(tmp_path / "s")
    [entry] = entries_of(source)
    assert entry == source.refresh(entry)


def test_a_file_that_was_written_to_has_its_new_fingerprint(tmp_path: Path, write: Write) -> None:
    path = write("s/a.jpg")
    source = opened(tmp_path / "s")
    [entry] = entries_of(source)
    path.write_bytes(b"another image")
    os.utime(path, ns=(5, 5))
    assert replace(entry, size=13, mtime_ns=5) == source.refresh(entry)


def test_a_file_that_was_replaced_has_its_new_inode(tmp_path: Path, write: Write) -> None:
    write("s/a.jpg")
    source = opened(tmp_path / "s")
    [entry] = entries_of(source)
    other = write("s/b.jpg")
    os.utime(other, ns=(entry.mtime_ns, entry.mtime_ns))
    other.replace(tmp_path / "s/a.jpg")
    found = source.refresh(entry)
    assert isinstance(found, Entry)
    assert replace(entry, inode=found.inode) == found
    assert entry.inode != found.inode


def empty(path: Path) -> None:
    path.write_bytes(b"")


def grow(path: Path) -> None:
    os.truncate(path, MAX_IMAGE_BYTES + 1)


def vanish(path: Path) -> None:
    path.unlink()


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (empty, RefusalReason.EMPTY),
        (grow, RefusalReason.TOO_LARGE),
        (vanish, RefusalReason.VANISHED),
        (become_a_folder, RefusalReason.SPECIAL),
        (become_a_pipe, RefusalReason.SPECIAL),
        (become_a_loop, RefusalReason.UNREADABLE),
    ],
)
def test_what_cannot_be_sent_any_more_says_why(
    tmp_path: Path, write: Write, change: Callable[[Path], None], reason: RefusalReason
) -> None:
    path = write("s/a.jpg")
    source = opened(tmp_path / "s")
    [entry] = entries_of(source)
    change(path)
    found = source.refresh(entry)
    assert not isinstance(found, Entry)
    assert reason is found[0]
    assert found[1]


def test_a_folder_that_became_a_file_took_its_files_along(tmp_path: Path, write: Write) -> None:
    path = write("s/d/a.jpg")
    source = opened(tmp_path / "s")
    [entry] = entries_of(source)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_bytes(b"")
    assert source.refresh(entry) == (RefusalReason.VANISHED, "it vanished before it was sent")


# new names


@pytest.mark.parametrize(("name", "before", "after"), [("d__a.jpg", "d__a%~", ".jpg"), ("a.b.png", "a.b%~", ".png")])
def test_a_changed_file_keeps_its_suffix_under_its_new_name(name: str, before: str, after: str) -> None:
    entry = Entry(0, b"x", name, 10, 1, 1)
    new = renamed(entry)
    assert new.name.startswith(before)
    assert new.name.endswith(after)
    assert entry == replace(new, name=name)


def test_each_change_has_a_name_of_its_own_and_always_the_same() -> None:
    entry = Entry(0, b"x", "a.jpg", 10, 1, 1)
    versions = [entry, replace(entry, size=11), replace(entry, mtime_ns=2), replace(entry, inode=2)]
    assert len({renamed(version).name for version in versions}) == 4
    assert renamed(entry) == renamed(entry)


# how a source is known


def test_a_source_is_known_however_it_was_spelled(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("s/a.jpg")
    (tmp_path / "link").symlink_to("s")
    monkeypatch.chdir(tmp_path)
    spellings = ["s", "./s/", str(tmp_path / "s"), "link", "s/../s"]
    assert {(str((tmp_path / "s").resolve()),)} == {resolved([spelling]) for spelling in spellings}


def test_a_source_whose_name_is_no_text_is_known_by_text(tmp_path: Path) -> None:
    [known] = resolved([os.fsdecode(os.fsencode(tmp_path) + b"/\xff")])
    assert known.endswith("/\\xff")
    known.encode()
