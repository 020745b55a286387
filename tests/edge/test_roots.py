from __future__ import annotations

import os
from pathlib import Path

import pytest

from rfbulk.edge.roots import Root, open_root
from rfbulk.errors import SourceError, UsageError
from tests.support.users import as_ordinary_user


def test_a_folder_is_known_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    monkeypatch.chdir(tmp_path)
    expected = Root(os.fsencode(tmp_path / "images"), 3, is_file=False)
    for spelling in ("images", "./images/", b"images", Path("images"), tmp_path / "images"):
        assert open_root(spelling, 3) == expected


def test_a_single_file_is_a_root_too(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    assert open_root(tmp_path / "a.jpg", 0) == Root(os.fsencode(tmp_path / "a.jpg"), 0, is_file=True)


def test_a_link_stays_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert open_root(tmp_path / "link", 0).path == os.fsencode(tmp_path / "link")


@pytest.mark.parametrize("path", ["", b"", "a\0b"])
def test_what_can_be_no_path_is_refused(path: str | bytes) -> None:
    with pytest.raises(UsageError, match="no path"):
        open_root(path, 0)


def test_a_missing_source_is_named_with_advice(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    for path in (tmp_path / "missing", tmp_path / "a.jpg" / "b"):
        with pytest.raises(SourceError, match=r"check its spelling") as raised:
            open_root(path, 0)
        assert raised.value.subject == repr(str(path))


def test_a_source_that_is_neither_file_nor_folder_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        open_root(tmp_path / "fifo.jpg", 0)


def test_a_source_that_may_not_be_read_is_refused() -> None:
    with as_ordinary_user() as home:
        folder, file = home / "closed", home / "closed.jpg"
        folder.mkdir(mode=0)
        file.touch(mode=0)
        for path in (folder, file, folder / "below.jpg"):
            with pytest.raises(SourceError, match="you may read it"):
                open_root(path, 0)


def test_a_name_outside_utf8_is_shown_and_kept(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff"
    with pytest.raises(SourceError, match="udcff"):
        open_root(path, 0)
    Path(os.fsdecode(path)).mkdir()
    assert open_root(path, 0).path == path
