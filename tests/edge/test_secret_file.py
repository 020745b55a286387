from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rfbulk.edge.secret_file import read_or_make_secret
from rfbulk.errors import UsageError


def test_a_secret_is_made_once_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "path.key"
    secret = read_or_make_secret(path)
    assert len(secret) >= 32
    assert read_or_make_secret(path) == secret
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in path.parent.iterdir()] == ["path.key"]


def test_all_who_make_it_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "path.key"
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: read_or_make_secret(path), range(40)))
    assert len(made) == 1


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError):
        read_or_make_secret(tmp_path / "file" / "path.key")
