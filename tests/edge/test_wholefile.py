"""A file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfbulk.edge.wholefile import check_writable, whole_file
from rfbulk.errors import NoRoom, UsageError


def test_it_appears_once_it_is_whole_and_takes_the_place_of_another(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with whole_file(path, "--file") as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), whole_file(path, "--file") as file:
        file.writelines([b"half", None])  # type: ignore[list-item]  # the error that is meant
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_no_room(tmp_path: Path) -> None:
    with pytest.raises(NoRoom), whole_file(tmp_path / "file", "--file"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said_with_the_option_that_helps(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name another --file"), whole_file(tmp_path / "none" / "file", "--file"):
        pass  # pragma: no cover
    with pytest.raises(UsageError, match="its folder is not there"):
        check_writable(tmp_path / "none" / "file", "--file")
    with pytest.raises(UsageError, match="it is a folder"):
        check_writable(tmp_path, "--file")
    check_writable(tmp_path / "file", "--file")
