"""The folder of an export: made, refused in words, and its files known again by what was left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rfbulk.core.exporting import Presence
from rfbulk.core.fetching import Fingerprint
from rfbulk.edge.target import TargetFolder, open_target
from rfbulk.errors import UsageError


def mark(path: Path) -> Fingerprint:
    status = path.lstat()
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ino)


def test_a_folder_is_made_with_all_above_it_and_known_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real").mkdir()
    folder = open_target(tmp_path / "link" / "a" / "b")
    assert folder.path == os.fsencode(tmp_path / "real" / "a" / "b")
    assert open_target(tmp_path / "real" / "a" / ".." / "a" / "b").path == folder.path


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="no path"):
        open_target(path)


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="export to"):
        open_target(tmp_path / "file")
    with pytest.raises(UsageError, match="export to"):
        open_target(tmp_path / "file" / "below")


def test_files_are_intact_deleted_or_changed(tmp_path: Path) -> None:
    names = ["intact", "deleted", "written", "replaced", "link", "folder", "sub/intact"]
    (tmp_path / "sub").mkdir()
    for name in names:
        (tmp_path / name).write_bytes(b"content")
    files = [(name, mark(tmp_path / name)) for name in names]
    (tmp_path / "deleted").unlink()
    (tmp_path / "written").write_bytes(b"CONTENT!")
    (tmp_path / "other").write_bytes(b"content")
    (tmp_path / "other").replace(tmp_path / "replaced")
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "intact")
    (tmp_path / "folder").unlink()
    (tmp_path / "folder").mkdir()
    found = dict(zip(names, TargetFolder(bytes(tmp_path)).look(files), strict=True))
    assert found == {
        "intact": Presence.INTACT,
        "deleted": Presence.DELETED,
        "written": Presence.CHANGED,
        "replaced": Presence.CHANGED,
        "link": Presence.CHANGED,
        "folder": Presence.CHANGED,
        "sub/intact": Presence.INTACT,
    }


def test_a_file_below_what_is_no_folder_any_more_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "sub").write_bytes(b"")
    assert TargetFolder(bytes(tmp_path)).look([("sub/a", Fingerprint(1, 1, 1))]) == [Presence.DELETED]
