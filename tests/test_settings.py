from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.errors import UsageError
from rfbulk.receivers.inline import GROUP_BYTES
from rfbulk.settings import (
    DEFAULT_API_URL,
    FETCH_MEMORY_BYTES,
    MAX_CONCURRENCY,
    MIN_MEMORY_BYTES,
    MIN_SHARD_BYTES,
    SHARD_MEMORY_BYTES,
    ExportOptions,
    Settings,
    UploadOptions,
)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"shard_images": 0}, "shard-images"),
        ({"shard_images": 501}, "shard-images"),
        ({"shard_bytes": MIN_SHARD_BYTES - 1}, "shard-bytes"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": -1}, "concurrency"),
        ({"memory_bytes": MIN_MEMORY_BYTES - 1}, "memory"),
        ({"limit_rate": 1023}, "limit-rate"),
        ({"wait_seconds": 0.0}, "wait-seconds"),
        ({"wait_seconds": float("nan")}, "wait-seconds"),
        ({"max_failures": -1}, "max-failures"),
        ({"notifications_url": "http://example.com/hook"}, "notifications-url"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=f"set {named}: it must be "):
        UploadOptions(**values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"shard_images": 1},
        {"shard_images": 500},
        {"shard_bytes": MIN_SHARD_BYTES},
        {"concurrency": 1},
        {"concurrency": None},
        {"memory_bytes": MIN_MEMORY_BYTES},
        {"limit_rate": 1024},
        {"max_failures": 0},
        {"notifications_url": "https://example.com/hook"},
    ],
)
def test_what_stands_at_the_edge_is_taken(values: dict[str, Any]) -> None:
    options = UploadOptions(**values)
    for name, value in values.items():
        assert value == getattr(options, name)


@given(st.integers(MIN_MEMORY_BYTES, 1 << 40))
def test_the_shards_in_flight_fit_into_the_memory(memory_bytes: int) -> None:
    most = UploadOptions(memory_bytes=memory_bytes).most_shards_at_once
    assert 1 <= most <= MAX_CONCURRENCY
    assert most * SHARD_MEMORY_BYTES <= memory_bytes


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Settings()),
        ({"ROBOFLOW_API_URL": "https://a", "API_BASE_URL": "https://b"}, Settings(api_url="https://a")),
        ({"API_BASE_URL": "https://b"}, Settings(api_url="https://b")),
        ({"ROBOFLOW_API_URL": "", "API_BASE_URL": "https://b"}, Settings(api_url="https://b")),
        ({"RFBULK_STATE_DIR": "/s"}, Settings(state_dir=Path("/s"))),
        ({"RFBULK_STATE_DIR": ""}, Settings()),
        ({"ROBOFLOW_API_KEY": "key"}, Settings()),
    ],
)
def test_the_environment_is_read_where_it_says_something(environment: dict[str, str], expected: Settings) -> None:
    assert expected == Settings.from_environment(environment)


def test_without_a_mapping_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROBOFLOW_API_URL", "API_BASE_URL", "RFBULK_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert Settings.from_environment().api_url == DEFAULT_API_URL
    monkeypatch.setenv("API_BASE_URL", "https://b")
    assert Settings.from_environment().api_url == "https://b"


# exports


@pytest.mark.parametrize(
    "values",
    [
        {"memory_bytes": 1 << 20},
        {"concurrency": 0},
        {"concurrency": 65},
        {"concurrency": 2, "memory_bytes": 4 << 20},
        {"limit_rate": 10},
        {"merge": Path("all.txt")},
        {"max_failures": -1},
        {"grace_seconds": -1.0},
    ],
)
def test_an_export_that_cannot_be_carried_out_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="it must be"):
        ExportOptions(**values)


@pytest.mark.parametrize("name", ["all.csv", "ALL.JSONL"])
def test_merged_results_are_told_by_their_suffix(name: str) -> None:
    assert ExportOptions(merge=Path(name)).merge == Path(name)


def test_the_memory_covers_what_each_fetch_holds() -> None:
    stack_and_allocator = 512 << 10
    assert GROUP_BYTES + stack_and_allocator <= FETCH_MEMORY_BYTES
    assert ExportOptions(memory_bytes=16 << 20).most_fetches_at_once * FETCH_MEMORY_BYTES <= 16 << 20
    assert ExportOptions().most_fetches_at_once == MAX_CONCURRENCY
