"""This machine as a transfer meets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfbulk.edge.locks import FileLock
from rfbulk.edge.surroundings import credentials, file_system_of, try_state_folder, version_of
from rfbulk.errors import UsageError

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/sdb1 /home/me/fast\\040disk xfs rw 0 0
tmpfs /tmp tmpfs rw 0 0
odd
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/var/state", "ext4"),
        ("/home/me", "nfs4"),
        ("/home/me/fast disk/state", "xfs"),
        ("/homestead", "ext4"),
        ("/tmp", "tmpfs"),  # noqa: S108 - a name in a table
    ],
)
def test_the_innermost_mount_tells_the_file_system(tmp_path: Path, folder: str, expected: str) -> None:
    table = tmp_path / "mounts"
    table.write_text(MOUNTS)
    assert expected == file_system_of(Path(folder), table)


def test_a_system_without_a_table_says_nothing(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, tmp_path / "none") == ""


def test_a_state_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert try_state_folder(tmp_path / "state") >= 0
    assert list((tmp_path / "state").iterdir()) == []


def test_a_state_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(UsageError):
        try_state_folder(tmp_path / "state")


def test_where_locks_do_not_hold_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems: the system's call succeeds, and locks nothing."""
    monkeypatch.setattr("fcntl.flock", lambda _descriptor, _how: None)
    with pytest.raises(UsageError, match="two processes can lock one file"):
        try_state_folder(tmp_path)
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    lock.release()


def test_credentials_are_names_alone(tmp_path: Path) -> None:
    (tmp_path / ".azure").mkdir()
    (tmp_path / ".azure" / "azureProfile.json").write_text("{}")
    found = credentials({"AWS_PROFILE": "work", "GOOGLE_APPLICATION_CREDENTIALS": ""}, tmp_path)
    assert found == {"s3": ["AWS_PROFILE"], "az": ["~/.azure/azureProfile.json"]}


def test_a_library_that_is_not_there_has_no_version() -> None:
    assert (version_of("no-such-library"), version_of("aiohttp") is not None) == (None, True)
