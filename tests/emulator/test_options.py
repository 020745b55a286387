"""Options that cannot work are refused when they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rfbulk.emulator import DownloadOptions, EmulatorOptions


@pytest.mark.parametrize(
    "options",
    [
        {"store": "disk"},
        {"store": "folder"},
        {"directory": Path("somewhere")},
        {"port": -1},
        {"port": 70000},
        {"page_size": 0},
        {"grant_seconds": 0},
        {"grant_seconds": 8 * 24 * 3600},
        {"max_shard_bytes": 0},
        {"index_delay_seconds": -1.0},
        {"second_put": "explodes"},
        {"count_mode": "guessed"},
        {"equal_names": "neither"},
        {"limit_statement": "somewhere"},
        {"workspace": "a/b"},
        {"api_key": ""},
    ],
    ids=str,
)
def test_an_option_outside_its_range_is_refused_by_name(options: dict[str, Any]) -> None:
    name = "directory" if options.get("store") == "folder" else next(iter(options))
    with pytest.raises(ValueError, match=name):
        EmulatorOptions(**options)


def test_the_defaults_are_accepted() -> None:
    options = EmulatorOptions()
    assert (options.workspace, options.api_key, options.if_generation_match) == ("emulator", "emulator", True)


@pytest.mark.parametrize(
    "options",
    [{"seconds": 0}, {"dialect": "azure"}, {"hashes": "sha1"}, {"etag": "strong"}, {"length": "wrong"}],
    ids=str,
)
def test_an_option_of_downloads_outside_its_range_is_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        DownloadOptions(**options)
