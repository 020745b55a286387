"""Lists of paths: every path once, under the name that its place gives it, in memory that does not grow."""

from __future__ import annotations

import io
import os
import threading
import tracemalloc
from pathlib import Path
from typing import IO, cast

import pytest

from rfbulk.core.model import Refusal, RefusalReason
from rfbulk.core.naming import absolute_name, source_path
from rfbulk.core.selection import Selection
from rfbulk.edge.path_list import MAX_PATH_BYTES, PathList, paths_of
from rfbulk.edge.source import FileSource, needs_clash_check, open_source, refuse_clashes, resolved
from rfbulk.errors import SourceError, UsageError
from rfbulk.settings import Names

ALL = Selection()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder in which an upload is started, some images in it, one beside it."""
    for name in ("a.jpg", "b/c.jpg", "b/d.png", "b/thumbs/e.jpg"):
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "out.jpg").write_bytes(b"x")
    return tmp_path / "work"


def listed(work: Path, *paths: str, end: str = "\n", selection: Selection = ALL, names: Names = "auto") -> FileSource:
    file = work.parent / "list.txt"
    file.write_bytes(end.join(map(str, paths)).encode("utf-8", "surrogateescape"))
    return open_source([PathList(file, base=work)], selection, names)


def found(source: FileSource) -> tuple[dict[str, str], list[Refusal]]:
    """Return the paths of what is to be sent by name, and what is not."""
    groups = list(source.scan())
    entries = [entry for group in groups for entry in group.entries]
    names = {each.name: os.fsdecode(os.path.join(source.roots[each.root], each.path)) for each in entries}
    assert len(names) == len(entries)
    return names, [refusal for group in groups for refusal in group.refusals]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\0", "\n\n"])
def test_paths_are_named_by_where_they_are(work: Path, end: str) -> None:
    outside = work.parent / "out.jpg"
    names, refusals = found(listed(work, "a.jpg", "b/c.jpg", str(outside), end=end))
    assert names == {
        "a.jpg": str(work / "a.jpg"),
        "b__c.jpg": str(work / "b/c.jpg"),
        absolute_name(os.fsencode(outside)[1:]): str(outside),
    }
    assert refusals == []


def test_a_path_is_sent_once_however_often_and_however_it_is_spelled(work: Path) -> None:
    spellings = ["b/c.jpg", "./b/c.jpg", "b//c.jpg", "b/../b/c.jpg", str(work / "b/c.jpg"), "../work/b/./c.jpg"]
    names, _ = found(listed(work, *spellings, "../out.jpg", str(work.parent / "out.jpg")))
    assert len(names) == 2
    assert names["b__c.jpg"] == str(work / "b/c.jpg")


def test_what_is_not_there_is_named_and_what_is_no_image_is_skipped(work: Path) -> None:
    _, refusals = found(listed(work, "gone.jpg", "b", "notes.txt", "/nowhere/gone.png"))
    assert sorted((refusal.path, refusal.reason) for refusal in refusals) == [
        (b"b", RefusalReason.NOT_AN_IMAGE),
        (b"gone.jpg", RefusalReason.MISSING),
        (b"notes.txt", RefusalReason.NOT_AN_IMAGE),
        (b"nowhere/gone.png", RefusalReason.MISSING),
    ]


def test_patterns_choose_of_a_list_as_of_a_folder(work: Path) -> None:
    everything = ["a.jpg", "b/c.jpg", "b/d.png", "b/thumbs/e.jpg"]
    assert set(found(listed(work, *everything, selection=Selection(include=("*.jpg",), exclude=("thumbs",))))[0]) == {
        "a.jpg",
        "b__c.jpg",
    }


def test_names_that_are_no_text_go_through(work: Path) -> None:
    odd = os.fsdecode(b"caf\xe9 \n.jpg")
    (work / odd).write_bytes(b"x")
    names, _ = found(listed(work, odd, "a.jpg", end="\0"))
    assert names["caf%E9 %0A.jpg"] == str(work / odd)


def test_bare_names_clash_and_are_refused(work: Path) -> None:
    (work / "c.jpg").write_bytes(b"x")
    source = listed(work, "c.jpg", "b/c.jpg", names="basename")
    assert needs_clash_check("basename", source)
    with pytest.raises(UsageError, match="would bear a name"):
        refuse_clashes(source)


def test_a_list_beside_a_folder_is_compared_by_names(work: Path) -> None:
    file = work.parent / "list.txt"
    file.write_text("b/c.jpg\n")
    source = open_source([work / "b", PathList(file, base=work)], ALL, "auto")
    assert needs_clash_check("auto", source)
    with pytest.raises(UsageError, match="would bear a name"):
        refuse_clashes(source)


def test_a_pipe_that_is_compared_by_names_is_read_once(work: Path) -> None:
    pipe = work.parent / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("b/c.jpg\na.jpg\n",))
    writer.start()
    source = open_source([PathList(pipe, base=work)], ALL, "basename")
    writer.join()
    refuse_clashes(source)
    assert set(found(source)[0]) == {"c.jpg", "a.jpg"}


def test_the_checkpoint_knows_a_list_by_its_place_not_by_its_content(work: Path) -> None:
    file = work.parent / "list.txt"
    file.write_text("a.jpg")
    before = resolved([PathList(file, base=work)])
    file.write_text("a.jpg\nb/c.jpg")
    assert resolved([PathList(os.path.relpath(file), base=work)]) == before
    assert resolved([PathList(base=work)]) != before != resolved([PathList(file, base=work.parent)])


def test_a_list_that_is_not_there_is_told(work: Path) -> None:
    with pytest.raises(SourceError):
        open_source([PathList(work / "none.txt")], ALL, "auto")


@pytest.mark.parametrize("name", [b"data/c.jpg", b"d_/_x/__y.jpg", b"x" * 300 + b".jpg"])
def test_absolute_names_lead_back_and_are_no_relative_ones(name: bytes) -> None:
    made = absolute_name(name)
    assert len(made.encode()) <= 255
    if "%~" not in made:
        assert source_path(made) == b"/" + name


def test_a_list_without_ends_is_refused() -> None:
    with pytest.raises(SourceError, match="path without end"):
        list(paths_of(io.BytesIO(b"x" * 9 * MAX_PATH_BYTES), null=None, subject="list"))


def test_ends_are_found_by_themselves_or_said() -> None:
    assert list(paths_of(io.BytesIO(b"\xef\xbb\xbfa\nb"), null=None, subject="")) == [b"a", b"b"]
    assert list(paths_of(io.BytesIO(b"a\nb\0c\0"), null=None, subject="")) == [b"a\nb", b"c"]
    assert list(paths_of(io.BytesIO(b"a\nb"), null=True, subject="")) == [b"a\nb"]


class _Endless(io.RawIOBase):
    """A list that is made as it is read."""

    def __init__(self, count: int) -> None:
        self._lines = (b"folder/image-%09d.txt\n" % number for number in range(count))

    def read(self, _size: int = -1) -> bytes:
        return b"".join(line for _, line in zip(range(1000), self._lines, strict=False))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_list() -> None:
    tracemalloc.start()
    try:
        paths = paths_of(cast("IO[bytes]", _Endless(200_000)), null=None, subject="")
        count = sum(1 for _ in paths)
        assert count == 200_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_silent_pipe_lets_the_scan_look_up(work: Path) -> None:
    """Else nobody could end an upload that waits for a list."""
    pipe = work.parent / "pipe"
    os.mkfifo(pipe)
    end = os.open(pipe, os.O_RDWR)
    try:
        groups = open_source([PathList(pipe, base=work)], ALL, "auto").scan()
        os.write(end, b"a.jpg\nb/c.jpg\n")
        first = next(groups)
        assert (first.entries, first.refusals) == ([], [])
    finally:
        os.close(end)
    assert [entry.name for group in groups for entry in group.entries] == ["a.jpg", "b__c.jpg"]
